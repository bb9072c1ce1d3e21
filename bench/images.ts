/** The disks' contents: random bytes, so that no server can answer from zero pages or holes. */

import { randomFillSync } from 'node:crypto';
import {
  closeSync,
  constants,
  copyFileSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import type { Medium } from './cases.js';

const CHUNK = 1 << 20;
/** Linux mounts a tmpfs here. */
const MEMORY_DIRECTORY = '/dev/shm';

export interface Images {
  /** Bytes of each. */
  size: number;
  /** The image of each medium; `memory` lies on tmpfs. */
  paths: Record<Medium, string>;
  /** For other temporary files. */
  directory: string;
  remove(): void;
}

/** Create both images, `size` bytes each, a multiple of 1 MiB. The file comes out warm in the page cache. */
export function createImages(size: number): Images {
  const directory = mkdtempSync(join(tmpdir(), 'riser-bench-'));
  const memoryDirectory = mkdtempSync(join(MEMORY_DIRECTORY, 'riser-bench-'));
  const paths = { file: join(directory, 'disk.img'), memory: join(memoryDirectory, 'disk.img') };
  const remove = (): void => {
    rmSync(directory, { recursive: true, force: true });
    rmSync(memoryDirectory, { recursive: true, force: true });
  };
  try {
    fillWithRandom(paths.file, size);
    copyFileSync(paths.file, paths.memory, constants.COPYFILE_EXCL);
  } catch (error) {
    remove();
    throw error;
  }
  return { size, paths, directory, remove };
}

function fillWithRandom(path: string, size: number): void {
  const file = openSync(path, 'wx');
  try {
    const chunk = Buffer.alloc(CHUNK);
    for (let offset = 0; offset < size; offset += CHUNK) writeSync(file, randomFillSync(chunk));
    // Dirty pages would be written back while the first rounds are measured.
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
