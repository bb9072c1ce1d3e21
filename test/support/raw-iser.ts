/**
 * An end of an iSER connection that does as a test tells it, right or wrong: Sends with any bytes, memory that it grants, RDMA
 * Writes and Reads to wherever it likes. It builds and reads messages straight from RFC 7145 9, and shares nothing with the code
 * under test.
 */

import assert from 'node:assert/strict';
import { BHS_LENGTH } from '../../src/iscsi/wire/headers.js';
import {
  AccessFlag,
  type CompletionQueue,
  type MemoryRegion,
  type MemoryWindow,
  type ProtectionDomain,
  type QueuePair,
  type RdmaConnection,
} from '../../src/rdma/verbs.js';
import {
  CompletionFlag,
  completionRecords,
  CompletionStatus,
  ReceiveRequest,
  SendFlag,
  SendOpcode,
  SendRequest,
} from '../../src/rdma/work.js';
import { Memory } from '../../src/util/memory.js';
import { until } from './verbs-pair.js';

export const ISER_HEADER = 28;
const EMPTY = Buffer.alloc(0);

/** First bytes of iSER headers (RFC 7145 9.1 to 9.4). */
export const First = {
  CONTROL: 0x10,
  HELLO: 0x20,
  HELLO_REPLY: 0x30,
  WRITE_STAG: 0x08,
  READ_STAG: 0x04,
  REJECT: 0x01,
} as const;

/** Private data of a connection: addresses are not from zero; Sends may invalidate keys or may not. */
export const MAY_INVALIDATE = Buffer.of(0x80, 0, 0, 0);
export const MAY_NOT_INVALIDATE = Buffer.of(0xc0, 0, 0, 0);

/** Memory that the other side may reach. */
export interface Advertised {
  key: number;
  address: bigint;
}

/** The iSER header of a control-type PDU; a flag is set for what is given. */
export function controlHeader(fields: { read?: Advertised; write?: Advertised } = {}): Buffer {
  const header = Buffer.alloc(ISER_HEADER);
  header[0] = First.CONTROL;
  if (fields.write !== undefined) {
    header[0] |= First.WRITE_STAG;
    header.writeUInt32BE(fields.write.key, 4);
    header.writeBigUInt64BE(fields.write.address, 8);
  }
  if (fields.read !== undefined) {
    header[0] |= First.READ_STAG;
    header.writeUInt32BE(fields.read.key, 16);
    header.writeBigUInt64BE(fields.read.address, 20);
  }
  return header;
}

/** A Hello or HelloReply Message: versions are from 0 to 15, `depth` is IRD or ORD. */
export function hello(first: number, maxVersion: number, version: number, depth: number): Buffer {
  const message = Buffer.alloc(ISER_HEADER);
  message[0] = first;
  message[1] = (maxVersion << 4) | version;
  message.writeUInt16BE(depth, 2);
  return message;
}

/** A message as it came. */
export interface RawMessage {
  /** All of it. */
  bytes: Buffer;
  /** The key that it has invalidated; 0 for none. */
  invalidated: number;
  read: Advertised | null;
  write: Advertised | null;
  /** The basic header segment. */
  header: Buffer;
  /** The data segment. */
  data: Buffer;
}

export function parseMessage(bytes: Buffer, invalidated: number): RawMessage {
  const first = bytes[0] ?? 0;
  const header = bytes.subarray(ISER_HEADER, ISER_HEADER + BHS_LENGTH);
  const isPdu = header.length === BHS_LENGTH;
  const dataAt = ISER_HEADER + BHS_LENGTH + (isPdu ? header[4]! * 4 : 0);
  return {
    bytes,
    invalidated,
    write:
      (first & First.WRITE_STAG) === 0
        ? null
        : { key: bytes.readUInt32BE(4), address: bytes.readBigUInt64BE(8) },
    read:
      (first & First.READ_STAG) === 0
        ? null
        : { key: bytes.readUInt32BE(16), address: bytes.readBigUInt64BE(20) },
    header,
    data: isPdu ? bytes.subarray(dataAt, dataAt + header.readUIntBE(5, 3)) : EMPTY,
  };
}

export interface RawIserOptions {
  /** Receives that are posted at first. */
  receives?: number;
  /** Bytes of each. */
  receiveBytes?: number;
  /** What has come is not posted again. */
  runsOut?: boolean;
}

const RECEIVE = 0;
const SEND = 1;
const READ = 2;
const KINDS = 4;

export class RawIser {
  readonly connection: RdmaConnection;
  readonly domain: ProtectionDomain;
  readonly queuePair: QueuePair;
  readonly messages: RawMessage[] = [];
  /** Undefined while connected. */
  ended: Error | null | undefined;
  /** Told of each message instead of keeping it. */
  received: ((message: RawMessage) => void) | null = null;
  readonly #queue: CompletionQueue;
  readonly #records = completionRecords(16);
  readonly #receiving: Memory;
  readonly #receiveRegion: MemoryRegion;
  readonly #receiveBytes: number;
  readonly #runsOut: boolean;
  readonly #regions: MemoryRegion[] = [];
  readonly #windows: MemoryWindow[] = [];
  readonly #reads: (() => void)[] = [];
  readonly #request = new SendRequest();
  #isClosed = false;

  /** On a connection that was resolved, or asked for: connect or accept behind this. */
  constructor(
    connection: RdmaConnection,
    { receives = 64, receiveBytes = 32_768, runsOut = false }: RawIserOptions = {},
  ) {
    const { device } = connection;
    this.connection = connection;
    this.#receiveBytes = receiveBytes;
    this.#runsOut = runsOut;
    this.domain = device.allocateProtectionDomain();
    this.#queue = device.createCompletionQueue(8192, {
      completed: () => {
        this.#drain();
      },
    });
    this.queuePair = connection.createQueuePair(
      this.domain,
      {
        sendQueue: this.#queue,
        receiveQueue: this.#queue,
        maxSendRequests: 4096,
        maxReceiveRequests: Math.max(1, receives),
        maxSges: 2,
      },
      {
        disconnected: (error) => {
          this.#drain();
          this.ended = error;
        },
      },
    );
    this.#receiving = Memory.allocate(Math.max(1, receives) * receiveBytes);
    this.#receiveRegion = this.domain.registerMemory(this.#receiving, AccessFlag.LOCAL_WRITE);
    for (let i = 0; i < receives; i++) this.#postReceive(i);
    this.#queue.arm();
  }

  // ---- what it sends ----

  send(bytes: Buffer, invalidates = 0): void {
    if (this.ended !== undefined) return;
    const request = this.#begin(invalidates === 0 ? SendOpcode.SEND : SendOpcode.SEND_WITH_INVALIDATE, bytes);
    request.invalidateKey = invalidates;
    this.#post();
  }

  /** A PDU with its right lengths behind an iSER header. */
  sendPdu(header: Buffer, data: Buffer = EMPTY, iser: Buffer = controlHeader(), invalidates = 0): void {
    const bhs = Buffer.from(header);
    bhs.writeUIntBE(data.length, 5, 3);
    this.send(Buffer.concat([iser, bhs, data]), invalidates);
  }

  /** RDMA Write of `bytes`. */
  write({ key, address }: Advertised, bytes: Buffer): void {
    if (this.ended !== undefined) return;
    this.#aim(this.#begin(SendOpcode.RDMA_WRITE, bytes), key, address);
    this.#post();
  }

  /** RDMA Read into `memory`; `done` when it is there. */
  read({ key, address }: Advertised, memory: Memory, done: () => void = () => undefined): void {
    if (this.ended !== undefined) return;
    const request = this.#request;
    request.opcode = SendOpcode.RDMA_READ;
    request.flags = SendFlag.SIGNALED;
    request.id = READ + KINDS * (this.#reads.push(done) - 1);
    request.sges.clear().add(this.#register(memory, AccessFlag.LOCAL_WRITE), 0, memory.length);
    this.#aim(request, key, address);
    this.#post();
  }

  /** Let the other side reach all of `memory`, for reading or for writing; by a window it may end that by a Send. */
  grant(memory: Memory, access: 'read' | 'write', isWindow = false): Advertised {
    const rights = access === 'read' ? AccessFlag.REMOTE_READ : AccessFlag.REMOTE_WRITE;
    if (!isWindow) {
      const region = this.#register(memory, AccessFlag.LOCAL_WRITE | rights);
      return { key: region.remoteKey, address: BigInt(region.address) };
    }
    const region = this.#register(memory, AccessFlag.LOCAL_WRITE | AccessFlag.WINDOW_BIND);
    const window = this.domain.allocateWindow();
    this.#windows.push(window);
    const request = this.#request;
    request.opcode = SendOpcode.BIND_WINDOW;
    request.flags = SendFlag.SIGNALED;
    request.id = SEND;
    request.sges.clear();
    request.window = window;
    request.bindRegion = region;
    request.bindOffset = 0;
    request.bindLength = memory.length;
    request.bindAccess = rights;
    this.#post();
    request.window = request.bindRegion = null;
    return { key: window.remoteKey, address: BigInt(region.address) };
  }

  /** Take back all that was granted, while the other side may still be about to use it. */
  revokeAll(): void {
    for (const window of this.#windows.splice(0)) window.close();
    for (const region of this.#regions.splice(0)) region.deregister();
  }

  // ---- what comes ----

  /** The next message. */
  async next(): Promise<RawMessage> {
    await until(() => this.messages.length > 0 || this.ended !== undefined, 'an iSER message');
    const message = this.messages.shift();
    if (message === undefined) assert.fail(`the connection ended: ${String(this.ended)}`);
    return message;
  }

  /** The other side ended the connection. Why, as far as this side was told. */
  async disconnected(): Promise<Error | null> {
    await until(() => this.ended !== undefined, 'the end of the connection');
    return this.ended!;
  }

  disconnect(): void {
    this.connection.disconnect();
  }

  /** End at once, and let go of everything. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.connection.close();
    this.revokeAll();
    this.#receiveRegion.deregister();
    this.#queue.close();
    this.domain.close();
  }

  #register(memory: Memory, access: number): MemoryRegion {
    const region = this.domain.registerMemory(memory, access);
    this.#regions.push(region);
    return region;
  }

  /** A request with bytes of its own, which may change afterwards. */
  #begin(opcode: SendOpcode, bytes: Buffer): SendRequest {
    const request = this.#request;
    const memory = new Memory(Buffer.from(bytes));
    request.opcode = opcode;
    request.flags = SendFlag.SIGNALED | SendFlag.SOLICITED;
    request.id = SEND;
    request.sges.clear().add(this.#register(memory, 0), 0, memory.length);
    return request;
  }

  #aim(request: SendRequest, key: number, address: bigint): void {
    request.remoteKey = key;
    request.remoteAddressHigh = Number(address >> 32n);
    request.remoteAddressLow = Number(address & 0xffff_ffffn);
  }

  #post(): void {
    this.queuePair.postSend(this.#request);
    this.queuePair.flush();
  }

  #postReceive(index: number): void {
    const request = new ReceiveRequest();
    request.id = RECEIVE + KINDS * index;
    request.sges.add(this.#receiveRegion, index * this.#receiveBytes, this.#receiveBytes);
    this.queuePair.postReceive(request);
  }

  #drain(): void {
    if (this.#isClosed) return;
    for (;;) {
      let count = this.#queue.poll(this.#records);
      if (count === 0) {
        this.#queue.arm();
        count = this.#queue.poll(this.#records);
        if (count === 0) return;
      }
      for (const { id, status, flags, byteLength, invalidatedKey } of this.#records.slice(0, count)) {
        if (status !== CompletionStatus.SUCCESS) continue;
        const index = Math.floor(id / KINDS);
        if (id % KINDS === READ) this.#reads[index]!();
        if (id % KINDS !== RECEIVE) continue;
        const at = index * this.#receiveBytes;
        const bytes = Buffer.from(this.#receiving.bytes.subarray(at, at + byteLength));
        if (!this.#runsOut && this.ended === undefined) this.#postReceive(index);
        const hasInvalidated = (flags & CompletionFlag.WITH_INVALIDATE) !== 0;
        const message = parseMessage(bytes, hasInvalidated ? invalidatedKey : 0);
        if (this.received === null) this.messages.push(message);
        else this.received(message);
      }
    }
  }
}
