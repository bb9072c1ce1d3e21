import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  datamoverContract,
  type DatamoverHarness,
  type DatamoverPeer,
  LUN_HIGH,
  PARAMETERS,
  type ReceivedData,
  type ReceivedPdu,
  RecordedEvents,
} from '../../../test/contract/datamover.js';
import { crc32c } from '../../util/crc32c.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { type ConnectionParameters, TargetTransfer, type TargetDatamoverEvents } from '../datamover.js';
import { Bhs, DataIn, DataOut, R2T } from '../../iscsi/wire/headers.js';
import { FINAL, Opcode, RESERVED_TAG } from '../../iscsi/wire/opcodes.js';
import { TargetTcpDatamover } from './target-datamover.js';
import { FunctionStream, LateStream } from './testing/function-stream.js';

/** An initiator's end, straight from the RFC; shares nothing with the code under test but header fields and CRC32C. */
class TcpPeer implements DatamoverPeer {
  readonly controls: ReceivedPdu[] = [];
  readonly dataPdus: ReceivedPdu[] = [];
  parameters: ConnectionParameters = PARAMETERS;
  readonly #stream: FunctionStream;
  readonly #dataIn = new Map<number, { parts: Buffer[]; end: ReceivedData | undefined }>();
  /** The buffers of the tasks that were begun. */
  readonly #buffers = new Map<number, Buffer>();
  readonly #spoiled = new Set<number>();
  #input: Buffer = Buffer.alloc(0);
  /** Target Transfer Tag of the last R2T. */
  lastTransferTag = RESERVED_TAG;
  /** Bytes that reach the target at a time. */
  portion = Infinity;

  constructor(stream: FunctionStream) {
    this.#stream = stream;
    stream.receive = (bytes) => {
      this.#input = Buffer.concat([this.#input, bytes]);
      while (this.#parse());
    };
  }

  sendControl(header: Buffer, data: Buffer): void {
    this.send(header, data, false);
  }

  send(header: Buffer, data: Buffer, corrupt: boolean): void {
    const h = Buffer.from(header);
    Bhs.dataSegmentLength.set(h, data.length);
    const parts: Buffer[] = [h];
    if (this.parameters.headerDigest) parts.push(digest(h));
    if (data.length > 0) {
      const padded = Buffer.concat([data, Buffer.alloc(-data.length & 3)]);
      const sum = digest(padded);
      if (corrupt) padded[0]! ^= 1;
      parts.push(padded);
      if (this.parameters.dataDigest) parts.push(sum);
    }
    this.sendRaw(Buffer.concat(parts));
  }

  sendRaw(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; at += this.portion) {
      this.#stream.deliver(bytes.subarray(at, Math.min(bytes.length, at + this.portion)));
    }
  }

  dataIn(tag: number): ReceivedData | undefined {
    return this.#dataIn.get(tag)?.end;
  }

  /** Over TCP the target's Datamover needs no SCSI Command to move data. */
  command(tag: number, length: number, _direction: 'read' | 'write', bytes = Buffer.alloc(length)): void {
    assert.equal(bytes.length, length);
    this.#buffers.set(tag, bytes);
  }

  spoil(tag: number): void {
    this.#spoiled.add(tag);
  }

  close(): void {
    this.#stream.destroy(null);
  }

  #parse(): boolean {
    const header = this.#input.subarray(0, 48);
    if (header.length < 48) return false;
    const length = Bhs.dataSegmentLength.get(header);
    const padded = (length + 3) & ~3;
    const headerDigest = this.parameters.headerDigest ? 4 : 0;
    const dataDigest = this.parameters.dataDigest && length > 0 ? 4 : 0;
    const dataAt = 48 + headerDigest;
    const end = dataAt + padded + dataDigest;
    if (this.#input.length < end) return false;
    const data = this.#input.subarray(dataAt, dataAt + length);
    const dataWithPadding = this.#input.subarray(dataAt, dataAt + padded);
    if (headerDigest) assert.deepEqual(this.#input.subarray(48, 52), digest(header));
    if (dataDigest) assert.deepEqual(this.#input.subarray(dataAt + padded, end), digest(dataWithPadding));
    assert.ok(length <= this.parameters.maxSendDataSegmentLength, 'data segment within what we declared');
    assert.ok(
      dataWithPadding.subarray(length).every((byte) => byte === 0),
      'padding of zeroes',
    );
    this.#input = this.#input.subarray(end);
    this.#handle(Buffer.from(header), Buffer.from(data));
    return true;
  }

  #handle(header: Buffer, data: Buffer): void {
    const opcode = header[0]! & 0x3f;
    if (opcode === Opcode.DATA_IN) this.#receiveData(header, data);
    else if (opcode === Opcode.R2T) this.#answer(header);
    else this.controls.push({ header, data });
  }

  #receiveData(header: Buffer, data: Buffer): void {
    this.dataPdus.push({ header, data });
    const tag = Bhs.initiatorTaskTag.get(header);
    const task = this.#dataIn.get(tag) ?? { parts: [], end: undefined };
    this.#dataIn.set(tag, task);
    assert.equal(DataIn.dataSN.get(header), task.parts.length);
    assert.equal(
      DataIn.bufferOffset.get(header),
      task.parts.reduce((sum, part) => sum + part.length, 0),
    );
    assert.equal(DataIn.expCmdSN.get(header), 7);
    assert.equal(DataIn.maxCmdSN.get(header), 70);
    task.parts.push(data);
    const flags = Bhs.flags.get(header);
    if ((flags & 1) === 0) return;
    assert.ok((flags & FINAL) !== 0, 'status only in a final PDU');
    const buffer = this.#buffers.get(tag);
    assert.ok(buffer !== undefined, `data for task ${tag}, which was not begun`);
    const put = Buffer.concat(task.parts);
    assert.ok(put.length <= buffer.length, "more data than the task's buffer holds");
    task.end = {
      bytes: Buffer.concat([put, buffer.subarray(put.length)]),
      status: DataIn.status.get(header),
      residualFlags: flags & 0x06,
      residual: DataIn.residualCount.get(header),
      statSN: DataIn.statSN.get(header),
    };
  }

  #answer(r2t: Buffer): void {
    const tag = Bhs.initiatorTaskTag.get(r2t);
    this.lastTransferTag = R2T.targetTransferTag.get(r2t);
    const buffer = this.#buffers.get(tag);
    // The test answers by itself.
    if (buffer === undefined) return;
    assert.equal(R2T.lunHigh.get(r2t), LUN_HIGH);
    const length = R2T.desiredDataTransferLength.get(r2t);
    const start = R2T.bufferOffset.get(r2t);
    assert.ok(length > 0 && length <= this.parameters.maxBurstLength);
    const limit = this.parameters.maxRecvDataSegmentLength;
    for (let offset = start, dataSN = 0; offset < start + length; dataSN++) {
      const part = Math.min(limit, start + length - offset);
      const isFinal = offset + part === start + length;
      const header = dataOut(tag, R2T.targetTransferTag.get(r2t), dataSN, offset, isFinal);
      this.send(header, buffer.subarray(offset, offset + part), this.#spoiled.has(tag));
      offset += part;
    }
  }
}

function dataOut(tag: number, transferTag: number, dataSN: number, offset: number, isFinal: boolean): Buffer {
  const header = Buffer.alloc(48);
  header[0] = Opcode.DATA_OUT;
  header[1] = isFinal ? FINAL : 0;
  DataOut.initiatorTaskTag.set(header, tag);
  DataOut.targetTransferTag.set(header, transferTag);
  DataOut.dataSN.set(header, dataSN);
  DataOut.bufferOffset.set(header, offset);
  return header;
}

function digest(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4);
  sum.writeUInt32LE(crc32c(bytes));
  return sum;
}

function open(
  events: TargetDatamoverEvents,
  portion = Infinity,
  stream = new FunctionStream(),
): DatamoverHarness & { peer: TcpPeer } {
  const peer = new TcpPeer(stream);
  peer.portion = portion;
  const datamover = new TargetTcpDatamover(stream, events);
  const enable = datamover.enableDatamover.bind(datamover);
  datamover.enableDatamover = (parameters, numbering) => {
    peer.parameters = parameters;
    enable(parameters, numbering);
  };
  return { datamover, peer, settle: () => stream.settle() };
}

datamoverContract('tcp', { hasDigests: true, fillsAbandoned: false, open: (events) => open(events) });
datamoverContract('tcp, all arrives later', {
  hasDigests: true,
  fillsAbandoned: false,
  open: (events) => open(events, Infinity, new LateStream()),
});
datamoverContract('tcp, 7 bytes at a time', {
  hasDigests: true,
  fillsAbandoned: false,
  open: (events) => open(events, 7),
});

class Transfer extends TargetTransfer {
  readonly buffer = new ScatterList();
}

const numbering = { takeStatSN: () => 1, peekStatSN: () => 1, expectedCmdSN: () => 7, maxCmdSN: () => 70 };

function started(parameters: Partial<ConnectionParameters> = {}): {
  events: RecordedEvents;
  datamover: TargetTcpDatamover;
  peer: TcpPeer;
} {
  const events = new RecordedEvents();
  const { datamover, peer } = open(events);
  datamover.enableDatamover({ ...PARAMETERS, ...parameters }, numbering);
  return { events, datamover: datamover as TargetTcpDatamover, peer };
}

/** A transfer of 8000 bytes whose first R2T has tag `tag`. */
function solicited(datamover: TargetTcpDatamover, peer: TcpPeer): { transfer: Transfer; tag: number } {
  const transfer = new Transfer();
  transfer.initiatorTaskTag = 11;
  transfer.buffer.add(Memory.allocate(8000), 0, 8000);
  transfer.solicitEnd = 8000;
  datamover.getData(transfer);
  datamover.flush();
  return { transfer, tag: peer.lastTransferTag };
}

describe('TargetTcpDatamover', () => {
  it('refuses a data segment longer than it declared, before it takes memory for it', () => {
    const { events, peer } = started();
    const header = Buffer.alloc(48);
    header[0] = Opcode.NOP_OUT;
    Bhs.dataSegmentLength.set(header, PARAMETERS.maxRecvDataSegmentLength + 1);
    peer.sendRaw(header);
    assert.match(String(events.ends[0]?.message), /MaxRecvDataSegmentLength/);
    assert.equal(events.controls.length, 0);
  });

  it('ends the connection upon a wrong header digest', () => {
    const { events, peer } = started({ headerDigest: true });
    peer.sendRaw(Buffer.alloc(52));
    assert.match(String(events.ends[0]?.message), /header digest/);
  });

  it('marks a control PDU whose data digest is wrong', () => {
    const { events, peer } = started({ dataDigest: true });
    const flags: boolean[] = [];
    events.controlNotify = (pdu) => flags.push(pdu.dataDigestFailed);
    peer.send(Buffer.alloc(48), Buffer.from('good'), false);
    peer.send(Buffer.alloc(48), Buffer.from('evil'), true);
    assert.deepEqual(flags, [false, true]);
  });

  it('ends each burst of Data-In with the F bit, and no burst is longer than MaxBurstLength', () => {
    const { datamover, peer } = started({ maxBurstLength: 3000, maxSendDataSegmentLength: 1024 });
    const transfer = new Transfer();
    transfer.buffer.add(Memory.allocate(7000), 0, 7000);
    peer.command(transfer.initiatorTaskTag, 7000, 'read');
    datamover.putData(transfer, 7000, 0, 0, 0);
    datamover.flush();
    const bursts: number[] = [];
    let burst = 0;
    for (const { header, data } of peer.dataPdus) {
      burst += data.length;
      if ((Bhs.flags.get(header) & FINAL) === 0) continue;
      bursts.push(burst);
      burst = 0;
    }
    assert.deepEqual(bursts, [3000, 3000, 1000]);
  });

  const wrong: [string, (tag: number) => [Buffer, number]][] = [
    ['a DataSN out of order', (tag) => [dataOut(11, tag, 1, 0, true), 8000]],
    ['an offset that leaves a gap', (tag) => [dataOut(11, tag, 0, 100, true), 7900]],
    ['more than was asked for', (tag) => [dataOut(11, tag, 0, 0, true), 8004]],
    ['an early F bit', (tag) => [dataOut(11, tag, 0, 0, true), 4000]],
    ['another task tag', (tag) => [dataOut(12, tag, 0, 0, true), 8000]],
  ];
  for (const [what, make] of wrong) {
    it(`reports ${what}, writes nothing, and completes the data phase`, () => {
      const { events, datamover, peer } = started();
      const { transfer, tag } = solicited(datamover, peer);
      const [header, length] = make(tag);
      peer.send(header, Buffer.alloc(length, 0xee), false);
      assert.deepEqual(events.errors, ['sequence']);
      assert.deepEqual(events.completed, [transfer]);
      assert.ok(transfer.buffer.toBuffer().every((byte) => byte === 0));
    });
  }

  it('puts Data-Out for a tag that is not outstanding nowhere, and leaves it to the layer above', () => {
    const { events, datamover, peer } = started();
    const { transfer, tag } = solicited(datamover, peer);
    peer.send(dataOut(11, tag + 1, 0, 0, true), Buffer.alloc(8000, 0xee), false);
    peer.send(dataOut(11, tag + (1 << 16), 0, 0, true), Buffer.alloc(8000, 0xee), false);
    assert.deepEqual([events.errors, events.completed], [[], []]);
    assert.equal(events.controls.length, 2);
    peer.send(dataOut(11, tag, 0, 0, true), Buffer.alloc(8000, 0x11), false);
    assert.deepEqual(events.completed, [transfer]);
    assert.ok(transfer.buffer.toBuffer().every((byte) => byte === 0x11));
  });

  it('drops the rest of a Data-Out whose task is aborted in the middle of it', () => {
    const { events, datamover, peer } = started();
    const { transfer, tag } = solicited(datamover, peer);
    const header = dataOut(11, tag, 0, 0, true);
    Bhs.dataSegmentLength.set(header, 8000);
    peer.sendRaw(Buffer.concat([header, Buffer.alloc(3000, 1)]));
    datamover.abandon(transfer);
    transfer.buffer.fill(0);
    const other = new Transfer();
    other.buffer.add(Memory.allocate(8000), 0, 8000);
    other.solicitEnd = 8000;
    datamover.getData(other);
    peer.sendRaw(Buffer.alloc(5000, 1));
    peer.sendControl(Buffer.alloc(48), Buffer.alloc(0));
    assert.ok(transfer.buffer.toBuffer().every((byte) => byte === 0));
    assert.ok(other.buffer.toBuffer().every((byte) => byte === 0));
    assert.equal(events.controls.at(-1)?.header[0], Opcode.NOP_OUT, 'framing is kept');
  });

  it('hands unsolicited Data-Out up as a control PDU', () => {
    const { events, peer } = started();
    peer.send(dataOut(3, RESERVED_TAG, 0, 0, true), Buffer.from('abcd'), false);
    assert.equal(events.controls[0]?.data.toString(), 'abcd');
  });

  it('keeps what came behind the PDU that enabled it', () => {
    const events = new RecordedEvents();
    const { datamover, peer } = open(events);
    const seen: number[] = [];
    events.controlNotify = (pdu) => {
      if (seen.length === 0) datamover.enableDatamover(PARAMETERS, numbering);
      seen.push(Bhs.initiatorTaskTag.get(pdu.header));
    };
    const one = Buffer.alloc(48);
    const two = Buffer.alloc(48);
    Bhs.initiatorTaskTag.set(one, 1);
    Bhs.initiatorTaskTag.set(two, 2);
    peer.sendRaw(Buffer.concat([one, two]));
    assert.deepEqual(seen, [1, 2]);
  });

  it('ends the connection, not the process, when its owner throws', () => {
    const events = new RecordedEvents();
    const { peer } = open(events);
    events.controlNotify = () => {
      throw new Error('a defect');
    };
    peer.sendControl(Buffer.alloc(48), Buffer.alloc(0));
    assert.equal(events.ends[0]?.message, 'a defect');
  });

  it('survives any bytes, however they are cut', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 2000 }),
        fc.integer({ min: 1, max: 500 }),
        fc.boolean(),
        (bytes, portion, digests) => {
          const events = new RecordedEvents();
          const { datamover, peer } = open(events, portion);
          datamover.enableDatamover(
            { ...PARAMETERS, headerDigest: digests, dataDigest: digests, maxRecvDataSegmentLength: 512 },
            numbering,
          );
          peer.sendRaw(Buffer.from(bytes));
          assert.ok(events.ends.length <= 1);
          for (const { data } of events.controls) assert.ok(data.length <= 512);
        },
      ),
      { numRuns: 300 },
    );
  });
});
