/** The guest's kernel and root image: where they are, how they are made, and what that needs. */

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';

import { ROOT } from '../test/support/files.js';
import { findProgram } from '../test/support/peers.js';

/** The Node inside the guest, from the npm registry: the oldest line that Riser supports. */
const NODE_VERSION = '20.20.2';

const RECIPE = join(ROOT, 'lab/guest');
const GUESTS = join(ROOT, '.cache/lab/guests');

/** A program, or an absolute path, and the Debian package that brings it. */
type Need = readonly [programOrPath: string, debianPackage: string];

const TO_RUN: readonly Need[] = [
  ['qemu-system-x86_64', 'qemu-system-x86'],
  ['tshark', 'tshark'],
  ['iscsi-test-cu', 'libiscsi-bin'],
  ['xorriso', 'xorriso'],
];

const TO_BUILD: readonly Need[] = [
  ['mmdebstrap', 'mmdebstrap'],
  ['tar2sqfs', 'squashfs-tools-ng'],
  ['/usr/src/linux-source-6.1.tar.xz', 'linux-source-6.1'],
  ['/usr/src/linux-kbuild-6.1', 'linux-headers-amd64'],
  ['/bin/busybox', 'busybox-static'],
  ['cpio', 'cpio'],
  ['depmod', 'kmod'],
  ['make', 'make'],
  ['gcc', 'gcc'],
  ['xz', 'xz-utils'],
];

/** The folder with `vmlinux`, `initrd.gz` and `root.sqfs`: its name has the hash of all that they are made from. */
export function guestFolder(): string {
  const hash = createHash('sha256').update(NODE_VERSION);
  for (const name of readdirSync(RECIPE).sort())
    hash.update(`\n${name}\n`).update(readFileSync(join(RECIPE, name)));
  return join(GUESTS, hash.digest('hex').slice(0, 16));
}

export function isGuestBuilt(): boolean {
  return existsSync(guestFolder());
}

/** Why the lab cannot run here, with the remedy; null if it can. */
export function whatIsMissing(): string | null {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `the lab's guest is built and run on Debian, x64, and this is ${process.platform}, ${process.arch}`;
  }
  const needs = isGuestBuilt() ? TO_RUN : [...TO_RUN, ...TO_BUILD];
  const missing = needs.filter(
    ([what]) => !(what.startsWith('/') ? existsSync(what) : findProgram(what) !== null),
  );
  if (missing.length === 0) return null;
  const packages = [...new Set(missing.map(([, name]) => name))];
  return `the lab lacks ${missing.map(([what]) => what).join(', ')}: apt-get install ${packages.join(' ')}`;
}

/**
 * Build the guest, if it is not there; what was built from an older recipe is removed. The stages are
 * printed as they begin.
 *
 * @throws Error when a step fails; nothing is left behind
 */
export async function buildGuest(): Promise<void> {
  if (isGuestBuilt()) return;
  const folder = guestFolder();
  rmSync(GUESTS, { recursive: true, force: true });
  const unfinished = `${folder}.unfinished`;
  mkdirSync(unfinished, { recursive: true });
  console.log('building the guest of the lab, about 2 minutes:');
  const script = spawn(join(RECIPE, 'build.sh'), [unfinished, NODE_VERSION], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const [code, signal] = (await once(script, 'close')) as [number | null, string | null];
  if (code !== 0) {
    rmSync(unfinished, { recursive: true, force: true });
    throw new Error(`the guest could not be built: lab/guest/build.sh ended with ${code ?? signal}`);
  }
  renameSync(unfinished, folder);
}
