/**
 * The initiator's side of the Datamover over RDMA: a command tells the target where the buffer is, and with the SCSI
 * Response the data has been moved (RFC 7145 7.3.1, 7.3.2).
 */

import { Bhs, BHS_LENGTH, putLengths, ScsiResponse } from '../../iscsi/wire/headers.js';
import { Opcode, OPCODE_MASK, RESERVED_TAG, ResponseFlag } from '../../iscsi/wire/opcodes.js';
import type { RdmaConnection } from '../../rdma/verbs.js';
import { SendOpcode } from '../../rdma/work.js';
import { copyBytes, Memory } from '../../util/memory.js';
import type {
  ConnectionParameters,
  ControlPdu,
  DatamoverEvents,
  DataTransfer,
  InitiatorDatamover,
  InitiatorTasks,
  InitiatorTransfer,
} from '../datamover.js';
import { putDataOut } from '../data-out.js';
import { type Grant, Grants, type TaskGrants } from './grants.js';
import { helloMessage, IserOpcode, isHelloAccepted } from './header.js';
import { HEADERS, IserDatamover, Work, workId } from './iser-datamover.js';
import type { OutgoingMessage } from './message-buffers.js';
import { PoolGrants } from './pool-grants.js';
import type { RegisteredMemory } from './registered-memory.js';
import { SessionPool } from './session-pool.js';

/** Commands that have an answer to come; for each of them there is a receive. */
const TASKS = 256;
/** The login's own, and what a target may send right behind its last Login Response (RFC 7145 5.1.3). */
const LOGIN_RECEIVES = 8;

export class InitiatorIserDatamover extends IserDatamover implements InitiatorDatamover {
  readonly taskLimit: number;
  readonly #events: DatamoverEvents;
  readonly #grants: TaskGrants;
  /** Where the device has no memory windows. */
  readonly #pool: SessionPool | null;
  readonly #header = Memory.allocate(BHS_LENGTH);
  #tasks: InitiatorTasks | null = null;
  #isHelloDue = false;

  /** `memory`: a pool is this connection's own. */
  constructor(connection: RdmaConnection, memory: RegisteredMemory | SessionPool, events: DatamoverEvents) {
    super(connection, memory, events, LOGIN_RECEIVES);
    this.#events = events;
    this.taskLimit = Math.min(TASKS, this.commandRoom);
    this.#pool = memory instanceof SessionPool ? memory : null;
    this.#grants = memory instanceof SessionPool ? new PoolGrants(memory) : this.#windowGrants(memory);
  }

  #windowGrants(registered: RegisteredMemory): Grants {
    const { request } = this;
    return new Grants(registered, (window, region, offset, length, access) => {
      request.opcode = SendOpcode.BIND_WINDOW;
      request.flags = 0;
      request.id = workId(Work.OTHER, 0);
      request.sges.clear();
      request.window = window;
      request.bindRegion = region;
      request.bindOffset = offset;
      request.bindLength = length;
      request.bindAccess = access;
      this.postRequest();
      request.window = null;
      request.bindRegion = null;
    });
  }

  enableDatamover(parameters: ConnectionParameters, tasks: InitiatorTasks): void {
    this.#tasks = tasks;
    this.enable(parameters);
    if (!parameters.helloRequired) return;
    this.#isHelloDue = true;
    this.sendHello(helloMessage(this.connection.device.attributes.maxResponderResources));
  }

  // ---- input ----

  protected override readonly helloOpcode = IserOpcode.HELLO_REPLY;

  protected override get awaitsHello(): boolean {
    return this.#isHelloDue;
  }

  /** RFC 7145 5.1.3 */
  protected override hello(message: Uint8Array): void {
    this.#isHelloDue = false;
    if (!isHelloAccepted(message)) this.violation('ISER_HELLO', 'a HelloReply that rejects the connection');
  }

  protected override control(pdu: ControlPdu, invalidatedKey: number): void {
    const { header } = pdu;
    const opcode = header[0]! & OPCODE_MASK;
    if (opcode === Opcode.DATA_IN || opcode === Opcode.R2T) {
      this.violation('ISER_DATA_PDU', 'a PDU that RDMA takes the place of');
      return;
    }
    const isResponse = opcode === Opcode.SCSI_RESPONSE && this.#tasks !== null;
    const transfer = isResponse ? this.#tasks!.findTask(Bhs.initiatorTaskTag.get(header)) : null;
    const grant = (transfer?.grant ?? null) as Grant | null;
    if (transfer !== null) this.#settle(transfer, grant, header);
    const isOwn = grant === null ? invalidatedKey === 0 : this.#grants.close(grant, invalidatedKey);
    if (isOwn) this.notifyControl(pdu);
    else this.violation('ISER_INVALIDATION', 'a Send that invalidates a key of another task');
  }

  /** RDMA does not tell how much was moved; the response does (RFC 7143 11.4.5). */
  #settle(transfer: InitiatorTransfer, grant: Grant | null, header: Buffer): void {
    const { buffer } = transfer;
    const isUnderflow = (Bhs.flags.get(header) & ResponseFlag.UNDERFLOW) !== 0;
    const residual = isUnderflow ? ScsiResponse.residualCount.get(header) : 0;
    transfer.transferred = Math.max(0, buffer.length - residual);
    if (grant?.isCopy === true && transfer.isRead)
      buffer.writeFrom(0, grant.memory, grant.offset, Math.min(transfer.transferred, buffer.length));
  }

  // ---- output ----

  sendCommand(header: Memory, ahs: Uint8Array | null, transfer: InitiatorTransfer): void {
    if (this.isTerminated) return;
    const { immediateLength, unsolicitedLength, buffer } = transfer;
    transfer.dataSN = 0;
    transfer.transferred = 0;
    let grant: Grant | null = null;
    try {
      if (buffer.length > 0) grant = this.#grants.open(transfer);
    } catch (error) {
      // The command has its number, and cannot be left out.
      this.deallocateConnectionResources(error as Error);
    }
    if (this.hasEnded()) return;
    const ahsLength = ahs === null ? 0 : ahs.length;
    putLengths(header, 0, ahsLength, immediateLength);
    const message = this.beginPdu(header, grant?.remote ?? null, ahsLength, immediateLength === 0);
    if (this.hasEnded()) return;
    if (ahs !== null) copyBytes(ahs, 0, message.bytes, message.offset + HEADERS, ahsLength);
    if (immediateLength > 0) this.#append(message, transfer, 0, immediateLength);
    this.postMessage(message);
    if (unsolicitedLength > immediateLength)
      this.#sendDataOut(transfer, immediateLength, unsolicitedLength - immediateLength);
  }

  /** Data of the transfer's buffer goes along with the message, from where it lies. */
  #append(message: OutgoingMessage, transfer: InitiatorTransfer, offset: number, length: number): void {
    const grant = transfer.grant as Grant;
    message.transfer = transfer;
    message.held = grant.memory;
    transfer.queuedParts++;
    this.request.sges.add(this.registered.hold(grant.memory), grant.offset + offset, length);
  }

  /** Unsolicited Data-Out (RFC 7145 7.3.4). */
  #sendDataOut(transfer: InitiatorTransfer, offset: number, length: number): void {
    const header = this.#header;
    const end = offset + length;
    for (let dataSN = 0; offset < end && !this.isTerminated; dataSN++) {
      const part = Math.min(end - offset, this.parameters.maxSendDataSegmentLength);
      const isLast = offset + part === end;
      const expStatSN = this.#tasks!.expectedStatSN();
      putDataOut(header.bytes, 0, transfer, offset, part, isLast, RESERVED_TAG, expStatSN, dataSN);
      const message = this.beginPdu(header, null, 0, false);
      if (this.hasEnded()) return;
      this.#append(message, transfer, offset, part);
      this.postMessage(message);
      offset += part;
    }
  }

  protected override messageLeft(owner: DataTransfer): void {
    const transfer = owner as InitiatorTransfer;
    if (--transfer.queuedParts === 0) this.#events.buffersReleased(transfer);
  }

  requestMissingData(): void {
    // Over RDMA nothing gets lost but the connection, and there is no SNACK (RFC 7145 7.3.11).
  }

  deallocateTaskResources(transfer: InitiatorTransfer): void {
    if (transfer.grant !== null) this.#grants.close(transfer.grant as Grant, 0);
  }

  protected override readCompleted(): void {
    // An initiator reads nothing: its data is fetched.
  }

  protected override terminated(): void {
    this.#grants.closeAll();
  }

  protected override released(): void {
    this.#pool?.close();
  }
}
