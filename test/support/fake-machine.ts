/** A machine that is a folder: its files and links, its addresses, what its programs print; and what is found on it. */

import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import type { NetworkInterfaceInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { inspectMachine } from '../../src/cli/doctor/doctor.js';
import type { Finding } from '../../src/cli/doctor/finding.js';
import { Machine } from '../../src/cli/doctor/machine.js';
import { temporaryFolder } from './temporary.js';

const folder = temporaryFolder();

export interface FakeMachine {
  /** By path below the root. */
  files?: Readonly<Record<string, string>>;
  /** Where they lead to, from the folder that they are in. */
  links?: Readonly<Record<string, string>>;
  /** IPv4 addresses by interface. */
  addresses?: Readonly<Record<string, string>>;
  /** What a program prints by its name and arguments; those that are not named fail. They are in usr/sbin. */
  programs?: Readonly<Record<string, Readonly<Record<string, string>>>>;
  platform?: string;
}

/** Make one, which is there as long as the tests of the file run; `root` is where. */
export function fakeMachine(fake: FakeMachine): { machine: Machine; root: string } {
  const { files = {}, links = {}, addresses = {}, programs = {}, platform = 'linux' } = fake;
  const root = mkdtempSync(join(folder, 'machine-'));
  const place = (path: string): string => {
    const full = join(root, path);
    mkdirSync(dirname(full), { recursive: true });
    return full;
  };
  for (const [path, text] of Object.entries(files)) writeFileSync(place(path), `${text}\n`);
  for (const [path, target] of Object.entries(links)) symlinkSync(target, place(path));
  for (const name of Object.keys(programs)) writeFileSync(place(`usr/sbin/${name}`), '');
  const interfaces = Object.fromEntries(
    Object.entries(addresses).map(([name, address]) => [name, [ipv4(address)]]),
  );
  const machine = new Machine({
    root,
    platform,
    interfaces: () => interfaces,
    run: (path, args) => programs[path.slice(path.lastIndexOf('/') + 1)]?.[args.join(' ')] ?? null,
  });
  return { machine, root };
}

/** What `riser doctor` says of such a machine. */
export async function inspect(fake: FakeMachine): Promise<Finding[]> {
  return inspectMachine(fakeMachine(fake).machine);
}

function ipv4(address: string): NetworkInterfaceInfo {
  return { address, family: 'IPv4', netmask: '', mac: '', internal: false, cidr: null };
}

/** Every name of `files` with `prefix` before it. */
export function below(prefix: string, files: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([path, text]) => [`${prefix}/${path}`, text]));
}
