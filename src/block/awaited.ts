/** Operations for those who await them, and get their failure as an error. */

import { RiserError } from '../util/errors.js';
import { BlockIo, BlockStatus } from './device.js';

/** `if (!device.submit(io)) await io.finished;` */
export class AwaitedIo extends BlockIo {
  done!: () => void;
  readonly finished = new Promise<void>((resolve) => {
    this.done = resolve;
  });
}

const CODES: Readonly<Record<number, string>> = {
  [BlockStatus.MEDIUM_ERROR]: 'MEDIUM_ERROR',
  [BlockStatus.NO_SPACE]: 'NO_SPACE',
  [BlockStatus.READ_ONLY]: 'READ_ONLY',
  [BlockStatus.OUT_OF_RANGE]: 'OUT_OF_RANGE',
  [BlockStatus.NOT_READY]: 'NOT_READY',
};

/** What became of `io`, which did not end GOOD: its status is the code, its cause the cause. */
export function blockFailure(io: BlockIo): RiserError {
  const { cause } = io;
  const code = CODES[io.status]!;
  // What ended the session says more than that the device is not ready.
  if (io.status === BlockStatus.NOT_READY && cause instanceof RiserError) return cause;
  const why = cause?.message ?? code.toLowerCase().replaceAll('_', ' ');
  return new RiserError(code, `at byte ${io.errorOffset}: ${why}`, { by: 'device', costs: 'task', cause });
}
