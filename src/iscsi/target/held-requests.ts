/**
 * Requests that came before their turn by CmdSN (RFC 7143 4.2.2.1): one before them was damaged and will be sent again, or is on its
 * way by another connection. There are no more of them than the window has room for, nor more bytes than
 * {@link MOST_BYTES}; what is not taken the initiator sends again, as it is not acknowledged.
 */

import { ControlPdu } from '../../datamover/datamover.js';
import { copyBytes, Memory } from '../../util/memory.js';
import { serialLess } from '../../util/serial.js';
import type { Command } from './command.js';
import type { FullFeature } from './full-feature.js';
import { ScsiCommand } from '../wire/headers.js';

/** Additional headers of commands, and all data of other requests. Data of commands is in buffers of the pool. */
const MOST_BYTES = 1 << 20;
/** Requests that wait although they are immediate. */
const MOST_OVERTAKING = 16;

export interface HeldRequest {
  /** The connection that it came by. */
  readonly phase: FullFeature;
  /** A copy; without its data where there is a command, which has that. */
  readonly pdu: ControlPdu;
  readonly command: Command | null;
}

export class HeldRequests {
  readonly #requests = new Map<number, HeldRequest>();
  /** Immediate requests that wait for all before their CmdSN, in the order in which they came. */
  #overtaking: HeldRequest[] = [];
  /** CmdSNs that count as received, though nothing came. */
  readonly #skipped = new Set<number>();
  #bytes = 0;
  /** Commands among them. */
  commands = 0;

  get isEmpty(): boolean {
    return this.#requests.size === 0 && this.#skipped.size === 0 && this.#overtaking.length === 0;
  }

  has(cmdSN: number): boolean {
    return this.#requests.has(cmdSN) || this.#skipped.has(cmdSN);
  }

  /** Whether a copy of `pdu` with `dataLength` bytes of its data may be added. */
  hasRoom(pdu: ControlPdu, dataLength: number): boolean {
    return this.#bytes + pdu.ahsLength + dataLength <= MOST_BYTES;
  }

  add(phase: FullFeature, pdu: ControlPdu, command: Command | null): void {
    const copy = copyOf(pdu, command === null ? pdu.dataLength : 0);
    this.#bytes += copy.region.length;
    if (command !== null) this.commands++;
    this.#requests.set(ScsiCommand.cmdSN.get(pdu.header), { phase, pdu: copy, command });
  }

  /** Keep an immediate request without data until all before it have had their turn; false if there are too many. */
  addOvertaking(phase: FullFeature, pdu: ControlPdu): boolean {
    if (this.#overtaking.length === MOST_OVERTAKING) return false;
    this.#overtaking.push({ phase, pdu: copyOf(pdu, 0), command: null });
    return true;
  }

  /** Take out one that has nothing before it any more. */
  takeOvertaking(expCmdSN: number): HeldRequest | null {
    const index = this.#overtaking.findIndex(
      ({ pdu }) => !serialLess(expCmdSN, ScsiCommand.cmdSN.get(pdu.header)),
    );
    return index < 0 ? null : this.#overtaking.splice(index, 1)[0]!;
  }

  /** Take out what has the number `cmdSN`. */
  take(cmdSN: number): HeldRequest | 'skipped' | null {
    if (this.#skipped.delete(cmdSN)) return 'skipped';
    const request = this.#requests.get(cmdSN);
    if (request === undefined) return null;
    this.#requests.delete(cmdSN);
    this.#bytes -= request.pdu.region.length;
    if (request.command !== null) this.commands--;
    return request;
  }

  skip(cmdSN: number): void {
    this.#skipped.add(cmdSN);
  }

  /** The turn of this command will bring nothing; false if it is not here. */
  skipCommand(command: Command): boolean {
    if (this.#requests.get(command.cmdSN)?.command !== command) return false;
    this.take(command.cmdSN);
    this.skip(command.cmdSN);
    return true;
  }

  /** Forget what came by a connection that is gone; the initiator sends it again by another one. Returns its commands. */
  drop(phase: FullFeature): Command[] {
    const commands: Command[] = [];
    this.#overtaking = this.#overtaking.filter((request) => request.phase !== phase);
    for (const [cmdSN, request] of this.#requests) {
      if (request.phase !== phase) continue;
      this.take(cmdSN);
      if (request.command !== null) commands.push(request.command);
    }
    return commands;
  }
}

function copyOf(pdu: ControlPdu, dataLength: number): ControlPdu {
  const copy = new ControlPdu();
  copyBytes(pdu.header, 0, copy.header, 0, pdu.header.length);
  copy.region = Memory.allocate(pdu.ahsLength + dataLength);
  copyBytes(pdu.region.bytes, pdu.ahsOffset, copy.region.bytes, 0, pdu.ahsLength);
  copyBytes(pdu.region.bytes, pdu.dataOffset, copy.region.bytes, pdu.ahsLength, dataLength);
  copy.ahsLength = pdu.ahsLength;
  copy.dataOffset = pdu.ahsLength;
  copy.dataLength = dataLength;
  return copy;
}
