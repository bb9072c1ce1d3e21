/**
 * The contract of a Datamover (RFC 5047), initiator's side, that every implementation passes. What a test needs
 * of the other end, it asks of a {@link TargetPeer}: a target's Datamover in a few lines.
 */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  type ControlPdu,
  type DatamoverEvents,
  type DataTransfer,
  type InitiatorDatamover,
  type InitiatorTasks,
  InitiatorTransfer,
} from '../../src/datamover/datamover.js';
import { Bhs, ScsiCommand } from '../../src/iscsi/wire/headers.js';
import { CommandFlag, FINAL, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Memory, ScatterList } from '../../src/util/memory.js';
import { LUN_HIGH, PARAMETERS, type ReceivedPdu, variantsOf } from './datamover.js';

/** The target's end of the connection. */
export interface TargetPeer {
  sendControl(header: Buffer, data: Buffer): void;
  /** Control-type PDUs so far, commands among them. */
  readonly controls: ReceivedPdu[];
  /**
   * Move data into the task's buffer, from its beginning on, and end it with status GOOD and with the residual of what the
   * command expected. A task whose command never came is given the data all the same, wrongly.
   */
  putData(initiatorTaskTag: number, bytes: Buffer): void;
  /** Ask for bytes `from` to `to` of the task's buffer, whether there is one or not. */
  getData(initiatorTaskTag: number, from: number, to: number): void;
  /** End a task that writes with status GOOD. */
  endWrite(initiatorTaskTag: number): void;
  /** What came of the task's buffer, unasked or asked for, in order. */
  received(initiatorTaskTag: number): Buffer;
  close(): void;
}

/** A connected pair. */
export interface InitiatorHarness {
  datamover: InitiatorDatamover;
  peer: TargetPeer;
  /** Everything that either end has sent has arrived, and both ends have been told of it. */
  settle: () => Promise<void>;
}

/** What is to pass the contract. */
export interface TestedInitiatorDatamover {
  /** It can have header and data digests. */
  hasDigests: boolean;
  open(events: DatamoverEvents): InitiatorHarness | Promise<InitiatorHarness>;
}

export class RecordedInitiatorEvents implements DatamoverEvents {
  readonly controls: ReceivedPdu[] = [];
  readonly released: DataTransfer[] = [];
  readonly ends: (Error | null)[] = [];

  controlNotify(pdu: ControlPdu): void {
    this.controls.push({ header: Buffer.from(pdu.header), data: Buffer.from(pdu.data()) });
  }
  buffersReleased(transfer: DataTransfer): void {
    this.released.push(transfer);
  }
  connectionTerminateNotify(reason: Error | null): void {
    this.ends.push(reason);
  }
}

export class InitiatorTaskMap extends Map<number, InitiatorTransfer> implements InitiatorTasks {
  numbers: [expCmdSN: number, maxCmdSN: number] = [0, 0];
  findTask(tag: number): InitiatorTransfer | null {
    return this.get(tag) ?? null;
  }
  expectedStatSN(): number {
    return 33;
  }
  /** StatSNs of responses that were dropped. */
  readonly deferred: number[] = [];

  commandNumbersNotify(expCmdSN: number, maxCmdSN: number): void {
    this.numbers = [expCmdSN, maxCmdSN];
  }

  statusDeferred(statSN: number): void {
    this.deferred.push(statSN);
  }
}

export class TestTransfer extends InitiatorTransfer {
  readonly buffer = new ScatterList();

  constructor(tag: number, memory: Memory, direction: 'read' | 'write') {
    super();
    this.initiatorTaskTag = tag;
    this.lunHigh = LUN_HIGH;
    this.isRead = direction === 'read';
    this.isWrite = direction === 'write';
    // Two segments that meet at an odd place.
    const cut = Math.floor(memory.length / 3);
    this.buffer.add(memory, 0, cut);
    this.buffer.add(memory, cut, memory.length - cut);
  }
}

function filled(length: number, seed = 1): Memory {
  const memory = Memory.allocate(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = (i * 31 + seed + (i >>> 8)) & 0xff;
  return memory;
}

export function commandHeader(tag: number, opcode: number = Opcode.SCSI_COMMAND): Buffer {
  const bytes = Buffer.alloc(48);
  bytes[0] = opcode;
  bytes[1] = FINAL;
  Bhs.initiatorTaskTag.set(bytes, tag);
  return bytes;
}

/** A SCSI Command for all of the transfer's buffer. */
export function scsiCommand(transfer: InitiatorTransfer): Memory {
  const bytes = commandHeader(transfer.initiatorTaskTag);
  bytes[1] = FINAL | (transfer.isRead ? CommandFlag.READ : 0) | (transfer.isWrite ? CommandFlag.WRITE : 0);
  ScsiCommand.expectedDataTransferLength.set(bytes, transfer.buffer.length);
  return new Memory(bytes);
}

export function initiatorDatamoverContract(name: string, tested: TestedInitiatorDatamover): void {
  for (const variant of variantsOf(tested.hasDigests)) {
    const parameters = { ...PARAMETERS, ...variant };
    describe(`initiator's Datamover: ${name} ${JSON.stringify(variant)}`, () => {
      async function start(): Promise<
        InitiatorHarness & { events: RecordedInitiatorEvents; tasks: InitiatorTaskMap }
      > {
        const events = new RecordedInitiatorEvents();
        const harness = await tested.open(events);
        const tasks = new InitiatorTaskMap();
        harness.datamover.enableDatamover(parameters, tasks);
        await harness.settle();
        return { ...harness, events, tasks };
      }

      it('carries control PDUs both ways, and sends nothing before it is flushed', async () => {
        const { datamover, peer, events, settle } = await start();
        for (const length of [0, 1, 3, 4, 511]) {
          const data = filled(length).bytes;
          const before = peer.controls.length;
          datamover.sendControl(commandHeader(length, Opcode.NOP_OUT), data, length);
          await settle();
          assert.equal(peer.controls.length, before);
          datamover.flush();
          await settle();
          assert.ok(peer.controls.at(-1)!.data.equals(data));
          peer.sendControl(commandHeader(length, Opcode.NOP_IN), data);
          await settle();
          assert.ok(events.controls.at(-1)!.data.equals(data));
        }
      });

      it('puts what comes into the buffer of its task, then tells of the status', async () => {
        const { datamover, peer, events, tasks, settle } = await start();
        for (const length of [1, 511, 512, 8192, 8193, 20000, 50003]) {
          const memory = Memory.allocate(length);
          const transfer = new TestTransfer(length, memory, 'read');
          tasks.set(length, transfer);
          datamover.sendCommand(scsiCommand(transfer), null, transfer);
          datamover.flush();
          await settle();
          peer.putData(length, filled(length, 5).bytes);
          await settle();
          assert.ok(memory.bytes.equals(filled(length, 5).bytes));
          assert.equal(transfer.transferred, length);
          const status = events.controls.at(-1)!;
          assert.deepEqual([Bhs.initiatorTaskTag.get(status.header), status.data.length], [length, 0]);
        }
        assert.deepEqual(events.ends, []);
      });

      it('puts less than the buffer holds, and leaves the rest alone', async () => {
        const { datamover, peer, tasks, settle } = await start();
        const memory = filled(1000);
        const transfer = new TestTransfer(1, memory, 'read');
        tasks.set(1, transfer);
        datamover.sendCommand(scsiCommand(transfer), null, transfer);
        datamover.flush();
        await settle();
        peer.putData(1, Buffer.alloc(100, 0xee));
        await settle();
        assert.equal(transfer.transferred, 100);
        assert.ok(memory.bytes.subarray(0, 100).equals(Buffer.alloc(100, 0xee)));
        assert.ok(memory.bytes.subarray(100).equals(filled(1000).bytes.subarray(100)));
      });

      it('sends what goes unasked, then what is asked for', async () => {
        const { datamover, peer, events, tasks, settle } = await start();
        for (const length of [1, 512, 4096, 16385, 20001]) {
          const memory = filled(length, 3);
          const transfer = new TestTransfer(length, memory, 'write');
          transfer.immediateLength = Math.min(length, 500);
          transfer.unsolicitedLength = Math.min(length, 1700);
          tasks.set(length, transfer);
          datamover.sendCommand(scsiCommand(transfer), Buffer.alloc(8, 9), transfer);
          datamover.flush();
          await settle();
          assert.ok(peer.received(length).equals(memory.bytes.subarray(0, transfer.unsolicitedLength)));
          for (let at = transfer.unsolicitedLength; at < length;) {
            const to = Math.min(length, at + parameters.maxBurstLength);
            peer.getData(length, at, to);
            await settle();
            at = to;
          }
          peer.endWrite(length);
          await settle();
          assert.equal(Bhs.initiatorTaskTag.get(events.controls.at(-1)!.header), length);
          assert.ok(peer.received(length).equals(memory.bytes));
          assert.deepEqual([transfer.transferred, transfer.queuedParts], [length, 0]);
          assert.equal(events.released.at(-1), transfer);
        }
        assert.deepEqual(events.ends, []);
      });

      it('ends the connection when data does not fit, is for nobody, or is asked for where there is none', async () => {
        const bad: ((harness: InitiatorHarness) => void)[] = [
          ({ peer }) => peer.putData(1, Buffer.alloc(101)),
          ({ peer }) => peer.putData(3, Buffer.alloc(1)),
          ({ peer }) => peer.putData(2, Buffer.alloc(1)),
          ({ peer }) => peer.getData(1, 0, 100),
          ({ peer }) => peer.getData(3, 0, 100),
          ({ peer }) => peer.getData(2, 0, 101),
        ];
        for (const act of bad) {
          const harness = await start();
          const memories = [Memory.allocate(100), Memory.allocate(100)];
          for (const [tag, direction] of [
            [1, 'read'],
            [2, 'write'],
          ] as const) {
            const transfer = new TestTransfer(tag, memories[tag - 1]!, direction);
            harness.tasks.set(tag, transfer);
            harness.datamover.sendCommand(scsiCommand(transfer), null, transfer);
          }
          harness.datamover.flush();
          await harness.settle();
          act(harness);
          await harness.settle();
          assert.equal(harness.events.ends.length, 1);
          assert.ok(harness.events.ends[0] instanceof Error);
          for (const memory of memories) assert.ok(memory.bytes.every((byte) => byte === 0));
        }
      });

      it('tells once that the connection has ended, and lets go of what it holds', async () => {
        const { datamover, events, tasks, peer, settle } = await start();
        const transfer = new TestTransfer(1, filled(100), 'write');
        transfer.immediateLength = transfer.unsolicitedLength = 100;
        tasks.set(1, transfer);
        datamover.sendCommand(scsiCommand(transfer), null, transfer);
        const reason = new Error('over');
        datamover.deallocateConnectionResources(reason);
        await settle();
        assert.deepEqual(events.ends, [reason]);
        assert.deepEqual(events.released, [transfer]);
        datamover.sendControl(commandHeader(1, Opcode.NOP_OUT), null, 0);
        datamover.flush();
        peer.close();
        await settle();
        assert.equal(events.ends.length, 1);
        assert.equal(peer.controls.length, 0);
      });
    });
  }
}
