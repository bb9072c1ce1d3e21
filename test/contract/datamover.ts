/**
 * The contract of a Datamover (RFC 5047), target's side, that every implementation passes. What a test
 * needs of the other end, it asks of a {@link DatamoverPeer}: an initiator's Datamover in a few lines.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type {
  ConnectionParameters,
  ControlPdu,
  DataError,
  TargetDatamover,
  TargetDatamoverEvents,
  Numbering,
} from '../../src/datamover/datamover.js';
import { TargetTransfer } from '../../src/datamover/datamover.js';
import { Bhs, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { FINAL, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Memory, ScatterList } from '../../src/util/memory.js';

/** A control-type PDU as the peer got it. */
export interface ReceivedPdu {
  header: Buffer;
  data: Buffer;
}

/** Data-In as the initiator's memory has it in the end. */
export interface ReceivedData {
  bytes: Buffer;
  status: number;
  residualFlags: number;
  residual: number;
  statSN: number;
}

/** The initiator's end of the connection. */
export interface DatamoverPeer {
  sendControl(header: Buffer, data: Buffer): void;
  /** Control-type PDUs so far. */
  readonly controls: ReceivedPdu[];
  /** The data that the target moved for this task, once its status has come. */
  dataIn(initiatorTaskTag: number): ReceivedData | undefined;
  /** Let the target get this task's data whenever it asks; `corrupt` spoils it on the way. */
  offerData(initiatorTaskTag: number, bytes: Buffer, corrupt?: boolean): void;
  close(): void;
}

export interface DatamoverHarness {
  datamover: TargetDatamover;
  peer: DatamoverPeer;
}

export const PARAMETERS: ConnectionParameters = {
  headerDigest: false,
  dataDigest: false,
  maxSendDataSegmentLength: 8192,
  maxRecvDataSegmentLength: 16384,
  maxBurstLength: 20000,
  maxOutstandingR2T: 2,
  helloRequired: false,
  taggedBufferForSolicitedDataOnly: true,
  maxReceivePDUs: 64,
};

export class RecordedEvents implements TargetDatamoverEvents {
  readonly controls: ReceivedPdu[] = [];
  readonly completed: TargetTransfer[] = [];
  readonly errors: DataError[] = [];
  readonly released: TargetTransfer[] = [];
  readonly ends: (Error | null)[] = [];

  controlNotify(pdu: ControlPdu): void {
    this.controls.push({ header: Buffer.from(pdu.header), data: Buffer.from(pdu.data()) });
  }
  dataCompletionNotify(transfer: TargetTransfer): void {
    this.completed.push(transfer);
  }
  dataErrorNotify(_transfer: TargetTransfer, error: DataError): void {
    this.errors.push(error);
  }
  buffersReleased(transfer: TargetTransfer): void {
    this.released.push(transfer);
  }
  connectionTerminateNotify(reason: Error | null): void {
    this.ends.push(reason);
  }
}

class Counting implements Numbering {
  statSN = 100;
  takeStatSN(): number {
    return this.statSN++;
  }
  peekStatSN(): number {
    return this.statSN;
  }
  expectedCmdSN(): number {
    return 7;
  }
  maxCmdSN(): number {
    return 70;
  }
}

class Transfer extends TargetTransfer {
  readonly buffer = new ScatterList();

  constructor(tag: number, memory: Memory) {
    super();
    this.initiatorTaskTag = tag;
    // Two segments that meet at an odd place.
    const cut = Math.floor(memory.length / 3);
    this.buffer.add(memory, 0, cut);
    this.buffer.add(memory, cut, memory.length - cut);
  }
}

function pattern(length: number, seed = 1): Memory {
  const memory = Memory.allocate(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = (i * 31 + seed + (i >>> 8)) & 0xff;
  return memory;
}

function header(opcode: number, tag: number): Buffer {
  const bytes = Buffer.alloc(48);
  bytes[0] = opcode;
  bytes[1] = FINAL;
  Bhs.initiatorTaskTag.set(bytes, tag);
  return bytes;
}

/** `open` gives a connected pair; everything the two ends send each other arrives before it is asked for. */
export function datamoverContract(
  name: string,
  open: (events: TargetDatamoverEvents) => DatamoverHarness,
): void {
  const variants: Partial<ConnectionParameters>[] = [
    {},
    { headerDigest: true, dataDigest: true },
    { maxSendDataSegmentLength: 512, maxBurstLength: 512, maxOutstandingR2T: 1 },
  ];
  for (const variant of variants) {
    const parameters = { ...PARAMETERS, ...variant };
    describe(`Datamover: ${name} ${JSON.stringify(variant)}`, () => {
      function start(): DatamoverHarness & { events: RecordedEvents; numbering: Counting } {
        const events = new RecordedEvents();
        const harness = open(events);
        const numbering = new Counting();
        harness.datamover.enableDatamover(parameters, numbering);
        return { ...harness, events, numbering };
      }

      it('carries control PDUs both ways, with data of any length', () => {
        const { datamover, peer, events } = start();
        for (const length of [0, 1, 3, 4, 511, 5001]) {
          if (length > parameters.maxSendDataSegmentLength) continue;
          const data = pattern(length).bytes;
          peer.sendControl(header(Opcode.NOP_OUT, length), data);
          const got = events.controls.at(-1)!;
          assert.equal(Bhs.initiatorTaskTag.get(got.header), length);
          assert.ok(got.data.equals(data));
          datamover.sendControl(header(Opcode.NOP_IN, length), data, length);
          datamover.flush();
          const back = peer.controls.at(-1)!;
          assert.equal(Bhs.initiatorTaskTag.get(back.header), length);
          assert.ok(back.data.equals(data));
        }
      });

      it('sends nothing before it is flushed', () => {
        const { datamover, peer } = start();
        datamover.sendControl(header(Opcode.NOP_IN, 1), null, 0);
        assert.equal(peer.controls.length, 0);
        datamover.flush();
        assert.equal(peer.controls.length, 1);
      });

      it('copies what sendControl is given', () => {
        const { datamover, peer } = start();
        const h = header(Opcode.NOP_IN, 5);
        const data = Buffer.from('data');
        datamover.sendControl(h, data, 4);
        h.fill(0xff);
        data.fill(0);
        datamover.flush();
        assert.equal(Bhs.initiatorTaskTag.get(peer.controls[0]!.header), 5);
        assert.equal(peer.controls[0]!.data.toString(), 'data');
      });

      it('puts data into the memory of the initiator, with status and residual', () => {
        const { datamover, peer, events, numbering } = start();
        for (const length of [1, 511, 512, 8192, 8193, 20000, 50003]) {
          const memory = pattern(length, length);
          const transfer = new Transfer(length, memory);
          const { statSN } = numbering;
          datamover.putData(transfer, length, 0, 0x02, 12);
          datamover.flush();
          const got = peer.dataIn(length);
          assert.ok(got !== undefined, `status of the task with ${length} bytes`);
          assert.ok(got.bytes.equals(memory.bytes));
          assert.deepEqual([got.status, got.residualFlags, got.residual, got.statSN], [0, 0x02, 12, statSN]);
          assert.equal(events.released.at(-1), transfer);
        }
      });

      it('puts only as much of a buffer as it is told to', () => {
        const { datamover, peer } = start();
        const memory = pattern(1000);
        datamover.putData(new Transfer(9, memory), 100, 0, 0, 0);
        datamover.flush();
        assert.ok(peer.dataIn(9)!.bytes.equals(memory.bytes.subarray(0, 100)));
      });

      it('gets data from the memory of the initiator', () => {
        const { datamover, peer, events } = start();
        for (const length of [1, 512, 16384, 16385, 20001, 65536]) {
          const source = pattern(length, 3).bytes;
          peer.offerData(length, source);
          const memory = Memory.allocate(length);
          const transfer = new Transfer(length, memory);
          transfer.solicitEnd = length;
          datamover.getData(transfer);
          datamover.flush();
          assert.equal(events.completed.at(-1), transfer);
          assert.ok(memory.bytes.equals(source));
          assert.equal(transfer.solicitedReceived, length);
        }
      });

      it('gets the rest of what came unsolicited', () => {
        const { datamover, peer, events } = start();
        const source = pattern(3000).bytes;
        peer.offerData(1, source);
        const memory = Memory.allocate(3000);
        const transfer = new Transfer(1, memory);
        transfer.solicitOffset = 1001;
        transfer.solicitEnd = 2500;
        datamover.getData(transfer);
        datamover.flush();
        assert.deepEqual(events.completed, [transfer]);
        assert.ok(memory.bytes.subarray(1001, 2500).equals(source.subarray(1001, 2500)));
        assert.ok(memory.bytes.subarray(0, 1001).every((byte) => byte === 0));
        assert.ok(memory.bytes.subarray(2500).every((byte) => byte === 0));
      });

      it('moves data for many tasks at a time', () => {
        const { datamover, peer, events } = start();
        const transfers = Array.from({ length: 50 }, (_, tag) => {
          peer.offerData(tag, pattern(5000, tag).bytes);
          const transfer = new Transfer(tag, Memory.allocate(5000));
          transfer.solicitEnd = 5000;
          datamover.getData(transfer);
          return transfer;
        });
        datamover.flush();
        assert.equal(events.completed.length, 50);
        for (const transfer of transfers) {
          assert.ok(transfer.buffer.toBuffer().equals(pattern(5000, transfer.initiatorTaskTag).bytes));
        }
      });

      it('forgets an abandoned transfer: what comes for it is dropped', () => {
        const { datamover, peer, events } = start();
        const memory = Memory.allocate(5000);
        const transfer = new Transfer(4, memory);
        transfer.solicitEnd = 5000;
        datamover.getData(transfer);
        datamover.abandon(transfer);
        peer.offerData(4, pattern(5000).bytes);
        datamover.flush();
        assert.deepEqual(events.completed, []);
        assert.ok(memory.bytes.every((byte) => byte === 0));
        assert.deepEqual(events.ends, []);
      });

      it('keeps the order of control PDUs and statuses', () => {
        const { datamover, peer, numbering } = start();
        const first = header(Opcode.SCSI_RESPONSE, 1);
        ScsiResponse.statSN.set(first, numbering.takeStatSN());
        datamover.sendControl(first, null, 0);
        datamover.putData(new Transfer(2, pattern(10)), 10, 0, 0, 0);
        datamover.flush();
        assert.equal(peer.dataIn(2)!.statSN, ScsiResponse.statSN.get(peer.controls[0]!.header) + 1);
      });

      it('tells once that the connection has ended, and releases what it holds', () => {
        const { datamover, events } = start();
        const transfer = new Transfer(1, pattern(10));
        datamover.putData(transfer, 10, 0, 0, 0);
        const reason = new Error('over');
        datamover.deallocateConnectionResources(reason);
        assert.deepEqual(events.ends, [reason]);
        assert.deepEqual(events.released, [transfer]);
        // Whatever is asked for afterwards is without effect, and gives buffers back.
        datamover.putData(transfer, 10, 0, 0, 0);
        datamover.sendControl(header(Opcode.NOP_IN, 1), null, 0);
        datamover.flush();
        assert.equal(events.released.length, 2);
        assert.equal(events.ends.length, 1);
      });

      it('sends what is queued before an orderly end', () => {
        const { datamover, peer, events } = start();
        datamover.sendControl(header(Opcode.LOGOUT_RESPONSE, 1), null, 0);
        datamover.connectionTerminate();
        assert.equal(peer.controls.length, 1);
        assert.deepEqual(events.ends, [null]);
      });

      it('tells when the peer has gone', () => {
        const { peer, events } = start();
        peer.close();
        assert.deepEqual(events.ends, [null]);
      });

      // Without a data digest nobody could tell.
      if (!parameters.dataDigest) return;
      it('reports spoiled data, and completes when all that was asked for has come', () => {
        const { datamover, peer, events } = start();
        peer.offerData(3, pattern(40000).bytes, true);
        const transfer = new Transfer(3, Memory.allocate(40000));
        transfer.solicitEnd = 40000;
        datamover.getData(transfer);
        datamover.flush();
        assert.equal(events.errors[0], 'digest');
        assert.deepEqual(events.completed, [transfer]);
      });
    });
  }
}
