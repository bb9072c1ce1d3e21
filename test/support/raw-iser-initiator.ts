/** An initiator over RDMA that does what is right unless told to do what is wrong: a login, commands, and their answers. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import {
  Bhs,
  BHS_LENGTH,
  CDB_OFFSET,
  LoginResponse,
  ScsiCommand,
  ScsiResponse,
} from '../../src/iscsi/wire/headers.js';
import { CommandFlag, FINAL, IMMEDIATE, Opcode, RESERVED_TAG } from '../../src/iscsi/wire/opcodes.js';
import { IwarpDevice } from '../../src/rdma/iwarp/device.js';
import type { ConnectionParameters } from '../../src/rdma/verbs.js';
import { Memory } from '../../src/util/memory.js';
import { readWriteCdb } from './cdb.js';
import { decodePairs, encodeKeys, type Keys, loginHeader, LoginRefused, Stage } from './login.js';
import {
  type Advertised,
  controlHeader,
  MAY_NOT_INVALIDATE,
  RawIser,
  type RawIserOptions,
  type RawMessage,
} from './raw-iser.js';
import { TARGET_NAME } from './target.js';

/** What it proposes unless a test says otherwise. */
export const ISER_KEYS: Keys = {
  RDMAExtensions: 'Yes',
  InitialR2T: 'Yes',
  ImmediateData: 'Yes',
  MaxBurstLength: '262144',
  FirstBurstLength: '65536',
  InitiatorRecvDataSegmentLength: '8192',
  TargetRecvDataSegmentLength: '8192',
  DefaultTime2Retain: '0',
};

/** How messages travel: {@link RawIser}, or FPDUs that a test writes. */
export interface IserChannel {
  send(message: Buffer): void;
  next(): Promise<RawMessage>;
}

export interface CommandFields {
  read?: Advertised;
  write?: Advertised;
  /** Expected Data Transfer Length. */
  length?: number;
  direction?: number;
  data?: Buffer;
  /** Replaces the iSER header. */
  iser?: Buffer;
  /** Sets fields over what would be right. */
  set?: (header: Buffer) => void;
}

export class IserInitiator<Channel extends IserChannel = RawIser> {
  readonly channel: Channel;
  readonly isid = Buffer.concat([Buffer.of(0x80), randomBytes(5)]);
  answers: Keys = {};
  cmdSN = 1;
  expStatSN = 0;
  #tag = 0;

  constructor(channel: Channel) {
    this.channel = channel;
  }

  // ---- login ----

  /** The whole login. @throws LoginRefused */
  async logIn(keys: Keys = {}): Promise<void> {
    await this.logInHalfway();
    await this.#step(Stage.OPERATIONAL, Stage.FULL_FEATURE, { ...ISER_KEYS, ...keys });
  }

  /** The security stage. */
  async logInHalfway(): Promise<void> {
    await this.#step(Stage.SECURITY, Stage.OPERATIONAL, {
      InitiatorName: 'iqn.2026-01.example.test:raw',
      TargetName: TARGET_NAME,
      SessionType: 'Normal',
      AuthMethod: 'None',
    });
  }

  async #step(currentStage: Stage, nextStage: Stage, keys: Keys): Promise<void> {
    const { isid, expStatSN } = this;
    this.sendPdu(loginHeader({ isid, currentStage, nextStage, expStatSN }), encodeKeys(keys));
    const { header, data } = await this.channel.next();
    assert.equal(header[0], Opcode.LOGIN_RESPONSE);
    const statusClass = LoginResponse.statusClass.get(header);
    if (statusClass !== 0) throw new LoginRefused(statusClass, LoginResponse.statusDetail.get(header));
    this.expStatSN = (LoginResponse.statSN.get(header) + 1) >>> 0;
    Object.assign(this.answers, Object.fromEntries(decodePairs(data)));
  }

  // ---- requests ----

  sendPdu(header: Buffer, data: Buffer = Buffer.alloc(0), iser: Buffer = controlHeader()): void {
    header.writeUIntBE(data.length, 5, 3);
    this.channel.send(Buffer.concat([iser, header, data]));
  }

  /** A header with a fresh Initiator Task Tag and the right numbers; it takes its CmdSN. */
  header(opcode: number, flags: number = FINAL): Buffer {
    const header = Buffer.alloc(BHS_LENGTH);
    header[0] = opcode;
    header[1] = flags;
    Bhs.initiatorTaskTag.set(header, ++this.#tag);
    ScsiCommand.cmdSN.set(header, this.cmdSN);
    ScsiCommand.expStatSN.set(header, this.expStatSN);
    if ((opcode & IMMEDIATE) === 0) this.cmdSN = (this.cmdSN + 1) >>> 0;
    return header;
  }

  /** NOP-Out that is answered. */
  ping(data?: Buffer): void {
    const header = this.header(Opcode.NOP_OUT);
    header.writeUInt32BE(RESERVED_TAG, 20);
    this.sendPdu(header, data);
  }

  /** A SCSI Command; its Initiator Task Tag. */
  command(cdb: Uint8Array, fields: CommandFields = {}): number {
    const { read, write, length = 0, data } = fields;
    const direction =
      fields.direction ??
      (read === undefined ? 0 : CommandFlag.READ) | (write === undefined ? 0 : CommandFlag.WRITE);
    const header = this.header(Opcode.SCSI_COMMAND, FINAL | direction | 1);
    ScsiCommand.expectedDataTransferLength.set(header, length);
    header.set(cdb, CDB_OFFSET);
    fields.set?.(header);
    const iser =
      fields.iser ??
      controlHeader({ ...(read !== undefined && { read }), ...(write !== undefined && { write }) });
    this.sendPdu(header, data, iser);
    return Bhs.initiatorTaskTag.get(header);
  }

  /** The next PDU, which answers `tag`. */
  async answer(tag: number): Promise<RawMessage> {
    const message = await this.channel.next();
    assert.equal(Bhs.initiatorTaskTag.get(message.header), tag);
    this.expStatSN = (ScsiResponse.statSN.get(message.header) + 1) >>> 0;
    return message;
  }

  /** The SCSI status of the task. */
  async status(tag: number): Promise<number> {
    const { header } = await this.answer(tag);
    assert.equal(header[0], Opcode.SCSI_RESPONSE);
    return ScsiResponse.status.get(header);
  }

  // ---- over the Verbs contract ----

  static readonly #device = new IwarpDevice();

  /** Connected, not logged in. */
  static async connect(
    port: number,
    parameters: ConnectionParameters = {},
    options: RawIserOptions = {},
    host = '127.0.0.1',
  ): Promise<IserInitiator> {
    const connection = await IserInitiator.#device.resolve({ host, port });
    const raw = new RawIser(connection, options);
    await connection.connect({ privateData: MAY_NOT_INVALIDATE, ...parameters });
    return new IserInitiator(raw);
  }

  static async login(port: number, keys: Keys = {}): Promise<IserInitiator> {
    const initiator = await IserInitiator.connect(port);
    await initiator.logIn(keys);
    return initiator;
  }
}

/** READ(16) of LUN 0, blocks of 512 bytes. */
export async function readBlocks(initiator: IserInitiator, lba: number, blocks: number): Promise<Buffer> {
  const memory = Memory.allocate(blocks * 512);
  const read = initiator.channel.grant(memory, 'write');
  const tag = initiator.command(readWriteCdb(0x88, lba, blocks, false), { read, length: memory.length });
  assert.equal(await initiator.status(tag), 0);
  return memory.bytes;
}

/** WRITE(16) to LUN 0. */
export async function writeBlocks(initiator: IserInitiator, lba: number, data: Buffer): Promise<void> {
  const write = initiator.channel.grant(new Memory(Buffer.from(data)), 'read');
  const cdb = readWriteCdb(0x8a, lba, data.length / 512, false);
  const tag = initiator.command(cdb, { write, length: data.length });
  assert.equal(await initiator.status(tag), 0);
}
