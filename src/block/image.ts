/**
 * Image files and block special files as a disk's medium: creating one, opening one under its lock, its
 * size, and what the file system beneath can do.
 */

import fs from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import path from 'node:path';
import { RiserError } from '../util/errors.js';
import { syncFolder } from '../util/sync-folder.js';
import type { Libc } from '../util/posix/libc.js';
import { libcMissing } from '../util/posix/libc.js';
import { lockImage } from './image-lock.js';

const SECTOR = 512;
const SEEK_END = 2;

/** `fallocate` modes (linux/falloc.h). */
export const FALLOC_FL_KEEP_SIZE = 0x01;
export const FALLOC_FL_PUNCH_HOLE = 0x02;
export const FALLOC_FL_ZERO_RANGE = 0x10;

/** An open and locked image. */
export interface Image {
  handle: FileHandle;
  /** Bytes, not yet rounded to whole blocks. */
  size: number;
  /** An image file, no block special file. */
  isFile: boolean;
  /** Bytes that a hole takes at least; 0 where no holes can be made. */
  holeGranularity: number;
  /** What is lacking, one sentence each. */
  limitations: string[];
}

/**
 * Create a sparse image of `size` bytes at `file`, stable on disk when it returns.
 *
 * Throws RiserError `IMAGE_EXISTS` (it never overwrites), `BAD_SIZE` (not a positive multiple of 512),
 * `IMAGE_MISSING` (the folder), `IMAGE_NO_ACCESS`, `NO_SPACE` (the file system has no files of that size),
 * `IMAGE_UNUSABLE`.
 */
export async function createImage(file: string, size: number): Promise<void> {
  if (!Number.isSafeInteger(size) || size <= 0 || size % SECTOR !== 0) {
    throw failure('BAD_SIZE', `an image of ${size} bytes is not possible`, `Choose a multiple of ${SECTOR}.`);
  }
  let handle: FileHandle;
  try {
    handle = await fs.promises.open(file, 'wx');
  } catch (error) {
    throw explain(file, error);
  }
  try {
    await handle.truncate(size);
    await handle.sync();
    await syncFolder(path.dirname(file));
  } catch (error) {
    await fs.promises.unlink(file);
    throw explain(file, error);
  } finally {
    await handle.close();
  }
}

/** Open and lock `file`. Throws RiserError, see {@link FileDevice.open}. */
export async function openImage(file: string, readOnly: boolean, libc: Libc | null): Promise<Image> {
  let handle: FileHandle;
  try {
    // Looked at first: opening a pipe would wait for its other end, and a tape would rewind.
    const stat = await fs.promises.stat(file);
    checkKind(file, stat);
    // On a block device O_EXCL fails when it is mounted or part of a volume group (open(2)).
    const claim = stat.isBlockDevice() ? fs.constants.O_EXCL : 0;
    handle = await fs.promises.open(file, readOnly ? fs.constants.O_RDONLY : fs.constants.O_RDWR | claim);
  } catch (error) {
    throw explain(file, error);
  }
  try {
    const limitations = limitationsOf(libc);
    if (libc !== null) lock(file, handle.fd, readOnly, libc, limitations);
    const size = await imageSize(handle, libc);
    const holeGranularity = readOnly || libc === null ? 0 : await probeHoles(handle, size, libc);
    if (!readOnly && libc !== null && holeGranularity === 0) {
      limitations.push('the file system cannot make holes in a file: UNMAP writes zeroes');
    }
    const isFile = (await handle.stat()).isFile();
    return { handle, size, isFile, holeGranularity, limitations };
  } catch (error) {
    await handle.close();
    throw explain(file, error);
  }
}

/** Bytes of an open image. */
export async function imageSize(handle: FileHandle, libc: Libc | null): Promise<number> {
  const stat = await handle.stat();
  if (!stat.isBlockDevice()) return stat.size;
  if (libc !== null) return libc.lseek(handle.fd, 0, SEEK_END);
  const sectors = await fs.promises.readFile(`${sysFolder(stat.rdev)}/size`, 'utf8');
  return Number(sectors) * SECTOR;
}

function checkKind(file: string, stat: fs.Stats): void {
  if (stat.isFile() || stat.isBlockDevice()) return;
  const kind = stat.isDirectory() ? 'a folder' : 'neither a file nor a block device';
  throw failure('IMAGE_UNUSABLE', `${file} is ${kind}`, 'Name an image file or a block device.');
}

function limitationsOf(libc: Libc | null): string[] {
  if (libc !== null) return [];
  const why = libcMissing ?? 'switched off';
  return [
    `no system calls besides those of Node (${why}): every read takes a thread`,
    'UNMAP writes zeroes, and holes are told as mapped',
    'the image is not locked: nothing stops another server from writing to it',
  ];
}

function lock(file: string, fd: number, readOnly: boolean, libc: Libc, limitations: string[]): void {
  const outcome = lockImage(libc, fd, !readOnly);
  if (outcome === 'held') throw inUse(file);
  if (outcome === 'unsupported') {
    limitations.push('the file system has no locks: nothing stops another server from writing to the image');
  }
}

/** How small a hole can be, in bytes; 0 for none. Changes nothing. */
async function probeHoles(handle: FileHandle, size: number, libc: Libc): Promise<number> {
  const stat = await handle.stat();
  if (stat.isBlockDevice()) return blockDeviceGranularity(stat.rdev);
  // Behind the end of the file there is nothing to harm, and a file system without holes refuses all the same.
  const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
  const unit = Math.max(stat.blksize, SECTOR);
  const behind = Math.ceil(size / unit) * unit;
  return libc.fallocate(handle.fd, mode, behind, unit) === 0 ? unit : 0;
}

/** Linux makes a hole in a block device when that takes a command for zeroes; then its discard unit counts. */
async function blockDeviceGranularity(rdev: number): Promise<number> {
  const queue = async (name: string): Promise<number> => {
    // A partition has its queue one level up, at the disk.
    for (const folder of ['queue', '../queue']) {
      const text = await fs.promises
        .readFile(`${sysFolder(rdev)}/${folder}/${name}`, 'utf8')
        .catch(() => null);
      if (text !== null) return Number(text);
    }
    return 0;
  };
  if ((await queue('write_zeroes_max_bytes')) === 0) return 0;
  return (await queue('discard_granularity')) || (await queue('logical_block_size'));
}

function sysFolder(rdev: number): string {
  // The layout of Linux's dev_t (gnu_dev_major, gnu_dev_minor), for numbers below 2^32.
  const major = (rdev >>> 8) & 0xfff;
  const minor = (rdev & 0xff) | ((rdev >>> 12) & 0xfff00);
  return `/sys/dev/block/${major}:${minor}`;
}

/** Turn what the system said about `file` into an error that says what to do. */
function explain(file: string, error: unknown): unknown {
  if (error instanceof RiserError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  switch (code) {
    case 'ENOENT':
    case 'ENOTDIR':
      return failure(
        'IMAGE_MISSING',
        `${file} does not exist`,
        'Check the path, or create the image.',
        error,
      );
    case 'EEXIST':
      return failure(
        'IMAGE_EXISTS',
        `${file} exists already`,
        'Choose another path; nothing was changed.',
        error,
      );
    case 'EBUSY':
      return inUse(file, error);
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return failure(
        'IMAGE_NO_ACCESS',
        `${file} may not be opened (${code})`,
        'Give this user the permission, or serve the image read-only.',
        error,
      );
    case 'EFBIG':
    case 'ENOSPC':
    case 'EDQUOT':
      return failure(
        'NO_SPACE',
        `there is no room for ${file} (${code})`,
        'Choose a smaller size or another disk.',
        error,
      );
    default:
      return failure('IMAGE_UNUSABLE', `${file} cannot be used: ${String(error)}`, undefined, error);
  }
}

function inUse(file: string, cause?: unknown): RiserError {
  const remedy = 'Stop the other program. What nobody writes to can be served read-only by several.';
  return failure('IMAGE_LOCKED', `${file} is in use by another program`, remedy, cause);
}

function failure(code: string, message: string, remedy?: string, cause?: unknown): RiserError {
  return new RiserError(code, message, {
    by: 'local',
    costs: 'process',
    ...(remedy === undefined ? {} : { remedy }),
    cause,
  });
}
