import assert from 'node:assert/strict';
import {
  commandHeader,
  initiatorDatamoverContract,
  type InitiatorHarness,
  type TargetPeer,
} from '../../../test/contract/initiator-datamover.js';
import type { ReceivedPdu } from '../../../test/contract/datamover.js';
import {
  type Advertised,
  controlHeader,
  MAY_INVALIDATE,
  MAY_NOT_INVALIDATE,
  RawIser,
  type RawMessage,
} from '../../../test/support/raw-iser.js';
import { NarrowDevice } from '../../../test/support/narrow-device.js';
import { RdmaWire } from '../../../test/support/rdma-wire.js';
import { Bhs, DataOut, ScsiCommand, ScsiResponse } from '../../iscsi/wire/headers.js';
import { Opcode, ResponseFlag } from '../../iscsi/wire/opcodes.js';
import { IwarpDevice } from '../../rdma/iwarp/device.js';
import { Memory } from '../../util/memory.js';
import type { DatamoverEvents, InitiatorDatamover } from '../datamover.js';
import { connectIser, RegisteredMemory } from './index.js';

interface Task {
  expected: number;
  read: Advertised | null;
  write: Advertised | null;
  /** What came unasked, then what was asked for. */
  parts: Buffer[];
  /** Bytes in front of what the write key stands for. */
  unsolicited: number;
}

const NOTHING: Advertised = { key: 0x4711_0815, address: 0n };

/** A target's end. */
class IserTargetPeer implements TargetPeer {
  readonly controls: ReceivedPdu[] = [];
  readonly raw: RawIser;
  readonly #tasks = new Map<number, Task>();
  readonly #mayInvalidate: boolean;

  constructor(raw: RawIser, mayInvalidate: boolean) {
    this.raw = raw;
    this.#mayInvalidate = mayInvalidate;
    raw.received = (message) => {
      this.#received(message);
    };
  }

  sendControl(header: Buffer, data: Buffer): void {
    this.raw.sendPdu(header, data);
  }

  putData(tag: number, bytes: Buffer): void {
    const task = this.#tasks.get(tag);
    this.raw.write(task?.read ?? task?.write ?? NOTHING, bytes);
    this.#respond(tag, (task?.expected ?? bytes.length) - bytes.length);
  }

  getData(tag: number, from: number, to: number): void {
    const task = this.#tasks.get(tag);
    const { key, address } = task?.write ?? task?.read ?? NOTHING;
    const memory = Memory.allocate(to - from);
    task?.parts.push(memory.bytes);
    this.raw.read({ key, address: address + BigInt(from - (task?.unsolicited ?? 0)) }, memory);
  }

  endWrite(tag: number): void {
    this.#respond(tag, 0);
  }

  received(tag: number): Buffer {
    return Buffer.concat(this.#tasks.get(tag)?.parts ?? []);
  }

  close(): void {
    this.raw.close();
  }

  #respond(tag: number, residual: number): void {
    const header = commandHeader(tag, Opcode.SCSI_RESPONSE);
    if (residual > 0) {
      header[1]! |= ResponseFlag.UNDERFLOW;
      ScsiResponse.residualCount.set(header, residual);
    }
    const task = this.#tasks.get(tag);
    const key = this.#mayInvalidate ? (task?.read ?? task?.write)?.key : undefined;
    this.raw.sendPdu(header, Buffer.alloc(0), controlHeader(), key);
  }

  #received({ header, data, read, write }: RawMessage): void {
    const tag = Bhs.initiatorTaskTag.get(header);
    const opcode = header[0]! & 0x3f;
    if (opcode === Opcode.DATA_OUT) {
      const task = this.#tasks.get(tag)!;
      assert.equal(DataOut.bufferOffset.get(header), task.unsolicited);
      assert.equal(DataOut.expStatSN.get(header), 33);
      task.unsolicited += data.length;
      task.parts.push(data);
      return;
    }
    this.controls.push({ header, data });
    if (opcode !== Opcode.SCSI_COMMAND) {
      assert.deepEqual([read, write], [null, null]);
      return;
    }
    const expected = ScsiCommand.expectedDataTransferLength.get(header);
    this.#tasks.set(tag, { expected, read, write, parts: [data], unsolicited: data.length });
  }
}

let seed = 1;

async function open(
  events: DatamoverEvents,
  mayInvalidate: boolean,
  active = new IwarpDevice(),
): Promise<InitiatorHarness> {
  let raw!: RawIser;
  let datamover!: InitiatorDatamover;
  const wire = await RdmaWire.connect(
    seed++,
    async (connection, { active }) => {
      datamover = await connectIser(connection, new RegisteredMemory(active, 1 << 20), events);
    },
    (request) => {
      raw = new RawIser(request);
      void request.accept({ privateData: mayInvalidate ? MAY_INVALIDATE : MAY_NOT_INVALIDATE });
    },
    { active },
  );
  return { datamover, peer: new IserTargetPeer(raw, mayInvalidate), settle: () => wire.settle() };
}

initiatorDatamoverContract('iser', { hasDigests: false, open: (events) => open(events, false) });
initiatorDatamoverContract('iser, the target invalidates keys', {
  hasDigests: false,
  open: (events) => open(events, true),
});
initiatorDatamoverContract('iser on a device that can little', {
  hasDigests: false,
  open: (events) => open(events, false, new NarrowDevice()),
});
