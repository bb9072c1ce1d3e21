/** One request at work in the server, from its header to the last byte of its reply. */

import { BlockIo, BlockOp, BlockStatus } from '../../block/device.js';
import { ScatterList } from '../../util/memory.js';
import { Cmd, CmdFlag, ErrorCode } from '../wire.js';

/** A request that a device carries out. */
export interface Command {
  name: string;
  op: BlockOp;
  /** Flags beside FUA, which every command may have. */
  flags: number;
  changesMedium: boolean;
}

/** By request type; DISC asks no device for anything, and CACHE is not offered. */
export const COMMANDS: readonly (Command | undefined)[] = commandTable([
  [Cmd.READ, { name: 'READ', op: BlockOp.READ, flags: CmdFlag.DF, changesMedium: false }],
  [Cmd.WRITE, { name: 'WRITE', op: BlockOp.WRITE, flags: 0, changesMedium: true }],
  [Cmd.FLUSH, { name: 'FLUSH', op: BlockOp.FLUSH, flags: 0, changesMedium: false }],
  [Cmd.TRIM, { name: 'TRIM', op: BlockOp.UNMAP, flags: 0, changesMedium: true }],
  [
    Cmd.WRITE_ZEROES,
    { name: 'WRITE_ZEROES', op: BlockOp.WRITE_ZEROES, flags: CmdFlag.NO_HOLE, changesMedium: true },
  ],
  [
    Cmd.BLOCK_STATUS,
    { name: 'BLOCK_STATUS', op: BlockOp.EXTENTS, flags: CmdFlag.REQ_ONE, changesMedium: false },
  ],
]);

export class Job extends BlockIo {
  override data = new ScatterList();
  cookieHigh = 0;
  cookieLow = 0;
  /** An {@link ErrorCode}; 0 when all is well. */
  error = 0;
  /** What goes with the error, for people. */
  message = '';
  /** Bytes of memory that it was given. */
  memory = 0;
  /** Its data is in memory of the device: there is nothing to submit. */
  isLent = false;
  readonly #finished: (job: Job) => void;

  /** `finished` is called when the device, which answered later, is done. */
  constructor(finished: (job: Job) => void) {
    super();
    this.#finished = finished;
  }

  override done(): void {
    this.#finished(this);
  }
}

/** What a device's failure is to a client. */
export function errorOf(job: Job): number {
  switch (job.status) {
    case BlockStatus.GOOD:
      return 0;
    case BlockStatus.NO_SPACE:
      return ErrorCode.ENOSPC;
    case BlockStatus.READ_ONLY:
      return ErrorCode.EPERM;
    case BlockStatus.OUT_OF_RANGE:
      return ErrorCode.EINVAL;
    default:
      return ErrorCode.EIO;
  }
}

function commandTable(rows: [number, Command][]): (Command | undefined)[] {
  const table: (Command | undefined)[] = [];
  for (const [type, command] of rows) table[type] = command;
  return table;
}
