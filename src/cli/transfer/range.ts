/** The part of a device that `riser read` and `riser write` are about. */

import type { BlockDevice } from '../../block/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { usageError } from '../failure.js';

export interface RangeFlags extends ClientFlags {
  /** First byte. */
  offset?: number;
  /** Bytes. */
  length?: number;
}

/** Bytes; need not be whole blocks. */
export interface Range {
  start: number;
  end: number;
}

/** @throws RiserError `USAGE` when it is not inside the device */
export function rangeOn(device: BlockDevice, { offset = 0, length }: RangeFlags): Range {
  const { size } = device;
  if (offset > size) throw usageError(`the offset of ${offset} bytes is behind the end, at ${size}`);
  const end = length === undefined ? size : offset + length;
  if (end > size) {
    throw usageError(
      `${length!} bytes at ${offset} are more than there is: ${size} bytes`,
      `Without --length it is all that follows: ${size - offset} bytes.`,
    );
  }
  return { start: offset, end };
}
