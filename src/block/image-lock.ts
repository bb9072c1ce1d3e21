/**
 * The lock on an image: one server may write it, or several may read it.
 *
 * Open file description locks (`F_OFD_SETLK`) rather than `flock`: QEMU locks its images with them, so a
 * guest that runs from the image keeps us away and we keep it away, while `flock` and `fcntl` locks do
 * not see each other; they work over NFS as well; and unlike classic `fcntl` locks they belong to the
 * open file and not to the process, so two devices of one process exclude each other too. The kernel drops
 * them with the last descriptor, however the process ends: there is no stale lock.
 *
 * The bytes are those of QEMU's protocol (its block/file-posix.c): whoever uses permission `n` holds a
 * shared lock on byte 100 + n, and whoever does not grant it to others one on byte 200 + n. A writer
 * here takes the whole range exclusively, which conflicts with everybody.
 */

import { constants } from 'node:os';
import { Memory } from '../util/memory.js';
import type { Libc } from '../util/posix/libc.js';

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

const USES = 100;
const DENIES = 200;
const RANGE_END = 300;
const CONSISTENT_READ = 0;
const WRITE = 1;
const RESIZE = 3;

/** `struct flock` of 64-bit Linux: type and whence (16 bits each), start at 8, length at 16, pid at 24. */
const FLOCK_BYTES = 32;

/** `held`: by somebody else. `unsupported`: the file system has no such locks. */
export type LockOutcome = 'locked' | 'held' | 'unsupported';

/** Lock the open file `fd`, for writing or for reading, without waiting. Closing the file unlocks. */
export function lockImage(libc: Libc, fd: number, writable: boolean): LockOutcome {
  const flock = Memory.allocate(FLOCK_BYTES);

  const call = (command: number, type: number, start: number, length: number): boolean => {
    flock.bytes.fill(0);
    flock.view.setInt16(0, type, true);
    flock.view.setUint32(8, start, true);
    flock.view.setUint32(16, length, true);
    return libc.fcntl(fd, command, flock.address) === 0;
  };
  const failure = (): LockOutcome => {
    const errno = libc.errno();
    return errno === constants.errno.EAGAIN || errno === constants.errno.EACCES ? 'held' : 'unsupported';
  };

  if (writable) return call(F_OFD_SETLK, F_WRLCK, USES, RANGE_END - USES) ? 'locked' : failure();

  for (const byte of [USES + CONSISTENT_READ, DENIES + WRITE, DENIES + RESIZE]) {
    if (!call(F_OFD_SETLK, F_RDLCK, byte, 1)) return failure();
  }
  // A QEMU that writes shares its locks with us: it shows only when asked who would be in the way.
  for (const byte of [USES + WRITE, USES + RESIZE, DENIES + CONSISTENT_READ]) {
    if (!call(F_OFD_GETLK, F_WRLCK, byte, 1)) return failure();
    if (flock.view.getInt16(0, true) !== F_UNLCK) return 'held';
  }
  return 'locked';
}
