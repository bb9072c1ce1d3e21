/** `riser write`: standard input onto a disk. */

import { fstatSync } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import type { BlockDevice } from '../../block/index.js';
import { RiserError } from '../../util/errors.js';
import { Memory } from '../../util/memory.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { openDevice } from '../open-device.js';
import { note, printJson } from '../output.js';
import { flush, PIECE, readInto, writeFrom } from './perform.js';
import { type Range, type RangeFlags, rangeOn } from './range.js';

/** Pieces on their way to the device. */
const DEPTH = 8;
const STDIN = 0;

export async function runWrite(
  where: string,
  flags: RangeFlags,
  interruption: Interruption,
): Promise<number> {
  const { signal } = interruption;
  const { device, paths } = await openDevice(where, flags, { readOnly: false, signal });
  try {
    if (device.readOnly) {
      throw new RiserError('READ_ONLY', `${device.description} cannot be written to`, {
        by: 'device',
        costs: 'task',
      });
    }
    const range = rangeOn(device, flags);
    refuseTooLong(range);
    const bytes = await writeBytes(device, range, untilAborted(process.stdin, signal));
    const { came } = interruption;
    const written = `${bytes} bytes written at ${range.start}`;
    if (came !== null) note(`interrupted: ${written}, and made stable`);
    if (flags.json === true) {
      await printJson({ offset: range.start, bytes, paths, interruptedBy: came?.name ?? null });
    } else if (came === null) note(written);
    return came?.exitCode ?? ExitCode.SUCCESS;
  } finally {
    await device.close();
  }
}

/** What `input` brings until the signal is aborted. */
async function* untilAborted(input: Readable, signal: AbortSignal): AsyncGenerator<Buffer> {
  try {
    yield* addAbortSignal(signal, input) as AsyncIterable<Buffer>;
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** What comes from a file is known to be too long before the first byte of it is written. */
function refuseTooLong({ start, end }: Range): void {
  const input = fstatSync(STDIN);
  if (input.isFile() && input.size > end - start) throw tooMuch(end - start, 'nothing was written');
}

function tooMuch(room: number, outcome: string): RiserError {
  return new RiserError('TOO_LONG', `there are more than the ${room} bytes that fit; ${outcome}`, {
    by: 'local',
    costs: 'task',
    remedy: 'Give less, a smaller --offset, or a longer --length.',
  });
}

/**
 * Write what `input` brings from the start of the range on, and make it stable. What a first or last block has
 * beside it stays as it was.
 *
 * @returns how many bytes it was
 * @throws RiserError `TOO_LONG` when more comes than fits; what fits has been written then
 */
export async function writeBytes(
  device: BlockDevice,
  range: Range,
  input: AsyncIterable<Buffer>,
): Promise<number> {
  const writer = new PieceWriter(device, range.start);
  let left = range.end - range.start;
  for await (const chunk of input) {
    const part = chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= part.length;
    await writer.take(part);
    if (part.length < chunk.length) {
      await writer.finish();
      throw tooMuch(range.end - range.start, 'so much was written');
    }
  }
  await writer.finish();
  return range.end - range.start - left;
}

/** Collects bytes to pieces, and has several of them on their way. */
class PieceWriter {
  readonly #device: BlockDevice;
  readonly #free: Memory[] = [];
  /** Writes under way, oldest first, each with its memory. */
  readonly #writes: { memory: Memory; written: Promise<unknown> }[] = [];
  #memory: Memory | null = null;
  /** Where on the device the piece that is collected begins, in whole blocks; and the part of it that there is. */
  #at: number;
  #from: number;
  #filled: number;

  constructor(device: BlockDevice, start: number) {
    this.#device = device;
    this.#from = start % device.blockSize;
    this.#filled = this.#from;
    this.#at = start - this.#from;
  }

  async take(bytes: Buffer): Promise<void> {
    for (let taken = 0; taken < bytes.length;) {
      this.#memory ??= await this.#room();
      const part = Math.min(bytes.length - taken, PIECE - this.#filled);
      bytes.copy(this.#memory.bytes, this.#filled, taken, taken + part);
      this.#filled += part;
      taken += part;
      if (this.#filled === PIECE) await this.#send();
    }
  }

  /** All that was taken is stable when this resolves. */
  async finish(): Promise<void> {
    if (this.#memory !== null) await this.#send();
    for (const { written } of this.#writes) await written;
    await flush(this.#device);
  }

  async #room(): Promise<Memory> {
    if (this.#writes.length < DEPTH) return this.#free.pop() ?? Memory.allocate(PIECE);
    const { memory, written } = this.#writes.shift()!;
    await written;
    return memory;
  }

  async #send(): Promise<void> {
    const memory = this.#memory!;
    const { blockSize } = this.#device;
    const end = Math.ceil(this.#filled / blockSize) * blockSize;
    if (this.#from > 0) await this.#complete(memory, 0, 0, this.#from);
    if (end > this.#filled) await this.#complete(memory, end - blockSize, this.#filled, end);
    const written = writeFrom(this.#device, this.#at, memory, end);
    // It is awaited in its turn.
    written.catch(() => undefined);
    this.#writes.push({ memory, written });
    this.#memory = null;
    this.#at += end;
    this.#from = 0;
    this.#filled = 0;
  }

  /** Of the block at `block` in the piece, the bytes `from` to `to` come from the device. */
  async #complete(memory: Memory, block: number, from: number, to: number): Promise<void> {
    const { blockSize } = this.#device;
    const old = Memory.allocate(blockSize);
    await readInto(this.#device, this.#at + block, old, blockSize);
    old.bytes.copy(memory.bytes, from, from - block, to - block);
  }
}
