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
import { RemoteBuffers, TargetTransfer } from '../../src/datamover/datamover.js';
import { Bhs, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { FINAL, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Memory, ScatterList } from '../../src/util/memory.js';

/** A control-type PDU as the peer got it. */
export interface ReceivedPdu {
  header: Buffer;
  data: Buffer;
}

/** What a task that reads has got. */
export interface ReceivedData {
  /** The task's buffer at the initiator: all of it, zeroes where the target has put nothing. */
  bytes: Buffer;
  status: number;
  residualFlags: number;
  residual: number;
  statSN: number;
}

/** The initiator's end of the connection. */
export interface DatamoverPeer {
  sendControl(header: Buffer, data: Buffer): void;
  /** Control-type PDUs so far, without those by which tasks that were begun by {@link command} get data and status. */
  readonly controls: ReceivedPdu[];
  /**
   * Begin a task with a buffer of `length` bytes: zeroes for `read`, `bytes` for `write`, which the target gets whenever it
   * asks. A Datamover that needs the SCSI Command itself to move data is sent one, so that a control PDU arrives.
   */
  command(initiatorTaskTag: number, length: number, direction: 'read' | 'write', bytes?: Buffer): void;
  /** What the target moved for this task, once its status has come. */
  dataIn(initiatorTaskTag: number): ReceivedData | undefined;
  /** What the target gets of this task's buffer is spoiled on the way. Only where digests tell of it. */
  spoil?(initiatorTaskTag: number): void;
  close(): void;
}

/** A connected pair. */
export interface DatamoverHarness {
  datamover: TargetDatamover;
  peer: DatamoverPeer;
  /** Everything that either end has sent has arrived, and both ends have been told of it. */
  settle: () => Promise<void>;
}

/** What is to pass the contract. */
export interface TestedDatamover {
  /** It can have header and data digests; then its peer can `spoil`. */
  hasDigests: boolean;
  /** What was asked for comes into an abandoned transfer's buffer nevertheless. */
  fillsAbandoned: boolean;
  open(events: TargetDatamoverEvents): DatamoverHarness | Promise<DatamoverHarness>;
}

export const PARAMETERS: ConnectionParameters = {
  headerDigest: false,
  dataDigest: false,
  maxSendDataSegmentLength: 8192,
  maxRecvDataSegmentLength: 16384,
  maxBurstLength: 20000,
  maxOutstandingR2T: 2,
  errorRecoveryLevel: 0,
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
  /** What came with the commands, by their Initiator Task Tags. */
  readonly remotes = new Map<number, RemoteBuffers>();

  controlNotify(pdu: ControlPdu): void {
    this.controls.push({ header: Buffer.from(pdu.header), data: Buffer.from(pdu.data()) });
    if (Bhs.opcode.get(pdu.header) !== Opcode.SCSI_COMMAND) return;
    const remote = new RemoteBuffers();
    remote.copyFrom(pdu.remote);
    this.remotes.set(Bhs.initiatorTaskTag.get(pdu.header), remote);
  }
  /** The transfer of a task that the peer has begun. */
  transfer(tag: number, memory: Memory): TargetTransfer {
    return new Transfer(tag, memory, this.remotes.get(tag));
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

/** The LUN of all tasks, its first half. */
export const LUN_HIGH = 0x0003_0000;

class Transfer extends TargetTransfer {
  readonly buffer = new ScatterList();

  constructor(tag: number, memory: Memory, remote: RemoteBuffers | undefined) {
    super();
    this.initiatorTaskTag = tag;
    this.lunHigh = LUN_HIGH;
    if (remote !== undefined) this.remote.copyFrom(remote);
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

const DIGESTS: Partial<ConnectionParameters> = { headerDigest: true, dataDigest: true };

/** What is negotiated in the contracts' runs. */
export function variantsOf(hasDigests: boolean): Partial<ConnectionParameters>[] {
  return [
    {},
    ...(hasDigests ? [DIGESTS] : []),
    { maxSendDataSegmentLength: 512, maxBurstLength: 512, maxOutstandingR2T: 1 },
  ];
}

export function datamoverContract(name: string, tested: TestedDatamover): void {
  for (const variant of variantsOf(tested.hasDigests)) {
    const parameters = { ...PARAMETERS, ...variant };
    describe(`Datamover: ${name} ${JSON.stringify(variant)}`, () => {
      async function start(): Promise<DatamoverHarness & { events: RecordedEvents; numbering: Counting }> {
        const events = new RecordedEvents();
        const harness = await tested.open(events);
        const numbering = new Counting();
        harness.datamover.enableDatamover(parameters, numbering);
        await harness.settle();
        return { ...harness, events, numbering };
      }

      it('carries control PDUs both ways, with data of any length', async () => {
        const { datamover, peer, events, settle } = await start();
        for (const length of [0, 1, 3, 4, 511, 5001]) {
          if (length > parameters.maxSendDataSegmentLength) continue;
          const data = pattern(length).bytes;
          peer.sendControl(header(Opcode.NOP_OUT, length), data);
          await settle();
          const got = events.controls.at(-1)!;
          assert.equal(Bhs.initiatorTaskTag.get(got.header), length);
          assert.ok(got.data.equals(data));
          datamover.sendControl(header(Opcode.NOP_IN, length), data, length);
          datamover.flush();
          await settle();
          const back = peer.controls.at(-1)!;
          assert.equal(Bhs.initiatorTaskTag.get(back.header), length);
          assert.ok(back.data.equals(data));
        }
      });

      it('sends nothing before it is flushed', async () => {
        const { datamover, peer, settle } = await start();
        datamover.sendControl(header(Opcode.NOP_IN, 1), null, 0);
        await settle();
        assert.equal(peer.controls.length, 0);
        datamover.flush();
        await settle();
        assert.equal(peer.controls.length, 1);
      });

      it('copies what sendControl is given', async () => {
        const { datamover, peer, settle } = await start();
        const h = header(Opcode.NOP_IN, 5);
        const data = Buffer.from('data');
        datamover.sendControl(h, data, 4);
        h.fill(0xff);
        data.fill(0);
        datamover.flush();
        await settle();
        assert.equal(Bhs.initiatorTaskTag.get(peer.controls[0]!.header), 5);
        assert.equal(peer.controls[0]!.data.toString(), 'data');
      });

      it('puts data into the memory of the initiator, with status and residual', async () => {
        const { datamover, peer, events, numbering, settle } = await start();
        for (const length of [1, 511, 512, 8192, 8193, 20000, 50003]) {
          const memory = pattern(length, length);
          const { statSN } = numbering;
          peer.command(length, length, 'read');
          await settle();
          const transfer = events.transfer(length, memory);
          datamover.putData(transfer, length, 0, 0x02, 12);
          datamover.flush();
          await settle();
          const got = peer.dataIn(length);
          assert.ok(got !== undefined, `status of the task with ${length} bytes`);
          assert.ok(got.bytes.equals(memory.bytes));
          assert.deepEqual([got.status, got.residualFlags, got.residual, got.statSN], [0, 0x02, 12, statSN]);
          assert.equal(events.released.at(-1), transfer);
        }
      });

      it('puts only as much of a buffer as it is told to', async () => {
        const { datamover, peer, events, settle } = await start();
        const memory = pattern(1000);
        peer.command(9, 1000, 'read');
        await settle();
        datamover.putData(events.transfer(9, memory), 100, 0, 0, 0);
        datamover.flush();
        await settle();
        const { bytes } = peer.dataIn(9)!;
        assert.ok(bytes.subarray(0, 100).equals(memory.bytes.subarray(0, 100)));
        assert.ok(bytes.subarray(100).equals(Buffer.alloc(900)));
      });

      it('gets data from the memory of the initiator', async () => {
        const { datamover, peer, events, settle } = await start();
        for (const length of [1, 512, 16384, 16385, 20001, 65536]) {
          const source = pattern(length, 3).bytes;
          peer.command(length, length, 'write', source);
          await settle();
          const memory = Memory.allocate(length);
          const transfer = events.transfer(length, memory);
          transfer.solicitEnd = length;
          datamover.getData(transfer);
          datamover.flush();
          await settle();
          assert.equal(events.completed.at(-1), transfer);
          assert.ok(memory.bytes.equals(source));
          assert.equal(transfer.solicitedReceived, length);
        }
      });

      it('gets the rest of what came unsolicited', async () => {
        const { datamover, peer, events, settle } = await start();
        const source = pattern(3000).bytes;
        peer.command(1, 3000, 'write', source);
        await settle();
        const memory = Memory.allocate(3000);
        const transfer = events.transfer(1, memory);
        transfer.solicitOffset = 1001;
        transfer.solicitEnd = 2500;
        datamover.getData(transfer);
        datamover.flush();
        await settle();
        assert.deepEqual(events.completed, [transfer]);
        assert.ok(memory.bytes.subarray(1001, 2500).equals(source.subarray(1001, 2500)));
        assert.ok(memory.bytes.subarray(0, 1001).every((byte) => byte === 0));
        assert.ok(memory.bytes.subarray(2500).every((byte) => byte === 0));
      });

      it('moves data for many tasks at a time', async () => {
        const { datamover, peer, events, settle } = await start();
        const tags = Array.from({ length: 50 }, (_, tag) => tag);
        for (const tag of tags) peer.command(tag, 5000, 'write', pattern(5000, tag).bytes);
        await settle();
        const transfers = tags.map((tag) => {
          const transfer = events.transfer(tag, Memory.allocate(5000));
          transfer.solicitEnd = 5000;
          datamover.getData(transfer);
          return transfer;
        });
        datamover.flush();
        await settle();
        assert.equal(events.completed.length, 50);
        for (const transfer of transfers) {
          assert.ok(transfer.buffer.toBuffer().equals(pattern(5000, transfer.initiatorTaskTag).bytes));
        }
      });

      it('forgets an abandoned transfer: what comes for it is dropped, or its buffer is held until it has come', async () => {
        const { datamover, peer, events, settle } = await start();
        peer.command(4, 5000, 'write', pattern(5000).bytes);
        await settle();
        const memory = Memory.allocate(5000);
        const transfer = events.transfer(4, memory);
        transfer.solicitEnd = 5000;
        datamover.getData(transfer);
        assert.equal(datamover.abandon(transfer), !tested.fillsAbandoned);
        assert.deepEqual(events.released, []);
        datamover.flush();
        await settle();
        assert.deepEqual(events.completed, []);
        if (tested.fillsAbandoned) assert.deepEqual(events.released, [transfer]);
        else assert.ok(memory.bytes.every((byte) => byte === 0));
        assert.deepEqual(events.ends, []);
        // Whatever still comes for it comes before this.
        peer.sendControl(header(Opcode.NOP_OUT, 1), Buffer.alloc(0));
        memory.bytes.fill(0);
        await settle();
        assert.ok(memory.bytes.every((byte) => byte === 0));
        assert.equal(events.released.length, tested.fillsAbandoned ? 1 : 0);
      });

      it('keeps the order of control PDUs and statuses', async () => {
        const { datamover, peer, events, numbering, settle } = await start();
        peer.command(2, 10, 'read');
        await settle();
        const first = header(Opcode.SCSI_RESPONSE, 1);
        ScsiResponse.statSN.set(first, numbering.takeStatSN());
        datamover.sendControl(first, null, 0);
        datamover.putData(events.transfer(2, pattern(10)), 10, 0, 0, 0);
        datamover.flush();
        await settle();
        assert.equal(peer.dataIn(2)!.statSN, ScsiResponse.statSN.get(peer.controls[0]!.header) + 1);
      });

      it('tells once that the connection has ended, and releases what it holds', async () => {
        const { datamover, peer, events, settle } = await start();
        peer.command(1, 10, 'read');
        await settle();
        const transfer = events.transfer(1, pattern(10));
        datamover.putData(transfer, 10, 0, 0, 0);
        const reason = new Error('over');
        datamover.deallocateConnectionResources(reason);
        await settle();
        assert.deepEqual(events.ends, [reason]);
        assert.deepEqual(events.released, [transfer]);
        // Whatever is asked for afterwards is without effect, and gives buffers back.
        datamover.putData(transfer, 10, 0, 0, 0);
        datamover.sendControl(header(Opcode.NOP_IN, 1), null, 0);
        datamover.flush();
        await settle();
        assert.equal(events.released.length, 2);
        assert.equal(events.ends.length, 1);
      });

      it('sends what is queued before an orderly end', async () => {
        const { datamover, peer, events, settle } = await start();
        datamover.sendControl(header(Opcode.LOGOUT_RESPONSE, 1), null, 0);
        datamover.connectionTerminate();
        await settle();
        assert.equal(peer.controls.length, 1);
        assert.deepEqual(events.ends, [null]);
      });

      it('tells when the peer has gone', async () => {
        const { peer, events, settle } = await start();
        peer.close();
        await settle();
        assert.deepEqual(events.ends, [null]);
      });

      // Without a data digest nobody could tell.
      if (!parameters.dataDigest) return;
      it('reports spoiled data, and completes when all that was asked for has come', async () => {
        const { datamover, peer, events, settle } = await start();
        peer.command(3, 40000, 'write', pattern(40000).bytes);
        peer.spoil!(3);
        await settle();
        const transfer = events.transfer(3, Memory.allocate(40000));
        transfer.solicitEnd = 40000;
        datamover.getData(transfer);
        datamover.flush();
        await settle();
        assert.equal(events.errors[0], 'digest');
        assert.deepEqual(events.completed, [transfer]);
      });
    });
  }
}
