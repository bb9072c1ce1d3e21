/** A device without memory windows: what a target reaches then, and what it does not. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { PARAMETERS } from '../../../test/contract/datamover.js';
import {
  commandHeader,
  InitiatorTaskMap,
  RecordedInitiatorEvents,
  scsiCommand,
  TestTransfer,
} from '../../../test/contract/initiator-datamover.js';
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
import { AccessFlag } from '../../rdma/verbs.js';
import { Memory } from '../../util/memory.js';
import type { InitiatorDatamover } from '../datamover.js';
import { connectIser, RegisteredMemory } from './index.js';
import { SessionPool } from './session-pool.js';

const LENGTH = 5000;
const PIECE = 8192;

/** Two initiators' Datamovers on one device, each with a target that does as it is told. */
class Scene {
  readonly device = new NarrowDevice();
  readonly registered = new RegisteredMemory(this.device, 1 << 20);
  readonly sessions: Session[] = [];

  static async open(): Promise<Scene> {
    const scene = new Scene();
    for (let seed = 1; seed <= 2; seed++) scene.sessions.push(await Session.open(scene, seed));
    return scene;
  }

  async close(): Promise<void> {
    for (const session of this.sessions) await session.close();
    assert.equal(this.registered.regions, 0, 'memory of applications was registered');
    this.registered.close();
    assert.equal(this.device.registrations, 0);
    await this.device.close();
  }
}

class Session {
  readonly events = new RecordedInitiatorEvents();
  readonly tasks = new InitiatorTaskMap();
  datamover!: InitiatorDatamover;
  raw!: RawIser;
  wire!: RdmaWire;
  privateData!: Buffer;
  #tag = 0;

  static async open({ device, registered }: Scene, seed: number): Promise<Session> {
    const session = new Session();
    session.wire = await RdmaWire.connect(
      seed,
      async (connection) => {
        session.datamover = await connectIser(connection, registered, session.events);
      },
      (request, asked) => {
        session.privateData = asked.privateData;
        session.raw = new RawIser(request);
        void request.accept({ privateData: MAY_INVALIDATE });
      },
      { active: device },
    );
    session.datamover.enableDatamover(PARAMETERS, session.tasks);
    return session;
  }

  async command(
    memory: Memory,
    direction: 'read' | 'write',
  ): Promise<{ transfer: TestTransfer; message: RawMessage }> {
    const transfer = new TestTransfer(++this.#tag, memory, direction);
    this.tasks.set(this.#tag, transfer);
    this.datamover.sendCommand(scsiCommand(transfer), null, transfer);
    this.datamover.flush();
    await this.wire.settle();
    return { transfer, message: this.raw.messages.shift()! };
  }

  async respond({ initiatorTaskTag }: TestTransfer): Promise<void> {
    this.raw.sendPdu(commandHeader(initiatorTaskTag, Opcode.SCSI_RESPONSE), Buffer.alloc(0), controlHeader());
    await this.wire.settle();
    this.tasks.delete(initiatorTaskTag);
  }

  async write({ key, address }: Advertised, skip: number, bytes: Buffer): Promise<void> {
    this.raw.write({ key, address: address + BigInt(skip) }, bytes);
    await this.wire.settle();
  }

  async read({ key, address }: Advertised, skip: number, length: number): Promise<Buffer | null> {
    const memory = Memory.allocate(length);
    const got: Buffer[] = [];
    this.raw.read({ key, address: address + BigInt(skip) }, memory, () => got.push(memory.bytes));
    await this.wire.settle();
    return got[0] ?? null;
  }

  async close(): Promise<void> {
    this.datamover.deallocateConnectionResources(null);
    this.raw.close();
    await this.wire.settle();
  }
}

function filled(seed: number): Memory {
  return new Memory(pattern(LENGTH, seed));
}

describe('a device without memory windows', () => {
  it('lets no Send invalidate keys', async () => {
    const scene = await Scene.open();
    assert.equal(scene.sessions[0]!.privateData[0], 0xc0);
    await scene.close();
  });

  it('moves data through a piece of the pool, which the next command uses', async () => {
    const scene = await Scene.open();
    const [session] = scene.sessions as [Session];
    const keys = new Set<number>();
    for (let round = 1; round <= 3; round++) {
      const memory = Memory.allocate(LENGTH);
      const { transfer, message } = await session.command(memory, 'read');
      keys.add(message.read!.key);
      await session.write(message.read!, 0, pattern(LENGTH, round));
      assert.ok(
        memory.bytes.every((byte) => byte === 0),
        'nothing comes before the status',
      );
      await session.respond(transfer);
      assert.ok(memory.bytes.equals(pattern(LENGTH, round)));
    }
    assert.equal(keys.size, 1);
    const { transfer, message } = await session.command(filled(7), 'write');
    assert.ok(!keys.has(message.write!.key), 'reads and writes share memory');
    assert.ok((await session.read(message.write!, 0, LENGTH))!.equals(pattern(LENGTH, 7)));
    await session.respond(transfer);
    assert.deepEqual(session.events.ends, []);
    await scene.close();
  });

  it('keeps what a late target writes from the application', async () => {
    const scene = await Scene.open();
    const [session] = scene.sessions as [Session];
    const memory = filled(1);
    const { transfer, message } = await session.command(memory, 'read');
    await session.write(message.read!, 0, pattern(LENGTH, 2));
    await session.respond(transfer);
    await session.write(message.read!, 0, pattern(LENGTH, 3));
    assert.ok(memory.bytes.equals(pattern(LENGTH, 2)));
    const given = await session.command(memory, 'read');
    session.datamover.deallocateTaskResources(given.transfer);
    await session.write(given.message.read!, 0, pattern(LENGTH, 3));
    assert.ok(memory.bytes.equals(pattern(LENGTH, 2)));
    assert.deepEqual(session.events.ends, [], 'that it may is what there is no protection from');
    await scene.close();
  });

  const refused: [string, (one: Session, other: Session) => Promise<unknown>][] = [
    [
      'what another session has lent',
      async (one, other) => {
        const { message } = await one.command(filled(1), 'write');
        return other.read(message.write!, 0, 1);
      },
    ],
    [
      'it for reading where it is to be written',
      async (_, other) => other.read((await other.command(filled(1), 'read')).message.read!, 0, 1),
    ],
    [
      'it for writing where it is to be read',
      async (_, other) =>
        other.write((await other.command(filled(1), 'write')).message.write!, 0, Buffer.alloc(1)),
    ],
    [
      'the byte behind it',
      async (_, other) =>
        other.write((await other.command(filled(1), 'read')).message.read!, LENGTH, Buffer.alloc(1)),
    ],
  ];
  for (const [what, act] of refused) {
    it(`refuses a target ${what}`, async () => {
      const scene = await Scene.open();
      const [one, other] = scene.sessions as [Session, Session];
      assert.ok(((await act(one, other)) ?? null) === null, 'the target has got data');
      assert.equal(other.events.ends.length, 1);
      assert.match(String(other.events.ends[0]), /the peer sent/);
      assert.deepEqual(one.events.ends, []);
      await scene.close();
    });
  }

  it('holds a piece until what goes unasked has left it', async () => {
    const scene = await Scene.open();
    const [session] = scene.sessions as [Session];
    const transfer = new TestTransfer(99, filled(1), 'write');
    transfer.immediateLength = transfer.unsolicitedLength = 500;
    session.tasks.set(99, transfer);
    session.datamover.sendCommand(scsiCommand(transfer), null, transfer);
    session.datamover.deallocateTaskResources(transfer);
    const next = new TestTransfer(100, filled(2), 'write');
    session.tasks.set(100, next);
    session.datamover.sendCommand(scsiCommand(next), null, next);
    session.datamover.flush();
    await session.wire.settle();
    assert.ok(session.raw.messages[0]!.data.equals(pattern(LENGTH, 1).subarray(0, 500)));
    assert.notEqual(session.raw.messages[0]!.write!.key, session.raw.messages[1]!.write!.key);
    await scene.close();
  });

  it('ends one session when no more can be registered, and says why', async () => {
    const scene = await Scene.open();
    const [one, other] = scene.sessions as [Session, Session];
    await other.respond((await other.command(filled(1), 'write')).transfer);
    scene.device.isFull = true;
    const transfer = new TestTransfer(1, filled(1), 'read');
    one.datamover.sendCommand(scsiCommand(transfer), null, transfer);
    assert.match(String(one.events.ends[0]), /8192 bytes cannot be registered: .*Cannot allocate memory/);
    assert.equal((one.events.ends[0] as { code?: string }).code, 'RDMA_MEMORY');
    // What it has registered is enough.
    await other.respond((await other.command(filled(2), 'write')).transfer);
    assert.deepEqual(other.events.ends, []);
    scene.device.isFull = false;
    await scene.close();
  });
});

describe('SessionPool', () => {
  it('keeps idle memory up to its limit', async () => {
    const device = new NarrowDevice();
    const pool = new SessionPool(device, 3 * PIECE);
    const taken = Array.from({ length: 5 }, () => pool.take(LENGTH, AccessFlag.REMOTE_READ));
    assert.equal(pool.bytes, 5 * PIECE);
    for (const { memory } of taken) pool.release(memory);
    assert.ok(pool.bytes <= 3 * PIECE);
    assert.equal(device.registrations * PIECE, pool.bytes);
    const small = pool.take(1, 0);
    assert.deepEqual([small.memory.length, small.remoteKey], [4096, 0]);
    pool.release(small.memory);
    pool.close();
    assert.equal(device.registrations, 0);
    await device.close();
  });
});
