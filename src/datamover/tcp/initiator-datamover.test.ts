import assert from 'node:assert/strict';
import { it } from 'node:test';
import fc from 'fast-check';
import { LUN_HIGH, PARAMETERS, type ReceivedPdu } from '../../../test/contract/datamover.js';
import {
  commandHeader,
  type InitiatorHarness,
  initiatorDatamoverContract,
  InitiatorTaskMap,
  RecordedInitiatorEvents,
  scsiCommand,
  type TargetPeer,
  TestTransfer,
} from '../../../test/contract/initiator-datamover.js';
import { Bhs, DataIn, DataOut, R2T, ScsiCommand, SnackRequest } from '../../iscsi/wire/headers.js';
import {
  DATA_IN_ACKNOWLEDGE,
  DATA_IN_STATUS,
  FINAL,
  Opcode,
  RESERVED_TAG,
  ResponseFlag,
  SnackType,
} from '../../iscsi/wire/opcodes.js';
import { crc32c } from '../../util/crc32c.js';
import { Memory } from '../../util/memory.js';
import type { ConnectionParameters, DatamoverEvents } from '../datamover.js';
import { InitiatorTcpDatamover } from './initiator-datamover.js';
import { FunctionStream, LateStream } from './testing/function-stream.js';

function digest(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(crc32c(bytes));
  return sum;
}

/** A target's end, straight from the RFC; shares nothing with the code under test but header fields and CRC32C. */
class TcpTargetPeer implements TargetPeer {
  readonly controls: ReceivedPdu[] = [];
  parameters: ConnectionParameters = PARAMETERS;
  readonly #stream: FunctionStream;
  readonly #received = new Map<number, Buffer[]>();
  /** Bytes that commands expect to be transferred. */
  readonly #expected = new Map<number, number>();
  readonly #r2tSNs = new Map<number, number>();
  #sequence = { tag: RESERVED_TAG, dataSN: 0 };
  #input: Buffer = Buffer.alloc(0);
  /** Bytes that reach the initiator at a time. */
  portion = Infinity;
  /** Where else what is sent is cut once; Infinity for nowhere. */
  cut = Infinity;

  constructor(stream: FunctionStream) {
    this.#stream = stream;
    stream.receive = (bytes) => {
      this.#input = Buffer.concat([this.#input, bytes]);
      while (this.#parse());
    };
  }

  sendControl(header: Buffer, data: Buffer): void {
    const h = Buffer.from(header);
    Bhs.dataSegmentLength.set(h, data.length);
    const parts: Buffer[] = [h];
    if (this.parameters.headerDigest) parts.push(digest(h));
    if (data.length > 0) {
      const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
      parts.push(padded);
      if (this.parameters.dataDigest) parts.push(digest(padded));
    }
    this.sendRaw(Buffer.concat(parts));
  }

  sendRaw(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const to = Math.min(bytes.length, at + this.portion, at < this.cut ? this.cut : Infinity);
      this.#stream.deliver(bytes.subarray(at, to));
      at = to;
    }
  }

  putData(tag: number, bytes: Buffer): void {
    const limit = this.parameters.maxRecvDataSegmentLength;
    const expected = this.#expected.get(tag) ?? 0;
    for (let offset = 0, dataSN = 0; offset < bytes.length; dataSN++) {
      const part = bytes.subarray(offset, offset + limit);
      const isLast = offset + part.length === bytes.length;
      const header = commandHeader(tag, Opcode.DATA_IN);
      header[1] = isLast ? FINAL | DATA_IN_STATUS : 0;
      if (isLast && bytes.length < expected) {
        header[1] |= ResponseFlag.UNDERFLOW;
        DataIn.residualCount.set(header, expected - bytes.length);
      }
      DataIn.dataSN.set(header, dataSN);
      DataIn.bufferOffset.set(header, offset);
      this.sendControl(header, part);
      offset += part.length;
    }
  }

  getData(tag: number, from: number, to: number): void {
    const header = commandHeader(tag, Opcode.R2T);
    const r2tSN = this.#r2tSNs.get(tag) ?? 0;
    this.#r2tSNs.set(tag, r2tSN + 1);
    R2T.targetTransferTag.set(header, 1000 + r2tSN);
    R2T.r2tSN.set(header, r2tSN);
    R2T.bufferOffset.set(header, from);
    R2T.desiredDataTransferLength.set(header, to - from);
    this.sendControl(header, Buffer.alloc(0));
  }

  endWrite(tag: number): void {
    const header = commandHeader(tag, Opcode.SCSI_RESPONSE);
    this.sendControl(header, Buffer.alloc(0));
  }

  received(tag: number): Buffer {
    return Buffer.concat(this.#received.get(tag) ?? []);
  }

  close(): void {
    this.#stream.destroy(null);
  }

  #parse(): boolean {
    const header = this.#input.subarray(0, 48);
    if (header.length < 48) return false;
    const ahs = Bhs.totalAHSLength.get(header) * 4;
    const length = Bhs.dataSegmentLength.get(header);
    const padded = (length + 3) & ~3;
    const headerDigest = this.parameters.headerDigest ? 4 : 0;
    const dataAt = 48 + ahs + headerDigest;
    const end = dataAt + padded + (this.parameters.dataDigest && length > 0 ? 4 : 0);
    if (this.#input.length < end) return false;
    if (headerDigest)
      assert.deepEqual(this.#input.subarray(48 + ahs, dataAt), digest(this.#input.subarray(0, 48 + ahs)));
    if (end > dataAt + padded)
      assert.deepEqual(
        this.#input.subarray(dataAt + padded, end),
        digest(this.#input.subarray(dataAt, dataAt + padded)),
      );
    assert.ok(length <= this.parameters.maxSendDataSegmentLength);
    const padding = this.#input.subarray(dataAt + length, dataAt + padded);
    assert.ok(padding.every((byte) => byte === 0));
    const data = Buffer.from(this.#input.subarray(dataAt, dataAt + length));
    const copy = Buffer.from(header);
    this.#input = this.#input.subarray(end);
    this.#handle(copy, data);
    return true;
  }

  #handle(header: Buffer, data: Buffer): void {
    const tag = Bhs.initiatorTaskTag.get(header);
    const parts = this.#received.get(tag) ?? [];
    this.#received.set(tag, parts);
    if ((header[0]! & 0x3f) !== Opcode.DATA_OUT) {
      this.controls.push({ header, data });
      if ((header[0]! & 0x3f) === Opcode.SCSI_COMMAND) {
        parts.push(data);
        this.#expected.set(tag, ScsiCommand.expectedDataTransferLength.get(header));
      }
      return;
    }
    const transferTag = DataOut.targetTransferTag.get(header);
    if (transferTag !== this.#sequence.tag) this.#sequence = { tag: transferTag, dataSN: 0 };
    // RFC 7143 11.7.4
    if (transferTag !== RESERVED_TAG) assert.equal(Bhs.lunHigh.get(header), LUN_HIGH);
    assert.equal(DataOut.dataSN.get(header), this.#sequence.dataSN++);
    assert.equal(DataOut.expStatSN.get(header), 33);
    assert.equal(DataOut.bufferOffset.get(header), this.received(tag).length);
    parts.push(data);
    if ((header[1]! & FINAL) !== 0) this.#sequence = { tag: RESERVED_TAG, dataSN: 0 };
  }
}

function open(
  events: DatamoverEvents,
  { portion = Infinity, cut = Infinity, stream = new FunctionStream() } = {},
): InitiatorHarness & { peer: TcpTargetPeer } {
  const peer = new TcpTargetPeer(stream);
  peer.portion = portion;
  peer.cut = cut;
  const datamover = new InitiatorTcpDatamover(stream, events);
  const enable = datamover.enableDatamover.bind(datamover);
  datamover.enableDatamover = (parameters, tasks) => {
    peer.parameters = parameters;
    enable(parameters, tasks);
  };
  return { datamover, peer, settle: () => stream.settle() };
}

initiatorDatamoverContract('tcp', { hasDigests: true, open: (events) => open(events) });
initiatorDatamoverContract('tcp, all arrives later', {
  hasDigests: true,
  open: (events) => open(events, { stream: new LateStream() }),
});
initiatorDatamoverContract('tcp, 7 bytes at a time', {
  hasDigests: true,
  open: (events) => open(events, { portion: 7 }),
});

it('ends the connection when data is asked for out of order', () => {
  const events = new RecordedInitiatorEvents();
  const { datamover, peer } = open(events);
  const tasks = new InitiatorTaskMap();
  datamover.enableDatamover(PARAMETERS, tasks);
  const transfer = new TestTransfer(2, Memory.allocate(100), 'write');
  tasks.set(2, transfer);
  datamover.sendCommand(scsiCommand(transfer), null, transfer);
  datamover.flush();
  peer.getData(2, 1, 100);
  assert.equal(events.ends.length, 1);
  assert.match(String(events.ends[0]?.message), /bytes 1 to 100/);
});

for (const errorRecoveryLevel of [0, 1]) {
  it(`${errorRecoveryLevel === 0 ? 'ignores' : 'answers'} the A bit at level ${errorRecoveryLevel} (RFC 7143 11.7.2)`, () => {
    const events = new RecordedInitiatorEvents();
    const { datamover, peer } = open(events);
    const tasks = new InitiatorTaskMap();
    datamover.enableDatamover({ ...PARAMETERS, errorRecoveryLevel }, tasks);
    const transfer = new TestTransfer(2, Memory.allocate(100), 'read');
    tasks.set(2, transfer);
    datamover.sendCommand(scsiCommand(transfer), null, transfer);
    datamover.flush();
    peer.controls.length = 0;
    const send = (dataSN: number): void => {
      const header = commandHeader(2, Opcode.DATA_IN);
      header[1] = FINAL | DATA_IN_ACKNOWLEDGE;
      Bhs.lunHigh.set(header, 0x0003_0000);
      DataIn.targetTransferTag.set(header, 0x77);
      DataIn.dataSN.set(header, dataSN);
      DataIn.bufferOffset.set(header, dataSN * 10);
      transfer.lunHigh = 0x0003_0000;
      peer.sendControl(header, Buffer.alloc(10));
    };
    send(0);
    // Behind a hole there is nothing to acknowledge.
    if (errorRecoveryLevel > 0) send(2);
    datamover.flush();
    const snacks = peer.controls.filter(({ header }) => (header[0]! & 0x3f) === Opcode.SNACK_REQUEST);
    const acknowledgements = snacks.filter(({ header }) => header[1] === (FINAL | SnackType.DATA_ACK));
    assert.equal(acknowledgements.length, errorRecoveryLevel);
    for (const { header } of acknowledgements) {
      assert.equal(SnackRequest.initiatorTaskTag.get(header), RESERVED_TAG);
      assert.equal(SnackRequest.targetTransferTag.get(header), 0x77);
      assert.equal(SnackRequest.lunHigh.get(header), 0x0003_0000);
      assert.deepEqual([SnackRequest.begRun.get(header), SnackRequest.runLength.get(header)], [1, 0]);
    }
    assert.deepEqual([events.ends.length, transfer.transferred], [0, 10]);
  });
}

for (const digests of [false, true]) {
  it(`takes Data-In and R2T cut at any byte, ${digests ? 'with' : 'without'} digests`, () => {
    const data = Buffer.from(Array.from({ length: 203 }, (_, i) => i));
    for (let cut = 1; cut < 270; cut++) {
      const events = new RecordedInitiatorEvents();
      const { datamover, peer } = open(events, { cut });
      const tasks = new InitiatorTaskMap();
      datamover.enableDatamover({ ...PARAMETERS, headerDigest: digests, dataDigest: digests }, tasks);
      const memory = Memory.allocate(203);
      const reading = new TestTransfer(1, memory, 'read');
      const writing = new TestTransfer(2, new Memory(Buffer.from(data)), 'write');
      for (const transfer of [reading, writing]) {
        tasks.set(transfer.initiatorTaskTag, transfer);
        datamover.sendCommand(new Memory(commandHeader(transfer.initiatorTaskTag)), null, transfer);
      }
      datamover.flush();
      peer.putData(1, data);
      peer.getData(2, 0, 203);
      assert.ok(memory.bytes.equals(data), `cut at ${cut}`);
      assert.ok(peer.received(2).equals(data), `cut at ${cut}`);
      assert.deepEqual([events.controls.length, events.ends.length], [1, 0]);
    }
  });
}

it('ends the connection upon a digest that does not match, and does not count the data', () => {
  for (const at of [10, 50, 60, 152]) {
    const events = new RecordedInitiatorEvents();
    const { datamover, peer } = open(events);
    const tasks = new InitiatorTaskMap();
    datamover.enableDatamover({ ...PARAMETERS, headerDigest: true, dataDigest: true }, tasks);
    const transfer = new TestTransfer(1, Memory.allocate(100), 'read');
    tasks.set(1, transfer);
    datamover.sendCommand(new Memory(commandHeader(1)), null, transfer);
    const send = peer.sendRaw.bind(peer);
    peer.sendRaw = (bytes) => {
      bytes[at]! ^= 0x10;
      send(bytes);
    };
    peer.putData(1, Buffer.alloc(100, 1));
    assert.match(String(events.ends[0]?.message), /digest that does not match/);
    assert.deepEqual([transfer.transferred, events.controls.length], [0, 0]);
  }
});

it('survives any bytes, and right ones with flipped bits, however they are cut', () => {
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 1000 }),
        fc.array(fc.nat(255), { minLength: 1, maxLength: 4 }).map((places) => {
          const bytes = Buffer.alloc(256);
          bytes[0] = Opcode.DATA_IN;
          bytes[7] = 100;
          bytes[19] = 1;
          bytes[148] = Opcode.R2T;
          for (const place of places) bytes[place]! ^= 1 << (place % 8);
          return new Uint8Array(bytes);
        }),
      ),
      fc.integer({ min: 1, max: 300 }),
      (bytes, portion) => {
        const events = new RecordedInitiatorEvents();
        const { datamover, peer } = open(events, { portion });
        const tasks = new InitiatorTaskMap();
        datamover.enableDatamover({ ...PARAMETERS, maxRecvDataSegmentLength: 512 }, tasks);
        // Its buffer lies between bytes that nobody may touch.
        const memory = Memory.allocate(300);
        const transfer = new TestTransfer(1, Memory.allocate(0), 'read');
        transfer.buffer.add(memory, 100, 100);
        tasks.set(1, transfer);
        datamover.sendCommand(new Memory(commandHeader(1)), null, transfer);
        peer.sendRaw(Buffer.from(bytes));
        assert.ok(events.ends.length <= 1);
        assert.ok(transfer.transferred <= 100);
        assert.ok(memory.bytes.subarray(0, 100).every((byte) => byte === 0));
        assert.ok(memory.bytes.subarray(200).every((byte) => byte === 0));
      },
    ),
    { numRuns: 500 },
  );
});
