/**
 * A target that logs in as it should and serves a disk of zeroes, until it is told to misbehave: the script
 * sees every PDU first, and what it handles the honest target does not see.
 */

import { once } from 'node:events';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { TargetLogin } from '../../src/iscsi/index.js';
import { Bhs, BHS_LENGTH, DataIn, R2T, ScsiCommand, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import {
  CommandFlag,
  DATA_IN_STATUS,
  FINAL,
  IMMEDIATE,
  Opcode,
  RESERVED_TAG,
} from '../../src/iscsi/wire/opcodes.js';
import { LONE_TARGET } from './lone-target.js';
import { type Pdu, PduSocket } from './pdu-socket.js';

/** Handles a PDU by its own rules, and returns true; or leaves it to the honest target. */
export type EvilScript = (connection: EvilConnection, pdu: Pdu) => boolean;

export const HONEST: EvilScript = () => false;

/** A PDU to send, and whether it is right about its numbers. */
export interface EvilPdu {
  tag?: number;
  flags?: number;
  data?: Buffer;
  /** Sets fields over what would be right. */
  set?: (header: Buffer) => void;
  /** Does not take a StatSN. */
  isUnnumbered?: boolean;
}

export class EvilConnection {
  readonly pdus: PduSocket;
  /** Counted from 0, in the order of their coming. */
  readonly index: number;
  statSN = 0;
  expCmdSN = 1;
  /** Commands that may be on their way. */
  window = 32;
  readonly #login: TargetLogin;
  readonly #writes = new Map<number, number>();
  #isLoggedIn = false;
  readonly #script: EvilScript;

  constructor(socket: Socket, index: number, script: EvilScript) {
    this.pdus = PduSocket.accept(socket);
    this.index = index;
    this.#script = script;
    this.#login = new TargetLogin({
      policy: LONE_TARGET,
      authenticator: null,
      initiatorAddress: '127.0.0.1',
      commandWindow: this.window,
    });
    this.pdus.deliver(
      (pdu) => {
        if (!this.#script(this, pdu)) this.behave(pdu);
      },
      () => undefined,
    );
  }

  get isLoggedIn(): boolean {
    return this.#isLoggedIn;
  }

  /** What a target does that keeps the rules. */
  behave(pdu: Pdu): void {
    if (!this.#isLoggedIn) {
      this.#logIn(pdu);
      return;
    }
    const tag = Bhs.initiatorTaskTag.get(pdu.header);
    switch (pdu.opcode) {
      case Opcode.SCSI_COMMAND:
        this.#command(pdu, tag);
        break;
      case Opcode.DATA_OUT:
        if ((pdu.header[1]! & FINAL) !== 0) this.#dataEnded(tag);
        break;
      case Opcode.NOP_OUT:
        if (tag === RESERVED_TAG) break;
        this.send(Opcode.NOP_IN, {
          tag,
          data: pdu.data,
          set: (header) => R2T.targetTransferTag.set(header, RESERVED_TAG),
        });
        break;
      case Opcode.TASK_MANAGEMENT_REQUEST:
        this.send(Opcode.TASK_MANAGEMENT_RESPONSE, { tag });
        break;
      case Opcode.TEXT_REQUEST:
        this.send(Opcode.TEXT_RESPONSE, {
          tag,
          set: (header) => R2T.targetTransferTag.set(header, RESERVED_TAG),
        });
        break;
      case Opcode.LOGOUT_REQUEST:
        this.send(Opcode.LOGOUT_RESPONSE, { tag });
        this.pdus.socket.end();
        break;
      default:
        throw new Error(`the honest target knows no opcode 0x${pdu.opcode.toString(16)}`);
    }
  }

  send(
    opcode: Opcode,
    { tag = RESERVED_TAG, flags = FINAL, data, set, isUnnumbered = false }: EvilPdu = {},
  ): void {
    const header = Buffer.alloc(BHS_LENGTH);
    header[0] = opcode;
    header[1] = flags;
    Bhs.initiatorTaskTag.set(header, tag);
    ScsiResponse.statSN.set(header, this.statSN);
    ScsiResponse.expCmdSN.set(header, this.expCmdSN);
    ScsiResponse.maxCmdSN.set(header, (this.expCmdSN + this.window - 1) >>> 0);
    if (!isUnnumbered) this.statSN = (this.statSN + 1) >>> 0;
    set?.(header);
    this.pdus.send(header, data);
  }

  /** Data-In; with status it ends the command. */
  dataIn(tag: number, dataSN: number, offset: number, data: Buffer, isLast: boolean): void {
    this.send(Opcode.DATA_IN, {
      tag,
      data,
      flags: isLast ? FINAL | DATA_IN_STATUS : 0,
      isUnnumbered: !isLast,
      set: (header) => {
        DataIn.targetTransferTag.set(header, RESERVED_TAG);
        DataIn.dataSN.set(header, dataSN);
        DataIn.bufferOffset.set(header, offset);
      },
    });
  }

  r2t(tag: number, r2tSN: number, offset: number, length: number, transferTag = 7): void {
    this.send(Opcode.R2T, {
      tag,
      isUnnumbered: true,
      set: (header) => {
        R2T.targetTransferTag.set(header, transferTag);
        R2T.r2tSN.set(header, r2tSN);
        R2T.bufferOffset.set(header, offset);
        R2T.desiredDataTransferLength.set(header, length);
      },
    });
  }

  #logIn(pdu: Pdu): void {
    const { response, result, close } = this.#login.handleRequest(pdu.header, pdu.data);
    if (response !== null) this.pdus.send(response.header, response.data);
    if (close) this.pdus.socket.end();
    if (result === null) return;
    this.#isLoggedIn = true;
    this.statSN = result.statSN;
    this.expCmdSN = result.expCmdSN;
  }

  #command(pdu: Pdu, tag: number): void {
    if ((pdu.header[0]! & IMMEDIATE) === 0) this.expCmdSN = (this.expCmdSN + 1) >>> 0;
    const flags = pdu.header[1]!;
    const length = ScsiCommand.expectedDataTransferLength.get(pdu.header);
    if ((flags & CommandFlag.READ) !== 0 && length > 0) this.dataIn(tag, 0, 0, Buffer.alloc(length), true);
    else if ((flags & CommandFlag.WRITE) !== 0 && (flags & FINAL) === 0) this.#writes.set(tag, length);
    else this.send(Opcode.SCSI_RESPONSE, { tag });
  }

  #dataEnded(tag: number): void {
    if (this.#writes.delete(tag)) this.send(Opcode.SCSI_RESPONSE, { tag });
  }
}

export class EvilTarget {
  readonly connections: EvilConnection[] = [];
  readonly port: number;
  script: EvilScript = HONEST;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as AddressInfo).port;
    server.on('connection', (socket) => {
      const { length } = this.connections;
      this.connections.push(
        new EvilConnection(socket, length, (connection, pdu) => this.script(connection, pdu)),
      );
    });
  }

  static async start(script: EvilScript = HONEST): Promise<EvilTarget> {
    const server = createServer({ allowHalfOpen: true });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const target = new EvilTarget(server);
    target.script = script;
    return target;
  }

  async close(): Promise<void> {
    this.#server.close();
    for (const { pdus } of this.connections) pdus.destroy();
    await once(this.#server, 'close');
  }
}
