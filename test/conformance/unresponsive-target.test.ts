/** The initiator and targets that stall, never end, and vanish: everything ends, in the time that is set for it. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type CommandOptions, sendCommand, type Session } from '../../src/initiator/index.js';
import { Bhs, BHS_LENGTH, R2T, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { AsyncEvent, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Status } from '../../src/scsi/index.js';
import { RiserError } from '../../src/util/errors.js';
import {
  atFirstCommand,
  codeOf,
  evilScene,
  LENGTH,
  LUN,
  READ,
  READING,
  WRITE,
} from '../support/evil-scene.js';
import type { EvilConnection, EvilScript } from '../support/evil-target.js';
import { until } from '../support/verbs-pair.js';

describe('a target', () => {
  const scene = evilScene();

  describe('that is slow', () => {
    const silent: EvilScript = (c, pdu) => c.isLoggedIn && pdu.opcode !== Opcode.LOGOUT_REQUEST;

    test('at login', async () => {
      const drip: EvilScript = (c) => {
        const timer = setInterval(() => c.pdus.sendBytes(Buffer.alloc(1, 0x23)), 100);
        void c.pdus.closed.then(() => clearInterval(timer));
        return true;
      };
      assert.equal(await codeOf(scene.connect(drip)), 'LOGIN_TIMEOUT');
    });

    test('to the point of silence at login', async () => {
      assert.equal(await codeOf(scene.connect(() => true)), 'LOGIN_TIMEOUT');
    });

    test('and does not answer a command, nor its abort', async () => {
      const { session } = await scene.connect(silent);
      assert.equal(
        await codeOf(sendCommand(session, LUN, READ, { ...READING, timeoutMs: 200 })),
        'TASK_TIMEOUT',
      );
    });

    test('and answers everything but one command', async () => {
      const { session, losses } = await scene.connect((_, pdu) => pdu.opcode === Opcode.SCSI_COMMAND);
      assert.equal(
        await codeOf(sendCommand(session, LUN, READ, { ...READING, timeoutMs: 200 })),
        'TASK_TIMEOUT',
      );
      assert.deepEqual(losses, []);
    });

    test('and refuses to abort what it does not answer', async () => {
      const { session } = await scene.connect((c, pdu) => {
        if (pdu.opcode !== Opcode.TASK_MANAGEMENT_REQUEST) return pdu.opcode === Opcode.SCSI_COMMAND;
        const tag = Bhs.initiatorTaskTag.get(pdu.header);
        c.send(Opcode.TASK_MANAGEMENT_RESPONSE, { tag, set: (header) => (header[2] = 255) });
        return true;
      });
      const controller = new AbortController();
      const command = sendCommand(session, LUN, READ, {
        ...READING,
        timeoutMs: 300,
        signal: controller.signal,
      });
      controller.abort(new RiserError('MINE', 'enough', { by: 'local', costs: 'task' }));
      assert.equal(await codeOf(command), 'MINE');
    });

    test('a byte at a time, in the middle of the data', async () => {
      const { session, losses } = await scene.connect(
        atFirstCommand((c, tag) => {
          const header = Buffer.alloc(BHS_LENGTH);
          header[0] = Opcode.DATA_IN;
          Bhs.dataSegmentLength.set(header, LENGTH);
          Bhs.initiatorTaskTag.set(header, tag);
          c.pdus.sendBytes(header);
          const timer = setInterval(() => c.pdus.sendBytes(Buffer.alloc(1)), 50);
          void c.pdus.closed.then(() => clearInterval(timer));
        }),
      );
      assert.equal((await sendCommand(session, LUN, READ, READING)).status, 0);
      assert.match(losses[0]!, /silent/);
    });

    test('to read: a write whose data stays here', async () => {
      const { session } = await scene.connect((c, pdu) => {
        if (c.index > 0 || !c.isLoggedIn || pdu.opcode !== Opcode.SCSI_COMMAND) return false;
        c.pdus.socket.pause();
        return true;
      });
      const data = Buffer.alloc(200_000);
      const commands = Array.from({ length: 32 }, () =>
        sendCommand(session, LUN, WRITE, { data, isIdempotent: true }),
      );
      for (const result of await Promise.all(commands)) assert.equal(result.status, 0);
    });

    test('in its window, which stays closed', async () => {
      const { session } = await scene.connect((c, pdu) => {
        c.window = 0;
        return pdu.opcode === Opcode.SCSI_COMMAND;
      });
      const outcomes = await Promise.all(
        Array.from({ length: 40 }, () =>
          codeOf(sendCommand(session, LUN, READ, { ...READING, timeoutMs: 200 })),
        ),
      );
      assert.deepEqual(outcomes, new Array<string>(40).fill('TASK_TIMEOUT'));
    });

    test('to answer a text, a ping, a logout', async () => {
      const one = await scene.connect(silent);
      assert.equal(await codeOf(one.session.text([{ key: 'SendTargets', value: 'All' }])), 'CONNECTION_LOST');
      const two = await scene.connect(silent);
      assert.equal(await codeOf(two.session.ping(Buffer.from('x'))), 'CONNECTION_LOST');
      const three = await scene.connect((c) => c.isLoggedIn);
      await three.session.close();
    });
  });

  describe('that never ends', () => {
    test('a login', async () => {
      const endless: EvilScript = (c, pdu) => {
        const header = Buffer.alloc(BHS_LENGTH);
        header[0] = Opcode.LOGIN_RESPONSE;
        header[1] = pdu.header[1]! & 0x0c;
        c.pdus.send(header);
        return true;
      };
      assert.equal(await codeOf(scene.connect(endless)), 'LOGIN_PROTOCOL');
    });

    describe('redirections', () => {
      const redirectTo =
        (address: () => string): EvilScript =>
        (c) => {
          const header = Buffer.alloc(BHS_LENGTH);
          header[0] = Opcode.LOGIN_RESPONSE;
          header.writeUInt16BE(0x0101, 36);
          c.pdus.send(header, Buffer.from(`TargetAddress=${address()}\0`));
          return true;
        };

      test('to itself', async () => {
        const itself = redirectTo(() => `127.0.0.1:${scene.evil.port}`);
        assert.equal(await codeOf(scene.connect(itself)), 'REDIRECTED');
        assert.equal(scene.evil.connections.length, 1);
      });

      test('always onward, to the same portal written in another way', async () => {
        const spellings = ['', 'localhost', 'LOCALHOST', '127.1', '127.0.1', '2130706433', '0x7f000001'];
        const onward = redirectTo(() => `${spellings[scene.evil.connections.length]!}:${scene.evil.port}`);
        assert.equal(await codeOf(scene.connect(onward)), 'REDIRECTED');
        assert.equal(scene.evil.connections.length, 6);
      });
    });

    test('SendTargets', async () => {
      const endless: EvilScript = (c, pdu) => {
        if (pdu.opcode !== Opcode.TEXT_REQUEST) return false;
        c.send(Opcode.TEXT_RESPONSE, {
          tag: Bhs.initiatorTaskTag.get(pdu.header),
          flags: 0x40,
          data: Buffer.from('TargetName=iqn.2026-01.example.test:again\0'.repeat(100)),
          set: (header) => R2T.targetTransferTag.set(header, 1),
        });
        return true;
      };
      const { session } = await scene.connect(endless, { targetName: null });
      assert.equal(await codeOf(session.text([{ key: 'SendTargets', value: 'All' }])), 'TEXT');
    });

    test('data segments of no bytes', async () => {
      const { session } = await scene.connect(
        atFirstCommand((c, tag) => {
          for (let i = 0; i < 20_000; i++) c.dataIn(tag, i, 0, Buffer.alloc(0), false);
          c.send(Opcode.SCSI_RESPONSE, { tag });
        }),
      );
      const result = await sendCommand(session, LUN, READ, READING);
      assert.deepEqual([result.data.length, result.residual], [0, LENGTH]);
    });

    /** Floods, and what they may cost. */
    const floods: [string, (c: EvilConnection) => void][] = [
      [
        'pings',
        (c) =>
          c.send(Opcode.NOP_IN, {
            isUnnumbered: true,
            set: (header) => R2T.targetTransferTag.set(header, 9),
          }),
      ],
      [
        'wishes to log out',
        (c) => c.send(Opcode.ASYNC_MESSAGE, { set: (header) => (header[36] = AsyncEvent.LOGOUT_REQUESTED) }),
      ],
      [
        'wishes to negotiate',
        (c) =>
          c.send(Opcode.ASYNC_MESSAGE, { set: (header) => (header[36] = AsyncEvent.NEGOTIATION_REQUESTED) }),
      ],
      ['Rejects', (c) => c.send(Opcode.REJECT, { set: (header) => (header[2] = 4) })],
    ];
    for (const [what, send] of floods) {
      test(`a flood of ${what}`, async () => {
        let answers = 0;
        const { session } = await scene.connect((c, pdu) => {
          if (c.index > 0) return false;
          if (
            pdu.opcode === Opcode.NOP_OUT ||
            pdu.opcode === Opcode.TEXT_REQUEST ||
            pdu.opcode === Opcode.LOGOUT_REQUEST
          )
            answers++;
          if (pdu.opcode !== Opcode.SCSI_COMMAND) return pdu.opcode !== Opcode.LOGIN_REQUEST;
          for (let i = 0; i < 10_000; i++) send(c);
          c.expCmdSN++;
          c.send(Opcode.SCSI_RESPONSE, { tag: Bhs.initiatorTaskTag.get(pdu.header) });
          return true;
        });
        const result = await sendCommand(session, LUN, READ, READING);
        assert.equal(result.status, 0);
        if (what === 'pings') return;
        assert.ok(answers <= 2, `${answers} answers`);
        // The session is as good as before, or a new connection is.
        assert.equal((await sendCommand(session, LUN, READ, READING)).status, 0);
      });
    }
  });

  test('that asks for a logout gets it when the commands are over, and the next go to a new connection', async () => {
    const order: string[] = [];
    const { session, losses } = await scene.connect((c, pdu) => {
      if (c.index > 0 || !c.isLoggedIn) return false;
      order.push(
        pdu.opcode === Opcode.SCSI_COMMAND
          ? 'command'
          : pdu.opcode === Opcode.LOGOUT_REQUEST
            ? 'logout'
            : 'other',
      );
      if (pdu.opcode !== Opcode.SCSI_COMMAND) return false;
      c.send(Opcode.ASYNC_MESSAGE, {
        set: (header) => {
          header[36] = AsyncEvent.LOGOUT_REQUESTED;
          header.writeUInt16BE(10, 42);
        },
      });
      setTimeout(() => c.behave(pdu), 100);
      return true;
    });
    // It may be repeated by nobody: yet it is not lost.
    const first = sendCommand(session, LUN, READ, { readLength: LENGTH });
    setTimeout(() => {
      void sendCommand(session, LUN, WRITE, { data: Buffer.alloc(512) });
    }, 50);
    assert.equal((await first).status, 0);
    assert.equal((await sendCommand(session, LUN, READ, { readLength: LENGTH })).status, 0);
    assert.deepEqual(order, ['command', 'logout']);
    assert.equal(losses.length, 1);
  });

  test('that asks for a negotiation gets a text, one at a time (RFC 7143 11.9.1, event 4)', async () => {
    const texts: number[] = [];
    const { session } = await scene.connect((c, pdu) => {
      if (!c.isLoggedIn) return false;
      if (pdu.opcode === Opcode.TEXT_REQUEST) {
        texts.push(pdu.data.length);
        setTimeout(() => c.behave(pdu), 20);
        return true;
      }
      const ask = (): void =>
        c.send(Opcode.ASYNC_MESSAGE, { set: (header) => (header[36] = AsyncEvent.NEGOTIATION_REQUESTED) });
      // The second comes while the first is being answered.
      if (pdu.opcode === Opcode.SCSI_COMMAND) for (let i = 0; i < 2; i++) ask();
      return false;
    });
    await sendCommand(session, LUN, READ, { readLength: LENGTH });
    await until(() => texts.length > 0, 'a text');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await sendCommand(session, LUN, READ, { readLength: LENGTH });
    await until(() => texts.length === 2, 'another text');
    assert.deepEqual(texts, [0, 0]);
  });

  describe('that is looked at before tasks go by a new connection,', () => {
    /** A session that has lost its connection, and asks the LUN by the next one. */
    async function rechecking(
      answer: EvilScript,
      options: CommandOptions = READING,
    ): Promise<{ session: Session; outcome: Promise<string>; commands: () => number }> {
      let commands = 0;
      const { session } = await scene.connect((c, pdu) => {
        if (c.index === 0) return atFirstCommand(() => c.pdus.socket.destroy())(c, pdu);
        if (pdu.opcode === Opcode.SCSI_COMMAND) commands++;
        return answer(c, pdu);
      });
      const outcome = new Promise<string>((resolve) => {
        session.watchers.add({
          recheck: async (path) => {
            const asked = sendCommand(path, LUN, READ, options);
            resolve(asked.then(({ status }) => `status ${status}`, String));
            await asked;
          },
        });
      });
      sendCommand(session, LUN, READ, READING).catch(() => undefined);
      while (commands === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      return { session, outcome, commands: () => commands };
    }

    const busy: EvilScript = (c, pdu) => {
      if (pdu.opcode !== Opcode.SCSI_COMMAND) return false;
      c.expCmdSN++;
      c.send(Opcode.SCSI_RESPONSE, {
        tag: Bhs.initiatorTaskTag.get(pdu.header),
        set: (header) => ScsiResponse.status.set(header, Status.BUSY),
      });
      return true;
    };
    const silent: EvilScript = (_c, pdu) => pdu.opcode === Opcode.SCSI_COMMAND;

    for (const [what, answer] of Object.entries({ busy, silent })) {
      test(`is ${what}, and left at once when the session is closed`, async () => {
        const { session, outcome } = await rechecking(answer);
        const { pdus } = scene.evil.connections[1]!;
        const left = new Promise((resolve) => pdus.socket.once('end', resolve).once('close', resolve));
        await session.close();
        assert.match(await outcome, /the session is closed/);
        await left;
      });
    }

    test('is busy, and asked no more when the one who asks gives up', async () => {
      const giveUp = new AbortController();
      const { session, outcome, commands } = await rechecking(busy, { ...READING, signal: giveUp.signal });
      while (commands() < 3) await new Promise((resolve) => setTimeout(resolve, 5));
      giveUp.abort(new Error('enough'));
      assert.equal(await outcome, 'Error: enough');
      session.destroy();
    });
  });

  describe('that is gone', () => {
    test('at the first byte of the login', async () => {
      assert.equal(
        await codeOf(
          scene.connect((c) => {
            c.pdus.socket.destroy();
            return true;
          }),
        ),
        'LOGIN_CLOSED',
      );
    });

    test('for good: commands fail when their patience is over', async () => {
      const { session } = await scene.connect((c, pdu) => {
        if (c.index === 0 && pdu.opcode !== Opcode.SCSI_COMMAND) return false;
        c.pdus.socket.destroy();
        return true;
      });
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'UNREACHABLE');
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'CONNECTION_LOST');
    });

    test('while the session is closed, and connects no more', async () => {
      const { session } = await scene.connect(atFirstCommand((c) => c.pdus.socket.destroy()));
      const command = codeOf(sendCommand(session, LUN, READ, READING));
      await session.close();
      assert.match(await command, /SESSION_CLOSED/);
      const { length } = scene.evil.connections;
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(scene.evil.connections.length, length);
    });
  });
});
