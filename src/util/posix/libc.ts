/**
 * The handful of libc functions that Node's own `fs` and `net` do not offer, called through koffi.
 *
 * Everything here degrades: where koffi or a symbol is missing, {@link libc} is null (or the member
 * is), and callers fall back to plain Node. Pointers are passed as numbers (an address below 2^53),
 * which costs no allocation per call; a call that never blocks takes about 0.1 µs plus the system call.
 */

import type * as koffiModule from 'koffi';
import { createRequire } from 'node:module';
import { endianness } from 'node:os';

type Koffi = typeof koffiModule;

/** `preadv2` or `pwritev2`: descriptor, address of the iovec table, its entries, offset in the file, `RWF_` flags. */
export type VectorCall = (fd: number, iov: number, count: number, offset: number, flags: number) => number;

/** Addresses, sizes and offsets are plain numbers; all calls return -1 on failure, see {@link Libc.errno}. */
export interface Libc {
  /** `errno` of the last failed call on this thread. */
  errno(): number;
  /** `struct pollfd` table, its entries, milliseconds (0: do not wait); how many are ready. */
  poll(table: number, count: number, timeout: number): number;
  recv(fd: number, address: number, length: number, flags: number): number;
  recvmsg(fd: number, msghdr: number, flags: number): number;
  sendmsg(fd: number, msghdr: number, flags: number): number;
  /** Target, source, bytes. As fast as a typed array's `set`, and without the view that needs of a part. */
  memmove(target: number, source: number, length: number): number;
  /** Null where the C library is too old to have it (musl before 1.2.5). */
  readonly preadv2: VectorCall | null;
  /** Null where the C library is too old to have it (musl before 1.2.5). */
  readonly pwritev2: VectorCall | null;
  fallocate(fd: number, mode: number, offset: number, length: number): number;
  /**
   * `fallocate` on a thread of its own; `done` gets what it returned, without an errno to rely on.
   * Throws when 256 such calls are under way in the process.
   */
  fallocateAsync(
    fd: number,
    mode: number,
    offset: number,
    length: number,
    done: (error: Error | null, result: number) => void,
  ): void;
  lseek(fd: number, offset: number, whence: number): number;
  /** For the commands whose argument is a pointer. */
  fcntl(fd: number, command: number, address: number): number;
}

/** Why foreign functions are unavailable, or null when they are there. */
export let libcMissing: string | null = null;

let koffi: Koffi | null = null;

/** The functions, or null on a platform without them; {@link libcMissing} then says why. */
export const libc: Libc | null = load();

/** Virtual address of a buffer's first byte, or 0 where foreign functions are unavailable. */
export function addressOf(bytes: Uint8Array): number {
  if (koffi === null || bytes.length === 0) return 0;
  return Number(koffi.address(bytes));
}

function load(): Libc | null {
  if (process.env['RISER_NO_FFI'] === '1') {
    libcMissing = 'switched off by RISER_NO_FFI=1';
    return null;
  }
  if (process.platform !== 'linux') {
    libcMissing = `not used on ${process.platform}`;
    return null;
  }
  // Structures are laid out for 64-bit little-endian machines, and addresses are passed as 64-bit numbers.
  if (endianness() !== 'LE' || ['arm', 'ia32', 'mipsel'].includes(process.arch)) {
    libcMissing = `not used on ${process.arch}`;
    return null;
  }
  try {
    const require = createRequire(import.meta.url);
    koffi = require('koffi') as Koffi;
    const lib = koffi.load(null);
    const bind = (prototype: string) => lib.func(prototype) as unknown as (...args: number[]) => number;
    const bindIfThere = (prototype: string) => {
      try {
        return bind(prototype);
      } catch {
        return null;
      }
    };
    const fallocate = lib.func('int fallocate(int, int, int64, int64)');
    const k = koffi;
    return {
      errno: () => k.errno(),
      poll: bind('int poll(int64, int, int)'),
      recv: bind('int64 recv(int, int64, int64, int)'),
      recvmsg: bind('int64 recvmsg(int, int64, int)'),
      sendmsg: bind('int64 sendmsg(int, int64, int)'),
      memmove: bind('int64 memmove(int64, int64, int64)'),
      preadv2: bindIfThere('int64 preadv2(int, int64, int, int64, int)'),
      pwritev2: bindIfThere('int64 pwritev2(int, int64, int, int64, int)'),
      fallocate: fallocate as unknown as Libc['fallocate'],
      fallocateAsync: fallocate.async as unknown as Libc['fallocateAsync'],
      lseek: bind('int64 lseek(int, int64, int)'),
      fcntl: bind('int fcntl(int, int, int64)'),
    };
  } catch (error) {
    koffi = null;
    libcMissing = error instanceof Error ? error.message : String(error);
    return null;
  }
}
