/** What a target reaches of an initiator's memory: a command's buffer while the command lasts, and not one byte beside. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  commandHeader,
  InitiatorTaskMap,
  RecordedInitiatorEvents,
  scsiCommand,
} from '../../../test/contract/initiator-datamover.js';
import { PARAMETERS } from '../../../test/contract/datamover.js';
import { NarrowDevice } from '../../../test/support/narrow-device.js';
import { pattern } from '../../../test/support/pattern.js';
import {
  type Advertised,
  controlHeader,
  MAY_INVALIDATE,
  RawIser,
  type RawMessage,
} from '../../../test/support/raw-iser.js';
import { RdmaWire } from '../../../test/support/rdma-wire.js';
import { Opcode } from '../../iscsi/wire/opcodes.js';
import { IwarpDevice } from '../../rdma/iwarp/device.js';
import type { IwarpProtectionDomain } from '../../rdma/iwarp/protection-domain.js';
import { Memory, ScatterList } from '../../util/memory.js';
import { type InitiatorDatamover, InitiatorTransfer } from '../datamover.js';
import { connectIser, RegisteredMemory } from './index.js';

const LENGTH = 3000;
/** The part of the memory that a command is for. */
const FROM = 1000;
const TO = 2000;
const UNSOLICITED = 300;

class Transfer extends InitiatorTransfer {
  readonly buffer = new ScatterList();
}

/** An initiator's Datamover with memory, and a target that does as it is told. */
class Scene {
  readonly memory = new Memory(pattern(LENGTH, 1));
  readonly before = pattern(LENGTH, 1);
  readonly events = new RecordedInitiatorEvents();
  readonly tasks = new InitiatorTaskMap();
  datamover!: InitiatorDatamover;
  raw!: RawIser;
  registered!: RegisteredMemory;
  wire!: RdmaWire;
  #tag = 0;

  static async open(seed = 1, device = new IwarpDevice()): Promise<Scene> {
    const scene = new Scene();
    scene.wire = await RdmaWire.connect(
      seed,
      async (connection, { active }) => {
        scene.registered = new RegisteredMemory(active, 1 << 20);
        scene.datamover = await connectIser(connection, scene.registered, scene.events);
      },
      (request) => {
        scene.raw = new RawIser(request);
        void request.accept({ privateData: MAY_INVALIDATE });
      },
      { active: device },
    );
    scene.datamover.enableDatamover(PARAMETERS, scene.tasks);
    return scene;
  }

  get domain(): IwarpProtectionDomain {
    return this.registered.domain as IwarpProtectionDomain;
  }

  /** A command for bytes FROM to TO, or for `parts`; how it came to the target. */
  async command(
    direction: 'read' | 'write' | 'both',
    { unsolicited = 0, parts = [[FROM, TO]] }: { unsolicited?: number; parts?: [number, number][] } = {},
  ): Promise<{ transfer: Transfer; message: RawMessage }> {
    const transfer = new Transfer();
    transfer.initiatorTaskTag = ++this.#tag;
    transfer.isRead = direction !== 'write';
    transfer.isWrite = direction !== 'read';
    transfer.immediateLength = transfer.unsolicitedLength = unsolicited;
    for (const [from, to] of parts) transfer.buffer.add(this.memory, from, to - from);
    this.tasks.set(this.#tag, transfer);
    this.datamover.sendCommand(scsiCommand(transfer), null, transfer);
    this.datamover.flush();
    await this.wire.settle();
    return { transfer, message: this.raw.messages.shift()! };
  }

  /** The target ends the command, and invalidates `key`. */
  async respond(transfer: Transfer, key = 0): Promise<void> {
    const header = commandHeader(transfer.initiatorTaskTag, Opcode.SCSI_RESPONSE);
    this.raw.sendPdu(header, Buffer.alloc(0), controlHeader(), key);
    await this.wire.settle();
    this.tasks.delete(transfer.initiatorTaskTag);
  }

  async write({ key, address }: Advertised, skip: number, bytes: Buffer): Promise<void> {
    this.raw.write({ key, address: address + BigInt(skip) }, bytes);
    await this.wire.settle();
  }

  /** What the target gets; null if it gets nothing. */
  async read({ key, address }: Advertised, skip: number, length: number): Promise<Buffer | null> {
    const memory = Memory.allocate(length);
    const got: Buffer[] = [];
    this.raw.read({ key, address: address + BigInt(skip) }, memory, () => got.push(memory.bytes));
    await this.wire.settle();
    return got[0] ?? null;
  }

  /** The last thing that the target did has ended the connection, and has changed nothing. */
  async assertRefused(): Promise<void> {
    assert.equal(this.events.ends.length, 1);
    assert.match(String(this.events.ends[0]), /the peer sent/);
    assert.ok(this.memory.bytes.equals(this.before), 'memory has changed');
    await this.close();
  }

  /** Nothing is left of it. */
  async close(): Promise<void> {
    this.datamover.deallocateConnectionResources(null);
    this.raw.close();
    await this.wire.settle();
    assert.equal(this.domain.keys.count, 0, 'keys are left');
    assert.equal(this.domain.users, this.registered.regions, 'windows or regions of messages are left');
    this.registered.close();
    await this.wire.active.close();
    await this.wire.passive.close();
  }
}

describe('what a target reaches', () => {
  it('of a command that reads is its buffer, for writing', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('read');
    assert.equal(message.write, null);
    const data = pattern(TO - FROM, 2);
    await scene.write(message.read!, 0, data);
    await scene.respond(transfer);
    data.copy(scene.before, FROM);
    assert.ok(scene.memory.bytes.equals(scene.before));
    assert.deepEqual(scene.events.ends, []);
    await scene.close();
  });

  it('of a command that writes is what does not go unasked, for reading', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('write', { unsolicited: UNSOLICITED });
    assert.equal(message.read, null);
    assert.ok(message.data.equals(scene.before.subarray(FROM, FROM + UNSOLICITED)));
    const got = await scene.read(message.write!, 0, TO - FROM - UNSOLICITED);
    assert.ok(got!.equals(scene.before.subarray(FROM + UNSOLICITED, TO)));
    await scene.respond(transfer);
    await scene.close();
  });

  it('of a command whose data all goes unasked is nothing', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('write', { unsolicited: TO - FROM });
    assert.deepEqual([message.read, message.write], [null, null]);
    assert.equal(scene.domain.keys.count, 0);
    await scene.respond(transfer);
    assert.equal(scene.registered.bytes, LENGTH);
    await scene.close();
  });

  it('of a command for both directions is its buffer twice', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('both');
    assert.notEqual(message.read!.key, message.write!.key);
    assert.equal(scene.domain.keys.count, 2);
    assert.ok((await scene.read(message.write!, 0, 1000))!.equals(scene.before.subarray(FROM, TO)));
    await scene.respond(transfer, message.read!.key);
    assert.equal(scene.domain.keys.count, 0, 'the key that the target did not invalidate ends, too');
    assert.deepEqual(scene.events.ends, []);
    await scene.close();
  });

  const beyond: [string, 'read' | 'write', (scene: Scene, message: RawMessage) => Promise<unknown>][] = [
    ['the byte in front of it by writing', 'read', (s, { read }) => s.write(read!, -1, Buffer.alloc(1))],
    ['the byte behind it by writing', 'read', (s, { read }) => s.write(read!, 1000, Buffer.alloc(1))],
    ['one byte too many by writing', 'read', (s, { read }) => s.write(read!, 1, Buffer.alloc(1000))],
    ['itself by reading, if it is to be written', 'read', (s, { read }) => s.read(read!, 0, 1)],
    ['the byte in front of it by reading', 'write', (s, { write }) => s.read(write!, -1, 1)],
    ['the byte behind it by reading', 'write', (s, { write }) => s.read(write!, 700, 1)],
    ['one byte too many by reading', 'write', (s, { write }) => s.read(write!, 0, 701)],
    [
      'itself by writing, if it is to be read',
      'write',
      (s, { write }) => s.write(write!, 0, Buffer.alloc(1)),
    ],
    [
      'it by the next key',
      'read',
      (s, { read }) => s.write({ ...read!, key: read!.key + 1 }, 0, Buffer.alloc(1)),
    ],
    ['it by a key of 0', 'read', (s, { read }) => s.write({ ...read!, key: 0 }, 0, Buffer.alloc(1))],
  ];
  for (const [what, direction, act] of beyond) {
    it(`is not ${what}`, async () => {
      const scene = await Scene.open();
      const unsolicited = direction === 'write' ? UNSOLICITED : 0;
      const { message } = await scene.command(direction, { unsolicited });
      const got = await act(scene, message);
      assert.ok(got === null || got === undefined, 'the target has got data');
      await scene.assertRefused();
    });
  }

  for (const isInvalidated of [false, true]) {
    for (const direction of ['read', 'write'] as const) {
      it(`ends with a command that ${direction}s${isInvalidated ? ', by a Send with Invalidate' : ''}`, async () => {
        const scene = await Scene.open();
        const { transfer, message } = await scene.command(direction);
        const advertised = (message.read ?? message.write)!;
        assert.equal(scene.domain.keys.count, 1);
        await scene.respond(transfer, isInvalidated ? advertised.key : 0);
        assert.equal(scene.domain.keys.count, 0);
        assert.equal(transfer.grant, null);
        assert.deepEqual([scene.events.controls.length, scene.events.ends.length], [1, 0]);
        if (direction === 'read') await scene.write(advertised, 0, Buffer.alloc(1));
        else assert.equal(await scene.read(advertised, 0, 1), null);
        await scene.assertRefused();
      });
    }
  }

  it('ends when the task is given up', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('read');
    scene.datamover.deallocateTaskResources(transfer);
    // Whoever is late asks for nothing again.
    scene.datamover.deallocateTaskResources(transfer);
    assert.equal(scene.domain.keys.count, 0);
    await scene.write(message.read!, 0, Buffer.alloc(1));
    await scene.assertRefused();
  });

  it('ends with the connection', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('read');
    scene.datamover.deallocateConnectionResources(null);
    assert.equal(scene.domain.keys.count, 0);
    assert.equal(transfer.grant, null);
    scene.datamover.deallocateTaskResources(transfer);
    await scene.write(message.read!, 0, Buffer.alloc(1));
    assert.ok(scene.memory.bytes.equals(scene.before));
    await scene.close();
  });

  it('is no key of another task that a response invalidates', async () => {
    const scene = await Scene.open();
    const one = await scene.command('read');
    const other = await scene.command('read');
    await scene.respond(one.transfer, other.message.read!.key);
    assert.match(String(scene.events.ends[0]), /invalidates a key of another task/);
    assert.equal(scene.events.controls.length, 0);
    await scene.close();
  });

  it('is no key that something else than a response invalidates', async () => {
    const scene = await Scene.open();
    const { message } = await scene.command('read');
    scene.raw.sendPdu(
      commandHeader(0xffff_ffff, Opcode.NOP_IN),
      Buffer.alloc(0),
      controlHeader(),
      message.read!.key,
    );
    await scene.wire.settle();
    assert.match(String(scene.events.ends[0]), /invalidates a key of another task/);
    await scene.close();
  });

  it('is nothing where the buffer cannot be registered: the connection ends', async () => {
    const device = new NarrowDevice({});
    const scene = await Scene.open(1, device);
    const first = await scene.command('read');
    await scene.respond(first.transfer);
    device.isFull = true;
    const transfer = new Transfer();
    transfer.isRead = true;
    transfer.buffer.add(new Memory(pattern(LENGTH, 2)), 0, LENGTH);
    scene.datamover.sendCommand(scsiCommand(transfer), null, transfer);
    assert.equal((scene.events.ends[0] as { code?: string }).code, 'RDMA_MEMORY');
    assert.equal(transfer.grant, null);
    await scene.close();
    assert.equal(device.registrations, 0);
  });

  it('takes windows that the target has ended for the next commands, under other keys', async () => {
    const scene = await Scene.open();
    const keys = new Set<number>();
    for (let i = 0; i < 20; i++) {
      const { transfer, message } = await scene.command('read');
      keys.add(message.read!.key);
      await scene.respond(transfer, message.read!.key);
    }
    assert.equal(keys.size, 20);
    assert.equal(scene.domain.keys.count, 0);
    const withOneWindow = scene.domain.users;
    const { message } = await scene.command('read');
    assert.equal(scene.domain.users, withOneWindow);
    await scene.write({ ...message.read!, key: [...keys].at(-1)! }, 0, Buffer.alloc(1));
    await scene.assertRefused();
  });
});

describe('a buffer in pieces', () => {
  const PIECES: [number, number][] = [
    [FROM, 1100],
    [1700, TO],
    [100, 200],
  ];
  const PLACES = [
    [0, FROM, 1100],
    [100, 1700, TO],
    [400, 100, 200],
  ] as const;

  it('is read from a copy', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('write', { parts: PIECES, unsolicited: 50 });
    const whole = Buffer.concat(PLACES.map(([, from, to]) => scene.before.subarray(from, to)));
    assert.ok(message.data.equals(whole.subarray(0, 50)));
    // The application must not change it now, and the target would not see it.
    scene.memory.bytes.fill(0);
    assert.ok((await scene.read(message.write!, 0, 450))!.equals(whole.subarray(50)));
    await scene.respond(transfer);
    assert.equal(transfer.transferred, 500);
    assert.deepEqual(scene.events.released, [transfer]);
    await scene.close();
  });

  it('is filled when the response has come, and only as far as it tells', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('read', { parts: PIECES });
    const data = pattern(500, 2);
    await scene.write(message.read!, 0, data);
    assert.ok(scene.memory.bytes.equals(scene.before), 'nothing comes before the status');
    const header = commandHeader(transfer.initiatorTaskTag, Opcode.SCSI_RESPONSE);
    header[1]! |= 0x02;
    header.writeUInt32BE(50, 44);
    scene.raw.sendPdu(header);
    await scene.wire.settle();
    for (const [at, from, to] of PLACES) data.copy(scene.before, from, at, Math.min(450, at + to - from));
    assert.ok(scene.memory.bytes.equals(scene.before));
    assert.equal(transfer.transferred, 450);
    await scene.close();
  });

  it('has a copy that is let go of with the command', async () => {
    const scene = await Scene.open();
    for (const direction of ['read', 'write', 'both'] as const) {
      const unsolicited = direction === 'read' ? 0 : 50;
      const { transfer } = await scene.command(direction, { parts: PIECES, unsolicited });
      assert.deepEqual([scene.registered.regions, scene.registered.bytes], [1, 500]);
      await scene.respond(transfer);
      assert.deepEqual([scene.registered.regions, scene.registered.bytes], [0, 0]);
    }
    await scene.close();
  });

  it('is one piece where they follow one another', async () => {
    const scene = await Scene.open();
    const { message } = await scene.command('read', {
      parts: [
        [FROM, 1500],
        [1500, TO],
      ],
    });
    await scene.write(message.read!, 400, Buffer.alloc(200, 0xee));
    scene.before.fill(0xee, FROM + 400, FROM + 600);
    assert.ok(scene.memory.bytes.equals(scene.before));
    await scene.close();
  });

  it('of a task that is given up stays as it is', async () => {
    const scene = await Scene.open();
    const { transfer, message } = await scene.command('read', { parts: PIECES });
    await scene.write(message.read!, 0, Buffer.alloc(500, 0xee));
    scene.datamover.deallocateTaskResources(transfer);
    assert.ok(scene.memory.bytes.equals(scene.before));
    assert.equal(scene.domain.keys.count, 0);
    await scene.close();
  });
});
