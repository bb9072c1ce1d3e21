/** The numbers of commands, initiator's side: which CmdSN is next, and whether the target takes it yet (RFC 7143 4.2.2.1). */

import { serialAdd, serialLess, serialLessOrEqual } from '../../util/serial.js';

export class CommandWindow {
  /** CmdSN of the next command; an immediate request carries it without taking it. */
  cmdSN: number;
  expCmdSN: number;
  #maxCmdSN: number;
  #isClosed = false;

  constructor(cmdSN: number, maxCmdSN: number) {
    this.cmdSN = cmdSN;
    this.expCmdSN = cmdSN;
    this.#maxCmdSN = maxCmdSN;
  }

  get isOpen(): boolean {
    return serialLessOrEqual(this.cmdSN, this.#maxCmdSN) && !this.#isClosed;
  }

  /** Nothing more is to be sent in the session. */
  close(): void {
    this.#isClosed = true;
  }

  /** The CmdSN of a command that is sent now. */
  take(): number {
    const { cmdSN } = this;
    this.cmdSN = serialAdd(cmdSN, 1);
    return cmdSN;
  }

  /** What the target tells in a PDU; of several in flight the highest numbers count. True if the window grew. */
  update(expCmdSN: number, maxCmdSN: number): boolean {
    if (serialLess(maxCmdSN, serialAdd(expCmdSN, 0xffff_ffff))) return false;
    if (serialLess(this.expCmdSN, expCmdSN) && serialLessOrEqual(expCmdSN, this.cmdSN))
      this.expCmdSN = expCmdSN;
    if (!serialLess(this.#maxCmdSN, maxCmdSN)) return false;
    this.#maxCmdSN = maxCmdSN;
    return true;
  }
}
