/**
 * A LUN as a {@link BlockDevice}: what reads and writes in bulk goes this way, by callbacks and reused tasks,
 * without a promise.
 */

import {
  type BlockDevice,
  type BlockDeviceEvents,
  type BlockIo,
  BlockOp,
  BlockStatus,
  type Extent,
} from '../block/index.js';
import { cdbs, type Capacity, type LbaStatus, parseLbaStatus } from '../scsi/client/index.js';
import { SenseKey, Status } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { putU16, putU32, putU64 } from '../util/fields.js';
import { Memory } from '../util/memory.js';
import { ClientTask, type TaskPath } from './task.js';

/** What a logical unit can do; see `lun.ts` for where it comes from. */
export interface UnitTraits {
  readonly capacity: Capacity;
  readonly readOnly: boolean;
  /** Whether UNMAP, and WRITE SAME(16) with and without the UNMAP bit, may be used. */
  readonly unmap: boolean;
  readonly writeSame: boolean;
  readonly writeSameUnmaps: boolean;
  readonly extents: boolean;
  /** Whether 16-byte READ and WRITE are known; a unit without READ CAPACITY(16) gets 10-byte ones. */
  readonly longCommands: boolean;
  /** Blocks of one READ or WRITE, at least 1. */
  readonly maximumTransfer: number;
  /** Blocks of one UNMAP descriptor, and of one WRITE SAME. */
  readonly maximumUnmap: number;
  readonly maximumWriteSame: number;
  /** Blocks. */
  readonly unmapGranularity: number;
}
