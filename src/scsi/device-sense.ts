/** What a block device's outcomes are as sense data. */

import { type BlockIo, BlockOp, BlockStatus } from '../block/device.js';
import { Sense, type SenseCode } from './sense.js';

/** Only for what has failed. */
export function senseOfDevice(io: BlockIo): SenseCode {
  switch (io.status) {
    case BlockStatus.NO_SPACE:
      return Sense.SPACE_ALLOCATION_FAILED;
    case BlockStatus.READ_ONLY:
      return Sense.WRITE_PROTECTED;
    case BlockStatus.OUT_OF_RANGE:
      return Sense.LBA_OUT_OF_RANGE;
    case BlockStatus.NOT_READY:
      return Sense.LOGICAL_UNIT_NOT_READY;
    case BlockStatus.MEDIUM_ERROR:
      return io.op === BlockOp.READ || io.op === BlockOp.EXTENTS
        ? Sense.UNRECOVERED_READ_ERROR
        : Sense.WRITE_ERROR;
    default:
      return Sense.INTERNAL_TARGET_FAILURE;
  }
}
