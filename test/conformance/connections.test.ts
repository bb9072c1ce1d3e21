/** How connections come, stay and go: many of them, silent ones, dead ones, and the target's own end. */

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { AsyncMessage, NopIn } from '../../src/iscsi/wire/headers.js';
import { AsyncEvent, Opcode, RESERVED_TAG } from '../../src/iscsi/wire/opcodes.js';
import { Bystander } from '../support/bystander.js';
import { TEST_UNIT_READY } from '../support/cdb.js';
import { pattern } from '../support/pattern.js';
import { ConnectionClosed } from '../support/pdu-socket.js';
import { TestTarget, type TestTargetOptions } from '../support/target.js';

const HALF_OPEN = 2000;
const LOGIN_TIMEOUT_MS = 3000;

const start = (limits: NonNullable<TestTargetOptions['limits']> = {}): Promise<TestTarget> =>
  TestTarget.start([{ device: new MemoryDevice({ size: 16 << 20 }) }], { limits });

describe('connections', () => {
  test(`${HALF_OPEN} silent ones do not stop a login, and are dropped after the login time`, async () => {
    const target = await start({ loginTimeoutMs: LOGIN_TIMEOUT_MS });
    const sockets = await Promise.all(Array.from({ length: HALF_OPEN }, () => openSocket(target.port)));
    const ends = sockets.map(untilClosed);
    try {
      const initiator = await target.login();
      const data = pattern(65536, 1);
      assert.equal((await initiator.write(0, 0, data)).status, 0);
      assert.ok((await initiator.read(0, 0, 128)).data.equals(data));
      await Promise.all(ends);
      // The session, which is past its login, is not among the dropped.
      assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
      initiator.destroy();
    } finally {
      for (const socket of sockets) socket.destroy();
      await target.close();
    }
  });

  test('a login that stops half-way is dropped as well', async () => {
    const target = await start({ loginTimeoutMs: 500 });
    const socket = await openSocket(target.port);
    const end = untilClosed(socket);
    socket.write(Buffer.from([0x43, 0x87, 0, 0, 0]));
    await end;
    await target.close();
  });

  test('a silent initiator is pinged, and lives as long as it answers', async () => {
    const target = await start({ keepaliveIntervalMs: 100, keepaliveTimeoutMs: 5000 });
    const initiator = await target.login();
    for (let i = 0; i < 3; i++) {
      const { opcode, header } = await initiator.unsolicited.next();
      assert.equal(opcode, Opcode.NOP_IN);
      assert.notEqual(NopIn.targetTransferTag.get(header), RESERVED_TAG);
    }
    assert.equal((await initiator.command(0, TEST_UNIT_READY)).status, 0);
    initiator.destroy();
    await target.close();
  });

  test('an initiator that does not answer is dropped', async () => {
    const target = await start({ keepaliveIntervalMs: 100, keepaliveTimeoutMs: 200 });
    const initiator = await target.login();
    initiator.answersPings = false;
    await initiator.closed;
    await target.close();
  });

  test('an orderly close tells the sessions by an Async Message', async () => {
    const target = await start();
    const initiator = await target.login();
    const closing = target.server.close({ graceMs: 2000 });
    const { opcode, header } = await initiator.unsolicited.next();
    assert.equal(opcode, Opcode.ASYNC_MESSAGE);
    const events: number[] = [
      AsyncEvent.LOGOUT_REQUESTED,
      AsyncEvent.CONNECTION_WILL_DROP,
      AsyncEvent.SESSION_WILL_DROP,
    ];
    const event = AsyncMessage.asyncEvent.get(header);
    assert.ok(events.includes(event), `event ${event}`);
    await initiator.closed;
    await closing;
    await assert.rejects(target.login(), /ECONNREFUSED/);
  });

  test('connections that vanish with commands under way leave nothing behind', async () => {
    const target = await start();
    const bystander = await Bystander.arrive(target, 16384);
    for (let i = 0; i < 20; i++) {
      const initiator = await target.login();
      const commands = Array.from({ length: 32 }, (_, j) => initiator.write(0, j * 128, pattern(65536, j)));
      const outcomes = Promise.allSettled(commands);
      initiator.destroy();
      for (const outcome of await outcomes) {
        if (outcome.status === 'rejected') assert.ok(outcome.reason instanceof ConnectionClosed);
      }
    }
    await bystander.assertUndisturbed();
    await bystander.leave();
    await target.close();
  });

  test('eight sessions at once keep their data apart', async () => {
    const target = await start();
    const sessions = await Promise.all(Array.from({ length: 8 }, () => target.login()));
    await Promise.all(
      sessions.map(async (session, i) => {
        for (let round = 0; round < 8; round++) {
          const data = pattern(65536, i * 8 + round);
          assert.equal((await session.write(0, i * 128, data)).status, 0);
          assert.ok((await session.read(0, i * 128, 128)).data.equals(data), `session ${i} round ${round}`);
        }
        await session.logout();
      }),
    );
    await target.close();
  });
});

async function openSocket(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  return socket;
}

function untilClosed(socket: Socket): Promise<void> {
  // Without a reader the end of the stream would never show.
  socket.resume();
  socket.on('error', () => undefined);
  return new Promise((resolve) => socket.once('close', () => resolve()));
}
