/** `riser compare`: whether two disks are equal, and where not. */

import type { BlockDevice } from '../../block/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { describeFailure, ExitCode, usageError } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openDevice, type OpenedDevice } from '../open-device.js';
import { note, print, printJson } from '../output.js';
import { formatSize } from '../size.js';
import { Comparer } from './comparer.js';
import { startProgress } from './progress.js';

export interface CompareFlags extends ClientFlags {
  /** Bytes. */
  length?: number;
  depth: number;
  quiet?: boolean;
}

/** As with cmp and diff, an exit code of 1 says that they differ, and nothing else. */
export async function runCompare(
  a: string,
  b: string,
  flags: CompareFlags,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  try {
    const first = await openDevice(a, flags, { readOnly: true, signal });
    try {
      const second = await openDevice(b, flags, { readOnly: true, signal });
      try {
        return await compare(first, second, flags, interruption);
      } finally {
        await second.device.close();
      }
    } finally {
      await first.device.close();
    }
  } catch (error) {
    if (signal.aborted && error === signal.reason) throw error;
    process.stderr.write(`${describeFailure(error)}\n`);
    return ExitCode.TROUBLE;
  }
}

async function compare(
  { device: a, paths: aPaths }: OpenedDevice,
  { device: b, paths: bPaths }: OpenedDevice,
  flags: CompareFlags,
  interruption: Interruption,
): Promise<number> {
  const to = lengthOf(a, b, flags);
  const comparer = new Comparer({ a, b, from: 0, to, depth: flags.depth });
  const { pump, differences } = comparer;
  interruption.whenCame(() => {
    pump.stop();
  });
  const progress = await startProgress({
    label: 'comparing',
    total: to,
    done: () => pump.processed,
    quiet: flags.quiet === true,
  });
  try {
    await pump.run();
  } finally {
    progress.stop();
  }
  const { first, bytes, blocks, blockSize } = differences;
  if (interruption.came !== null) {
    const found = first === null ? 'no difference so far' : `they differ, at ${first} among others`;
    note(`interrupted at ${formatSize(pump.position)} of ${formatSize(to)}: ${found}`);
    return interruption.came.exitCode;
  }
  const areSizesEqual = flags.length !== undefined || a.size === b.size;
  const equal = first === null && areSizesEqual;
  if (flags.json === true) {
    const sizes = { a: a.size, b: b.size };
    const firstDifference = first;
    await printJson({
      equal,
      compared: to,
      sizes,
      paths: { a: aPaths, b: bPaths },
      firstDifference,
      differentBytes: bytes,
      differentBlocks: blocks,
      blockSize,
    });
  } else {
    if (first !== null)
      await print(
        `different: the first byte at ${first}; ${bytes} bytes in ${blocks} blocks of ${blockSize}\n`,
      );
    if (!areSizesEqual) {
      await print(
        `different sizes: ${a.size} and ${b.size} bytes; --length ${to} compares what both have${
          first === null ? ', which is equal' : ''
        }\n`,
      );
    }
    if (equal) await print(`equal: ${to} bytes\n`);
  }
  return equal ? ExitCode.SUCCESS : ExitCode.DIFFERENT;
}

/** Bytes to compare: what both have. */
function lengthOf(a: BlockDevice, b: BlockDevice, { length }: CompareFlags): number {
  const unit = Math.max(a.blockSize, b.blockSize);
  const common = Math.min(a.size, b.size);
  if (length === undefined) {
    if (common % unit === 0) return common;
    throw usageError(
      `${common} bytes are no whole number of ${unit}-byte blocks`,
      `Compare less: --length ${common - (common % unit)}.`,
    );
  }
  if (length > common) throw usageError(`--length ${length} is more than both have: ${common} bytes`);
  if (length % unit !== 0) throw usageError(`--length ${length} is no whole number of ${unit}-byte blocks`);
  return length;
}
