/**
 * One SCSI command as a table row: what REPORT SUPPORTED OPERATION CODES tells of it, and the
 * functions that carry it out. The rows of all families together are the device server's dispatch.
 */

import type { BlockDevice } from '../block/device.js';
import type { LogicalUnitConfiguration } from './configuration.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Counted } from './statistics.js';
import type { AccessState } from './target-port-groups.js';
import type { Task } from './task.js';

/** Behaviour of an operation in the presence of conditions that usually stop a command. */
export interface OperationTraits {
  /** Runs although a unit attention is pending, and does not clear it (INQUIRY, REPORT LUNS, REQUEST SENSE; SAM-5 5.14). */
  ignoresUnitAttention?: boolean;
  /** Runs although another nexus holds a reservation (SPC-2 5.5.1, SPC-4 table 48). */
  ignoresReservation?: boolean;
  /** The same for persistent reservations only, or it looks itself (SPC-4 table 60, SBC-3 table 13). */
  ignoresPersistentReservation?: boolean;
  /** The most restricted access state of the target port in which it runs (SPC-4 5.15.2.4); default: active/non-optimized. */
  runsUpTo?: AccessState;
  /** Runs although the medium is stopped or ejected. */
  ignoresMedium?: boolean;
  /** Only reads the medium: runs although another nexus has reserved it persistently for writing. */
  readsMedium?: boolean;
  /** Runs while the medium is sanitized, and after that has failed (SBC-3 4.11). */
  ignoresSanitize?: boolean;
  /** As what it counts in the statistics; default: it does not. */
  counted?: Counted;
  /** Changes the medium: refused with DATA PROTECT when write protected. */
  writesMedium?: boolean;
  /**
   * Runs alone: it starts when every older task of the task set has ended, and no other task, not even
   * a HEAD OF QUEUE one, starts before it has (COMPARE AND WRITE and ORWRITE are uninterrupted operations).
   */
  exclusive?: boolean;
}

/** One row of the command table. */
export interface Operation extends OperationTraits {
  /** T10's name: `READ(10)`. */
  name: string;
  opcode: number;
  /** Given for opcodes that are shared by several service actions. */
  serviceAction?: number;
  /**
   * CDB usage data (SPC-4 6.35.3): one byte for each CDB byte, with a bit set for every bit that is
   * evaluated. Byte 0 is the opcode. Its length is the CDB's length. A CDB with a bit set outside of it
   * is refused with INVALID FIELD IN CDB and a field pointer.
   */
  usage: readonly number[];
  /** Whether a logical unit of this configuration, on this device, has the command; left out, every one has. */
  isSupported?: (configuration: LogicalUnitConfiguration, device: BlockDevice) => boolean;
  /** The command's turn has come. Ends, asks for data, or starts the device. */
  start: (task: Task, unit: LogicalUnit) => void;
  /** The Data-Out that `start` asked for is in `task.data`. */
  received?: (task: Task, unit: LogicalUnit) => void;
  /** The block operation that was started is over; look at `task.status`. */
  deviceDone?: (task: Task, unit: LogicalUnit) => void;
}
