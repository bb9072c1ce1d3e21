/** A target over RDMA that logs in as it should and serves a disk of zeroes, until a script tells it to misbehave. */

import { TargetLogin } from '../../src/iscsi/index.js';
import { Bhs, BHS_LENGTH, ScsiCommand, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { FINAL, IMMEDIATE, Opcode, RESERVED_TAG } from '../../src/iscsi/wire/opcodes.js';
import { IwarpDevice } from '../../src/rdma/iwarp/device.js';
import type { RdmaConnection, RdmaListener } from '../../src/rdma/verbs.js';
import { Memory } from '../../src/util/memory.js';
import { LONE_TARGET } from './lone-target.js';
import { controlHeader, MAY_INVALIDATE, RawIser, type RawMessage } from './raw-iser.js';

/** Handles a message by its own rules, and returns true; or leaves it to the honest target. */
export type EvilIserScript = (connection: EvilIserConnection, message: RawMessage) => boolean;

export const HONEST: EvilIserScript = () => false;

export interface EvilIserPdu {
  tag?: number;
  data?: Buffer;
  iser?: Buffer;
  /** A key that its Send invalidates. */
  invalidates?: number;
  /** Sets fields over what would be right. */
  set?: (header: Buffer) => void;
}

export class EvilIserConnection {
  readonly raw: RawIser;
  /** Counted from 0, in the order of their coming. */
  readonly index: number;
  isLoggedIn = false;
  statSN = 0;
  expCmdSN = 1;
  readonly #login: TargetLogin;

  constructor(request: RdmaConnection, index: number, script: EvilIserScript) {
    this.raw = new RawIser(request);
    this.index = index;
    this.#login = new TargetLogin({
      policy: LONE_TARGET,
      authenticator: null,
      initiatorAddress: '127.0.0.1',
      commandWindow: 32,
      isRdma: true,
    });
    this.raw.received = (message) => {
      const isCommand = message.header[0] === Opcode.SCSI_COMMAND;
      if (isCommand) this.expCmdSN = (this.expCmdSN + 1) >>> 0;
      if (!script(this, message)) this.behave(message);
    };
  }

  /** What a target does that keeps the rules. */
  behave({ header, data, read, write }: RawMessage): void {
    if (!this.isLoggedIn) {
      this.#logIn(header, data);
      return;
    }
    const tag = Bhs.initiatorTaskTag.get(header);
    switch (header[0]! & ~IMMEDIATE) {
      case Opcode.SCSI_COMMAND: {
        const length = ScsiCommand.expectedDataTransferLength.get(header);
        const respond = (): void => {
          this.send(Opcode.SCSI_RESPONSE, { tag });
        };
        if (read !== null) this.raw.write(read, Buffer.alloc(length));
        if (write === null) respond();
        else this.raw.read(write, Memory.allocate(length - data.length), respond);
        break;
      }
      case Opcode.NOP_OUT:
        if (tag !== RESERVED_TAG) this.send(Opcode.NOP_IN, { tag, data });
        break;
      case Opcode.TASK_MANAGEMENT_REQUEST:
        this.send(Opcode.TASK_MANAGEMENT_RESPONSE, { tag });
        break;
      case Opcode.LOGOUT_REQUEST:
        this.send(Opcode.LOGOUT_RESPONSE, { tag });
        this.raw.disconnect();
        break;
    }
  }

  send(opcode: number, { tag = RESERVED_TAG, data, iser, invalidates, set }: EvilIserPdu = {}): void {
    const header = Buffer.alloc(BHS_LENGTH);
    header[0] = opcode;
    header[1] = FINAL;
    Bhs.initiatorTaskTag.set(header, tag);
    header.writeUInt32BE(opcode === Opcode.NOP_IN ? RESERVED_TAG : 0, 20);
    ScsiResponse.statSN.set(header, this.statSN);
    ScsiResponse.expCmdSN.set(header, this.expCmdSN);
    ScsiResponse.maxCmdSN.set(header, (this.expCmdSN + 31) >>> 0);
    this.statSN = (this.statSN + 1) >>> 0;
    set?.(header);
    this.raw.sendPdu(header, data, iser ?? controlHeader(), invalidates);
  }

  #logIn(header: Buffer, data: Buffer): void {
    const { response, result, close } = this.#login.handleRequest(header, data);
    if (response !== null) this.raw.sendPdu(response.header, response.data);
    if (close) this.raw.disconnect();
    if (result === null) return;
    this.isLoggedIn = true;
    this.statSN = result.statSN;
    this.expCmdSN = result.expCmdSN;
  }
}

export class EvilIserTarget {
  readonly connections: EvilIserConnection[] = [];
  readonly port: number;
  script: EvilIserScript = HONEST;
  readonly #device: IwarpDevice;
  readonly #listener: RdmaListener;

  private constructor(device: IwarpDevice, listener: RdmaListener) {
    this.#device = device;
    this.#listener = listener;
    this.port = listener.port;
  }

  static async start(): Promise<EvilIserTarget> {
    const device = new IwarpDevice();
    const requested = (request: RdmaConnection): void => {
      const { length } = target.connections;
      target.connections.push(
        new EvilIserConnection(request, length, (connection, message) => target.script(connection, message)),
      );
      request.accept({ privateData: MAY_INVALIDATE }).catch(() => undefined);
    };
    const listener = await device.listen({ address: '127.0.0.1', port: 0 }, { requested });
    const target = new EvilIserTarget(device, listener);
    return target;
  }

  /** End all connections. */
  drop(): void {
    for (const { raw } of this.connections.splice(0)) raw.close();
  }

  async close(): Promise<void> {
    this.drop();
    await this.#listener.close();
    await this.#device.close();
  }
}
