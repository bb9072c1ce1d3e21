/** Whether a file can be the addon. It is looked at before it is loaded, for the loader crashes on a shared object that is cut off. */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Of the header of a 64-bit ELF file (System V ABI, chapter 4), in bytes. */
const HEADER = 64;
const MACHINE = 18;
const SECTIONS = 40;
const SECTION_SIZE = 58;
const SECTION_COUNT = 60;

/** 64 bits, least significant byte first. */
const MAGIC = Buffer.from('\x7fELF\x02\x01', 'latin1');
/** ELF's numbers of processors, by Node's names. */
const MACHINES: Partial<Record<NodeJS.Architecture, number>> = { x64: 62, arm64: 183, riscv64: 243 };

/** What is wrong with the file, for `arch`; null if nothing is. @throws Error when it cannot be read */
export function addonFault(path: string, arch: NodeJS.Architecture = process.arch): string | null {
  const file = openSync(path, 'r');
  try {
    const header = Buffer.alloc(HEADER);
    const length = readSync(file, header, 0, HEADER, 0);
    if (length < HEADER || !header.subarray(0, MAGIC.length).equals(MAGIC)) return 'it is no shared object';
    const machine = header.readUInt16LE(MACHINE);
    if (machine !== (MACHINES[arch] ?? machine)) return 'it is for another processor';
    // The table of sections is the last thing in the file.
    const sections = header.readUInt16LE(SECTION_SIZE) * header.readUInt16LE(SECTION_COUNT);
    const end = header.readBigUInt64LE(SECTIONS) + BigInt(sections);
    return end > fstatSync(file).size ? 'it is cut off' : null;
  } finally {
    closeSync(file);
  }
}
