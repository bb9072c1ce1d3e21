import assert from 'node:assert/strict';
import {
  datamoverContract,
  type DatamoverHarness,
  type DatamoverPeer,
  type ReceivedData,
  type ReceivedPdu,
} from '../../../test/contract/datamover.js';
import {
  controlHeader,
  MAY_INVALIDATE,
  MAY_NOT_INVALIDATE,
  RawIser,
  type RawMessage,
} from '../../../test/support/raw-iser.js';
import { NARROW, NarrowDevice } from '../../../test/support/narrow-device.js';
import { RdmaWire } from '../../../test/support/rdma-wire.js';
import { Bhs, ScsiCommand, ScsiResponse } from '../../iscsi/wire/headers.js';
import { CommandFlag, FINAL, Opcode } from '../../iscsi/wire/opcodes.js';
import { IwarpDevice } from '../../rdma/iwarp/device.js';
import { Memory } from '../../util/memory.js';
import type { TargetDatamover, TargetDatamoverEvents } from '../datamover.js';
import { acceptIser, RegisteredMemory } from './index.js';

/** An initiator's end. */
class IserPeer implements DatamoverPeer {
  readonly controls: ReceivedPdu[] = [];
  readonly raw: RawIser;
  readonly #mayInvalidate: boolean;
  readonly #tasks = new Map<number, { memory: Memory; key: number; end: ReceivedData | undefined }>();

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

  command(tag: number, length: number, direction: 'read' | 'write', bytes = Buffer.alloc(length)): void {
    const memory = new Memory(Buffer.from(bytes));
    const isRead = direction === 'read';
    const advertised = this.raw.grant(memory, isRead ? 'write' : 'read', this.#mayInvalidate);
    this.#tasks.set(tag, { memory, key: advertised.key, end: undefined });
    const header = Buffer.alloc(48);
    header[0] = Opcode.SCSI_COMMAND;
    header[1] = FINAL | (isRead ? CommandFlag.READ : CommandFlag.WRITE);
    Bhs.initiatorTaskTag.set(header, tag);
    ScsiCommand.expectedDataTransferLength.set(header, length);
    const iser = controlHeader(isRead ? { read: advertised } : { write: advertised });
    this.raw.sendPdu(header, Buffer.alloc(0), iser);
  }

  dataIn(tag: number): ReceivedData | undefined {
    return this.#tasks.get(tag)?.end;
  }

  close(): void {
    this.raw.close();
  }

  #received({ header, data, invalidated }: RawMessage): void {
    const task = this.#tasks.get(Bhs.initiatorTaskTag.get(header));
    if (header[0] !== Opcode.SCSI_RESPONSE || task === undefined) {
      assert.equal(invalidated, 0);
      this.controls.push({ header, data });
      return;
    }
    assert.equal(invalidated, this.#mayInvalidate ? task.key : 0);
    assert.deepEqual([ScsiResponse.expCmdSN.get(header), ScsiResponse.maxCmdSN.get(header)], [7, 70]);
    task.end = {
      bytes: Buffer.from(task.memory.bytes),
      status: ScsiResponse.status.get(header),
      residualFlags: header[1]! & 0x06,
      residual: ScsiResponse.residualCount.get(header),
      statSN: ScsiResponse.statSN.get(header),
    };
  }
}

let seed = 1;

async function open(
  events: TargetDatamoverEvents,
  mayInvalidate: boolean,
  passive = new IwarpDevice({ mayAnswerFirst: true }),
): Promise<DatamoverHarness> {
  let raw!: RawIser;
  let datamover!: TargetDatamover;
  const wire = await RdmaWire.connect(
    seed++,
    (connection) => {
      raw = new RawIser(connection);
      return connection.connect({ privateData: mayInvalidate ? MAY_INVALIDATE : MAY_NOT_INVALIDATE });
    },
    (request, asked, { passive }) => {
      datamover = acceptIser(request, asked, new RegisteredMemory(passive, 1 << 20), events);
    },
    { passive },
  );
  return { datamover, peer: new IserPeer(raw, mayInvalidate), settle: () => wire.settle() };
}

datamoverContract('iser', {
  hasDigests: false,
  fillsAbandoned: true,
  open: (events) => open(events, false),
});
datamoverContract('iser, keys are invalidated by Sends', {
  hasDigests: false,
  fillsAbandoned: true,
  open: (events) => open(events, true),
});
datamoverContract('iser on a device that can little', {
  hasDigests: false,
  fillsAbandoned: true,
  open: (events) => open(events, false, new NarrowDevice(NARROW, { mayAnswerFirst: true })),
});
