/** `riser read`: a disk's bytes on standard output. */

import type { BlockDevice } from '../../block/index.js';
import { Memory } from '../../util/memory.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openDevice } from '../open-device.js';
import { note, print } from '../output.js';
import { PIECE, readInto } from './perform.js';
import { type Range, type RangeFlags, rangeOn } from './range.js';

/** Pieces that are read ahead of what the reader has taken. */
const READ_AHEAD = 8;

export async function runRead(where: string, flags: RangeFlags, interruption: Interruption): Promise<number> {
  const { signal } = interruption;
  const { device } = await openDevice(where, flags, { readOnly: true, signal });
  try {
    const range = rangeOn(device, flags);
    let done = 0;
    for await (const bytes of bytesOf(device, range)) {
      // A reader that has seen enough is no failure.
      if (signal.aborted || !(await print(bytes, signal))) break;
      done += bytes.length;
    }
    if (interruption.came === null || done === range.end - range.start) return ExitCode.SUCCESS;
    note(`interrupted: the first ${done} of ${range.end - range.start} bytes were read`);
    return interruption.came.exitCode;
  } finally {
    await device.close();
  }
}

interface Piece {
  memory: Memory;
  /** The wanted part of what is read. */
  from: number;
  to: number;
  read: Promise<unknown>;
}

/** The bytes of a range in order; what is yielded is overwritten when the next is asked for. */
export async function* bytesOf(device: BlockDevice, { start, end }: Range): AsyncGenerator<Buffer> {
  const { blockSize } = device;
  const free: Memory[] = [];
  const pieces: Piece[] = [];
  let at = start - (start % blockSize);
  const readAhead = (): void => {
    while (at < end && pieces.length < READ_AHEAD) {
      const memory = free.pop() ?? Memory.allocate(PIECE);
      const wanted = Math.min(PIECE, end - at);
      const read = readInto(device, at, memory, Math.ceil(wanted / blockSize) * blockSize);
      // It is awaited in its turn, if ever.
      read.catch(() => undefined);
      pieces.push({ memory, from: Math.max(0, start - at), to: wanted, read });
      at += PIECE;
    }
  };
  for (;;) {
    readAhead();
    const piece = pieces.shift();
    if (piece === undefined) return;
    await piece.read;
    yield piece.memory.bytes.subarray(piece.from, piece.to);
    free.push(piece.memory);
  }
}
