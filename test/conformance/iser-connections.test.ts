/**
 * Connections over RDMA that are lost, in whatever state, and tasks that end while their data is still being read: buffers are
 * given back when nothing comes into them any more, and not before.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { MemoryDevice } from '../../src/block/index.js';
import { IMMEDIATE, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Memory } from '../../src/util/memory.js';
import { readWriteCdb } from '../support/cdb.js';
import { GuardedTarget } from '../support/guarded-target.js';
import { IserFpdus } from '../support/iser-fpdus.js';
import { pattern } from '../support/pattern.js';
import type { Advertised } from '../support/raw-iser.js';
import { IserInitiator, readBlocks, writeBlocks } from '../support/raw-iser-initiator.js';
import { RawIwarp } from '../support/raw-iwarp.js';
import { assertCensus, census } from '../support/rdma-census.js';
import { TestTarget } from '../support/target.js';
import { until } from '../support/verbs-pair.js';
import { VolatileDevice } from '../support/volatile-device.js';

const LBA = 64;
const BLOCKS = 16;
const LENGTH = BLOCKS * 512;
const WRITE = readWriteCdb(0x8a, LBA, BLOCKS, false);
const ABORT_TASK = 1;
/** The initiator answers reads by hand: no key is looked at. */
const SOMEWHERE: Advertised = { key: 0x1234, address: 0n };

describe('a target over RDMA whose initiator', { timeout: 120_000 }, () => {
  let target: GuardedTarget;
  const original = pattern(LENGTH, 5);
  const open: { close(): void }[] = [];

  before(async () => {
    target = await GuardedTarget.start(new VolatileDevice(8 << 20), {
      // Long enough for a login on a machine with other things to do.
      limits: { loginTimeoutMs: 5000 },
    });
    const initiator = await login();
    await writeBlocks(initiator, LBA, original);
    leave();
  });
  afterEach(async () => {
    leave();
    await target.assertUnharmed();
  });
  after(() => target.close());

  function leave(): void {
    for (const end of open.splice(0)) end.close();
  }
  async function connect(): Promise<IserInitiator> {
    const initiator = await IserInitiator.connect(target.port);
    open.push(initiator.channel);
    return initiator;
  }
  async function login(): Promise<IserInitiator> {
    const initiator = await connect();
    await initiator.logIn();
    return initiator;
  }
  /** Logged in, reads to be answered by hand. */
  async function loginByHand(): Promise<IserInitiator<IserFpdus>> {
    const initiator = await IserFpdus.connect(target.port);
    open.push({
      close: () => {
        initiator.channel.raw.destroy();
      },
    });
    await initiator.logIn();
    return initiator;
  }
  async function medium(): Promise<Buffer> {
    const reader = await login();
    const now = await readBlocks(reader, LBA, BLOCKS);
    reader.channel.close();
    return now;
  }
  async function assertUnchanged(): Promise<void> {
    assert.ok((await medium()).equals(original), 'the medium changed');
  }
  function write(initiator: IserInitiator<IserFpdus>, length = LENGTH): number {
    const cdb = readWriteCdb(0x8a, LBA, length / 512, false);
    return initiator.command(cdb, { length, write: SOMEWHERE });
  }
  /** Abort a task whose data is being read. That is not answered before the data has come: a ping is. */
  async function abort(initiator: IserInitiator<IserFpdus>, tag: number): Promise<void> {
    const header = initiator.header(Opcode.TASK_MANAGEMENT_REQUEST | IMMEDIATE, 0x80 | ABORT_TASK);
    header.writeUInt32BE(tag, 20);
    header.writeUInt32BE(initiator.cmdSN - 1, 32);
    initiator.sendPdu(header);
    initiator.ping();
    const { header: response } = await initiator.channel.next();
    assert.equal(response[0], Opcode.NOP_IN);
  }
  async function assertAborted(initiator: IserInitiator<IserFpdus>): Promise<void> {
    const { header: response } = await initiator.channel.next();
    assert.deepEqual([response[0], response[2]], [Opcode.TASK_MANAGEMENT_RESPONSE, 0]);
  }

  it('goes after the first bytes of its MPA Request', async () => {
    const raw = await RawIwarp.dial(target.port);
    raw.sendBytes(Buffer.from('MPA ID Req'));
    raw.destroy();
  });

  it('never ends its MPA Request', async () => {
    const raw = await RawIwarp.dial(target.port);
    raw.sendBytes(Buffer.from('MPA ID Req'));
    await raw.ended();
    raw.destroy();
  });

  it('goes before login', async () => {
    (await connect()).channel.close();
  });

  it('never logs in', async () => {
    const { channel } = await connect();
    await channel.disconnected();
  });

  it('goes in login', async () => {
    const initiator = await connect();
    await initiator.logInHalfway();
    initiator.channel.close();
  });

  it('goes in good order in login', async () => {
    const initiator = await connect();
    await initiator.logInHalfway();
    initiator.channel.disconnect();
    await initiator.channel.disconnected();
  });

  it('goes after login', async () => {
    (await login()).channel.close();
  });

  it('goes behind commands that it does not wait for', async () => {
    for (let round = 0; round < 5; round++) {
      const initiator = await login();
      const memory = new Memory(Buffer.from(original));
      const read = initiator.channel.grant(Memory.allocate(LENGTH), 'write');
      for (let i = 0; i < 20; i++) {
        initiator.command(readWriteCdb(0x88, LBA, BLOCKS, false), { length: LENGTH, read });
        initiator.command(WRITE, { length: LENGTH, write: initiator.channel.grant(memory, 'read') });
      }
      if (round % 2 === 0) await initiator.channel.next();
      initiator.channel.close();
    }
    await assertUnchanged();
  });

  for (const answered of [0, 1, 4000]) {
    it(`goes with reads under way, ${answered} bytes of them answered`, async () => {
      const initiator = await loginByHand();
      for (let i = 0; i < 8; i++) write(initiator);
      const read = await initiator.channel.read();
      if (answered > 0) initiator.channel.answer(read, 0, Buffer.alloc(answered, 0xee), false);
      await until(() => census().buffers > target.idle.buffers, 'buffers for the writes');
      initiator.channel.raw.destroy();
      await target.allLeave();
      await assertUnchanged();
    });
  }

  it('goes after it has aborted a task whose data is being read', async () => {
    const initiator = await loginByHand();
    const tag = write(initiator);
    await initiator.channel.read();
    await abort(initiator, tag);
    initiator.channel.raw.destroy();
    await target.allLeave();
    await assertUnchanged();
  });

  it('answers reads of a task that it has aborted: the buffer is held until then, and nobody else gets it', async () => {
    const initiator = await loginByHand();
    const { channel } = initiator;
    const aborted = write(initiator);
    const late = await channel.read();
    await abort(initiator, aborted);
    const withOne = census().buffers;
    assert.ok(withOne > target.idle.buffers, 'the buffer is held');
    // Another session has its data half way when the late answer comes.
    const other = await loginByHand();
    const tag = write(other);
    const read = await other.channel.read();
    assert.ok(census().buffers > withOne, 'the other has a buffer of its own');
    const half = LENGTH / 2;
    other.channel.answer(read, 0, original.subarray(0, half), false);
    await target.bystander.assertUndisturbed();
    channel.answer(late, 0, Buffer.alloc(LENGTH, 0xee), true);
    await assertAborted(initiator);
    await until(() => census().buffers < withOne + 1, 'the buffer of the aborted task');
    other.channel.answer(read, half, original.subarray(half), true);
    assert.equal(await other.status(tag), 0);
    await assertUnchanged();
    // The session of the aborted task goes on, and may use its tag again.
    const next = write(initiator);
    channel.answer(await channel.read(), 0, original, true);
    assert.equal(await initiator.status(next), 0);
  });

  it('answers only then what was asked for in several reads', async () => {
    const initiator = await loginByHand();
    const { channel } = initiator;
    // Longer than MaxBurstLength: two sequences at least.
    const long = 262_144 + 8192;
    const aborted = write(initiator, long);
    const first = await channel.read();
    await abort(initiator, aborted);
    const before = census().buffers;
    for (let at = 0; at < first.length; at += 32_768) {
      const part = Math.min(32_768, first.length - at);
      channel.answer(first, at, Buffer.alloc(part, 0xee), at + part === first.length);
    }
    await assertAborted(initiator);
    await until(() => census().buffers < before, 'the buffer of the aborted task');
    // No further read is asked for: the next one is that of another task.
    const tag = write(initiator);
    const { length } = await channel.read();
    assert.equal(length, LENGTH);
    await abort(initiator, tag);
    await assertUnchanged();
  });

  it('answers reads with more or other data than was asked for', async () => {
    for (const [skip, length] of [
      [0, LENGTH + 1],
      [1, LENGTH],
      [LENGTH, 1],
    ] as const) {
      const initiator = await loginByHand();
      write(initiator);
      const read = await initiator.channel.read();
      initiator.channel.answer(read, skip, Buffer.alloc(length, 0xee), true);
      await initiator.channel.raw.ended();
    }
    await assertUnchanged();
  });

  it('asks again and again, and goes: buffers do not run out', async () => {
    for (let round = 0; round < 20; round++) {
      const initiator = await loginByHand();
      for (let i = 0; i < 4; i++) write(initiator, 65_536);
      const tag = write(initiator);
      await initiator.channel.read();
      if (round % 2 === 0) await abort(initiator, tag);
      initiator.channel.raw.destroy();
    }
    await target.allLeave();
    await assertCensus(target.idle);
  });

  it('answers reads of a task that it has aborted, on a disk that lends its memory', async () => {
    const lending = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
    const initiator = await IserFpdus.connect(lending.port);
    await initiator.logIn();
    const aborted = write(initiator);
    const late = await initiator.channel.read();
    await abort(initiator, aborted);
    const other = await lending.login();
    assert.equal((await other.write(0, LBA, original)).status, 0);
    initiator.channel.answer(late, 0, Buffer.alloc(LENGTH, 0xee), true);
    await assertAborted(initiator);
    const { data } = await other.read(0, LBA, BLOCKS);
    other.destroy();
    initiator.channel.raw.destroy();
    await lending.close();
    assert.ok(data.equals(original), 'data of the aborted write is on the medium, over that of a later one');
  });
});
