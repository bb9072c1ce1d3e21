/** What iSCSIProtocolLevel 2 adds to Riser's initiator: priority and task management (RFC 7144 5.1.1, 6.3, 6.4). */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { TARGET_NAME, TestTarget } from '../../test/support/target.js';
import { BlockOp, MemoryDevice } from '../block/index.js';
import { TaskManagementFunction } from '../iscsi/wire/opcodes.js';
import { SlowDevice } from '../scsi/testing/slow-device.js';
import {
  type ClientTask,
  discover,
  queryAsynchronousEvent,
  queryTask,
  queryTaskSet,
  resetNexus,
  sendCommand,
  Session,
  type SessionOptions,
} from './index.js';

const LUN = Buffer.alloc(8);
const TEST_UNIT_READY = Buffer.alloc(6);

describe('task management at level 2', () => {
  let target: TestTarget;
  const slow = new SlowDevice({ size: 1 << 20, blockSize: 512 });
  let sessions: Session[] = [];
  before(async () => {
    target = await TestTarget.start([
      { device: new MemoryDevice({ size: 1 << 20, blockSize: 512 }) },
      { device: slow },
    ]);
  });
  after(() => target.close());
  afterEach(async () => {
    for (const session of sessions) await session.close();
    sessions = [];
  });

  const options = (more: Partial<SessionOptions>): SessionOptions => ({
    portal: { host: '127.0.0.1', port: target.port },
    targetName: TARGET_NAME,
    initiatorName: 'iqn.2026-01.example.test:initiator',
    ...more,
  });
  async function open(more: Partial<SessionOptions> = {}): Promise<Session> {
    const session = await Session.open(options({ protocolLevel: 2, ...more }));
    sessions.push(session);
    return session;
  }

  for (const transport of ['tcp', 'iser'] as const) {
    test(`over ${transport}: what waits to be told is asked for, stays, and is told`, async () => {
      const session = await open({ transport });
      assert.equal(session.parameters.iSCSIProtocolLevel, 2);
      await sendCommand(session, LUN, TEST_UNIT_READY);
      assert.equal(await queryAsynchronousEvent(session, LUN), null);
      await session.manageTasks({ function: TaskManagementFunction.LOGICAL_UNIT_RESET });
      const event = { senseKey: 6, asc: 0x29, ascq: 3, isMore: false };
      assert.deepEqual(await queryAsynchronousEvent(session, LUN), event);
      assert.deepEqual(await queryAsynchronousEvent(session, LUN), event);
      assert.equal(await queryTaskSet(session, LUN), false);
    });
  }

  test('a command that the target has is asked after, and one that is over', async () => {
    const session = await open();
    const lun = Buffer.from([0, 1, 0, 0, 0, 0, 0, 0]);
    await sendCommand(session, lun, TEST_UNIT_READY);
    let task: ClientTask | undefined;
    const submit = session.submit.bind(session);
    session.submit = (each) => {
      submit((task = each));
    };
    // READ(10) of one block.
    const reading = sendCommand(session, lun, Buffer.from([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), {
      readLength: 512,
    });
    while (slow.pending.length === 0) await new Promise(setImmediate);
    assert.equal(await queryTask(session, task!), true);
    assert.equal(await queryTaskSet(session, lun), true);
    slow.completeAll();
    assert.equal((await reading).status, 0);
    assert.equal(await queryTask(session, task!), false);
    assert.equal(await queryTaskSet(session, lun), false);
  });

  test('a reset of the nexus ends the session at the target, and it is made anew', async () => {
    const session = await open();
    const again = new Promise<void>((resolve) => {
      session.watchers.add({ reconnected: resolve });
    });
    const { tsih } = target.server.sessions()[0]!;
    await resetNexus(session);
    await again;
    assert.notEqual(target.server.sessions()[0]!.tsih, tsih);
    assert.equal((await sendCommand(session, LUN, TEST_UNIT_READY)).status, 0);
  });

  test('at level 1, the default, nothing is sent, and the error says what to do', async () => {
    const session = await open({ protocolLevel: 1 });
    for (const ask of [queryTaskSet, queryAsynchronousEvent, resetNexus])
      await assert.rejects(ask(session, LUN), {
        code: 'PROTOCOL_LEVEL',
        message: /has iSCSIProtocolLevel 1/,
        remedy: /protocolLevel: 2/,
      });
    assert.equal((await sendCommand(session, LUN, TEST_UNIT_READY)).status, 0);
  });

  test('what the target refuses is an error with its words', async () => {
    const session = await open();
    const none = Buffer.from([0, 9, 0, 0, 0, 0, 0, 0]);
    await assert.rejects(queryTaskSet(session, none), {
      code: 'TASK_MANAGEMENT',
      message: 'the target refused QUERY TASK SET: lun does not exist',
    });
  });

  test('discovery does not negotiate it', async () => {
    const found = await discover({ ...options({ protocolLevel: 2 }) });
    assert.equal(found.length, 1);
  });
});

describe('command priority (RFC 7144 5.1.1)', () => {
  for (const { protocolLevel, order } of [
    { protocolLevel: 2, order: [3, 2, 1, 0] },
    { protocolLevel: 1, order: [0, 1, 2, 3] },
  ] as const)
    test(`at level ${protocolLevel} the unit begins with block ${order.join(', ')}`, async () => {
      const device = new SlowDevice({ size: 1 << 20, blockSize: 512 });
      const target = await TestTarget.start([{ device }]);
      const session = await Session.open({
        portal: { host: '127.0.0.1', port: target.port },
        targetName: TARGET_NAME,
        initiatorName: 'iqn.2026-01.example.test:initiator',
        protocolLevel,
      });
      try {
        await sendCommand(session, LUN, TEST_UNIT_READY);
        // While COMPARE AND WRITE of one block runs, nothing else does.
        const barrier = sendCommand(
          session,
          LUN,
          Buffer.from([0x89, ...Array<number>(12).fill(0), 1, 0, 0]),
          {
            data: Buffer.alloc(1024),
          },
        );
        while (device.pending.length === 0) await new Promise(setImmediate);
        const reads = [15, undefined, 3, 1].map((priority, lba) =>
          sendCommand(session, LUN, Buffer.from([0x28, 0, 0, 0, 0, lba, 0, 0, 1, 0]), {
            readLength: 512,
            ...(priority !== undefined && { priority }),
          }),
        );
        // Sent behind them, and answered by the target at once.
        await session.ping(Buffer.alloc(4));
        while (device.pending[0]!.op !== BlockOp.READ || device.pending.length < reads.length)
          if (!device.completeNext()) await new Promise(setImmediate);
        assert.deepEqual(
          device.pending.map(({ offset }) => offset / 512),
          order,
        );
        device.defers = false;
        device.completeAll();
        for (const { status } of await Promise.all([barrier, ...reads])) assert.equal(status, 0);
        await assert.rejects(sendCommand(session, LUN, TEST_UNIT_READY, { priority: 16 }), RangeError);
      } finally {
        await session.close();
        await target.close();
      }
    });
});
