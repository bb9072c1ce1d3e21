/**
 * Programs of other projects that tests talk to. A test that needs one is skipped where it is missing,
 * and says which Debian package brings it; with RISER_REQUIRE_PEERS=1 a missing one fails instead.
 */

import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** A program to run, and the value for a test's `skip` option. */
export interface Peer {
  /** Absolute path; empty when the program is missing. */
  path: string;
  /** False when the program is there, else the reason to skip. */
  skip: false | string;
}

/** Whether a missing peer is a failure, as in continuous integration. */
export const peersRequired = process.env['RISER_REQUIRE_PEERS'] === '1';

/**
 * Look for a program in PATH and in the folders of system programs.
 *
 * @example
 * const ls = peer('iscsi-ls', 'libiscsi-bin');
 * test('lists the target', { skip: ls.skip }, () => execFileSync(ls.path, ['iscsi://127.0.0.1']));
 *
 * @throws Error when it is missing and RISER_REQUIRE_PEERS=1
 */
export function peer(program: string, debianPackage: string): Peer {
  const path = findProgram(program);
  if (path !== null) return { path, skip: false };
  const reason = `${program} is not installed: apt-get install ${debianPackage}`;
  if (peersRequired) throw new Error(reason);
  return { path: '', skip: reason };
}

/** Absolute path of a program in PATH or in the folders of system programs; null when it is not there. */
export function findProgram(program: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, program)).find(isExecutable) ?? null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
