/** Node streams over a LUN, with back-pressure. */

import { Readable, Writable } from 'node:stream';
import { RiserError } from '../util/errors.js';
import type { Abortable, Lun, StreamOptions } from './lun.js';

/** Bytes of one operation. */
const CHUNK = 1 << 20;

function settings(lun: Lun, options: StreamOptions): Required<Omit<StreamOptions, 'signal'>> & Abortable {
  const { offset = 0, length = lun.size - offset, chunkSize = CHUNK, signal } = options;
  if (chunkSize <= 0 || chunkSize % lun.blockSize !== 0)
    throw new RangeError(`a chunk of ${chunkSize} bytes: not whole blocks of ${lun.blockSize}`);
  return { offset, length, chunkSize, ...(signal !== undefined && { signal }) };
}

/** See {@link Lun.createReadStream}. */
export function readStream(lun: Lun, options: StreamOptions): Readable {
  const { offset, length, chunkSize, ...abortable } = settings(lun, options);
  async function* chunks(): AsyncGenerator<Buffer> {
    const end = offset + length;
    for (let at = offset; at < end; at += chunkSize)
      yield await lun.read(at, Math.min(chunkSize, end - at), abortable);
  }
  return Readable.from(chunks(), { objectMode: false, highWaterMark: chunkSize, ...abortable });
}

/** See {@link Lun.createWriteStream}. */
export function writeStream(lun: Lun, options: StreamOptions): Writable {
  const { offset, length, chunkSize, ...abortable } = settings(lun, options);
  const end = offset + length;
  let at = offset;
  let buffer = Buffer.allocUnsafeSlow(chunkSize);
  let filled = 0;

  /** Write what is collected; of a last block that is not full, what is missing comes from the medium. */
  async function writeOut(): Promise<void> {
    const blockSize = lun.blockSize;
    const whole = Math.ceil(filled / blockSize) * blockSize;
    if (whole > filled) {
      const last = whole - blockSize;
      const old = await lun.read(at + last, blockSize, abortable);
      old.copy(buffer, filled, filled - last);
    }
    await lun.write(at, buffer.subarray(0, whole), abortable);
    at += filled;
    filled = 0;
    buffer = Buffer.allocUnsafeSlow(chunkSize);
  }

  async function take(chunk: Buffer): Promise<void> {
    if (at + filled + chunk.length > end) {
      throw new RiserError('OUT_OF_RANGE', `there is more than the ${length} bytes that fit`, {
        by: 'local',
        costs: 'task',
      });
    }
    for (let from = 0; from < chunk.length;) {
      const part = Math.min(chunk.length - from, chunkSize - filled);
      chunk.copy(buffer, filled, from, from + part);
      filled += part;
      from += part;
      if (filled === chunkSize) await writeOut();
    }
  }

  async function finish(): Promise<void> {
    if (filled > 0) await writeOut();
    await lun.flush(abortable);
  }

  const settle = (work: Promise<void>, callback: (error?: Error | null) => void): void => {
    work.then(
      () => {
        callback();
      },
      (error: unknown) => {
        callback(error as Error);
      },
    );
  };
  return new Writable({
    highWaterMark: chunkSize,
    ...abortable,
    write(chunk: Buffer, _encoding, callback) {
      settle(take(chunk), callback);
    },
    final(callback) {
      settle(finish(), callback);
    },
  });
}
