/**
 * The initiator and targets that lie, stall and vanish: whatever they do, a command ends, by its status after
 * a recovery or by an error that says why, and a session with a good target in the same process works on.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { type CommandOptions, sendCommand, Session, type SessionOptions } from '../../src/initiator/index.js';
import { Bhs, BHS_LENGTH, R2T, ScsiResponse } from '../../src/iscsi/wire/headers.js';
import { AsyncEvent, DATA_IN_STATUS, FINAL, Opcode, ResponseFlag } from '../../src/iscsi/wire/opcodes.js';
import { Status } from '../../src/scsi/index.js';
import { RiserError } from '../../src/util/errors.js';
import { readWriteCdb } from '../support/cdb.js';
import { type EvilConnection, type EvilScript, EvilTarget, HONEST } from '../support/evil-target.js';
import { GoodSession } from '../support/good-session.js';
import type { Pdu } from '../support/pdu-socket.js';
import { TARGET_NAME } from '../support/target.js';

const LUN = Buffer.alloc(8);
const LENGTH = 8192;
const INITIATOR = 'iqn.2026-01.example.test:client';
const READ = readWriteCdb(0x88, 0, LENGTH / 512, false);
const WRITE = readWriteCdb(0x8a, 0, LENGTH / 512, false);
const READING: CommandOptions = { readLength: LENGTH, isIdempotent: true };
const WRITING: CommandOptions = { data: Buffer.alloc(LENGTH, 7), isIdempotent: true };

const LIMITS = {
  connectTimeoutMs: 2000,
  loginTimeoutMs: 700,
  keepaliveIntervalMs: 500,
  keepaliveTimeoutMs: 500,
  answerTimeoutMs: 700,
  recoveryTimeoutMs: 1500,
  longestPauseMs: 50,
};

/** Misbehaves on the first connection, at the first command that the test sends. */
function atFirstCommand(act: (connection: EvilConnection, tag: number, pdu: Pdu) => void): EvilScript {
  return (connection, pdu) => {
    if (connection.index > 0 || pdu.opcode !== Opcode.SCSI_COMMAND) return false;
    connection.expCmdSN++;
    act(connection, Bhs.initiatorTaskTag.get(pdu.header), pdu);
    return true;
  };
}

describe('an evil target', () => {
  let evil: EvilTarget;
  let good: GoodSession;
  const open: Session[] = [];

  before(async () => {
    good = await GoodSession.open('tcp');
    evil = await EvilTarget.start();
  });
  afterEach(async () => {
    for (const session of open.splice(0)) session.destroy();
    for (const { pdus } of evil.connections) pdus.destroy();
    evil.connections.length = 0;
    evil.script = HONEST;
    await good.assertUndisturbed();
  });
  after(async () => {
    await good.close();
    await evil.close();
  });

  /** A session with the evil target; `losses` gets why its connections ended. */
  async function connect(
    script: EvilScript,
    options: Partial<SessionOptions> = {},
  ): Promise<{ session: Session; losses: string[] }> {
    evil.script = script;
    const losses: string[] = [];
    const session = await Session.open({
      portal: { host: '127.0.0.1', port: evil.port },
      targetName: TARGET_NAME,
      initiatorName: INITIATOR,
      ...options,
      limits: { ...LIMITS, ...options.limits },
    });
    open.push(session);
    session.watchers.add({ disconnected: (reason) => losses.push(reason.message) });
    return { session, losses };
  }

  /** The code of the error that a promise rejects with. */
  async function codeOf(promise: Promise<unknown>): Promise<string> {
    try {
      await promise;
    } catch (error) {
      assert.ok(error instanceof RiserError, String(error));
      return error.code;
    }
    return 'none';
  }

  describe('that breaks a rule while a command is under way loses the connection, not the command', () => {
    const read = true;
    const cases: [string, boolean, RegExp, (connection: EvilConnection, tag: number) => void][] = [
      [
        'data beyond the expected length',
        read,
        /Data-In for bytes 0 to 8704/,
        (c, tag) => c.dataIn(tag, 0, 0, Buffer.alloc(LENGTH + 512), true),
      ],
      [
        'data that begins beyond it',
        read,
        /Data-In for bytes 4294966784 to/,
        (c, tag) => c.dataIn(tag, 0, 0xffff_fe00, Buffer.alloc(512), true),
      ],
      [
        'data with a gap',
        read,
        /Data-In for bytes 512/,
        (c, tag) => c.dataIn(tag, 0, 512, Buffer.alloc(512), false),
      ],
      [
        'data twice',
        read,
        /Data-In for bytes 0 to 512/,
        (c, tag) => {
          c.dataIn(tag, 0, 0, Buffer.alloc(512), false);
          c.dataIn(tag, 1, 0, Buffer.alloc(512), false);
        },
      ],
      [
        'a DataSN ahead',
        read,
        /DataSN 3 instead of 0/,
        (c, tag) => c.dataIn(tag, 3, 0, Buffer.alloc(512), false),
      ],
      [
        'data for a write',
        !read,
        /task that reads nothing/,
        (c, tag) => c.dataIn(tag, 0, 0, Buffer.alloc(512), false),
      ],
      [
        'data for another task',
        read,
        /task that does not exist/,
        (c, tag) => c.dataIn(tag + 1, 0, 0, Buffer.alloc(512), true),
      ],
      [
        'a long data segment for no task',
        read,
        /task that does not exist/,
        (c) => c.dataIn(0x7fff_ffff, 0, 0, Buffer.alloc(200_000), true),
      ],
      ['an R2T for a read', read, /R2T for a task that writes nothing/, (c, tag) => c.r2t(tag, 0, 0, 512)],
      [
        'an R2T for no task',
        !read,
        /R2T for a task that writes nothing/,
        (c, tag) => c.r2t(tag + 5, 0, 0, 512),
      ],
      [
        'an R2T for data that was sent unasked',
        !read,
        /R2T for bytes 0 to 512/,
        (c, tag) => c.r2t(tag, 0, 0, 512),
      ],
      ['an R2T beyond the end', !read, /R2T for bytes 8192 to 8704/, (c, tag) => c.r2t(tag, 0, LENGTH, 512)],
      ['an R2T for nothing', !read, /R2T for bytes 8192 to 8192/, (c, tag) => c.r2t(tag, 0, LENGTH, 0)],
      [
        'an R2T for everything',
        !read,
        /R2T for bytes 0 to 4294967295/,
        (c, tag) => c.r2t(tag, 0, 0, 0xffff_ffff),
      ],
      ['an R2TSN ahead', !read, /R2TSN 1 instead of 0/, (c, tag) => c.r2t(tag, 1, LENGTH, 512)],
      [
        'a StatSN ahead',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN += 3;
          c.send(Opcode.SCSI_RESPONSE, { tag });
        },
      ],
      [
        'a StatSN behind',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN = (c.statSN - 1) >>> 0;
          c.send(Opcode.SCSI_RESPONSE, { tag });
        },
      ],
      [
        'a StatSN ahead in a Data-In',
        read,
        /StatSN/,
        (c, tag) => {
          c.statSN += 0x8000_0000;
          c.dataIn(tag, 0, 0, Buffer.alloc(LENGTH), true);
        },
      ],
      [
        'a status for no task',
        read,
        /response for no task/,
        (c, tag) => c.send(Opcode.SCSI_RESPONSE, { tag: tag + 1 }),
      ],
      ['a status with the reserved tag', read, /response for no task/, (c) => c.send(Opcode.SCSI_RESPONSE)],
      [
        'an answer to nothing',
        read,
        /answer to no request/,
        (c) => c.send(Opcode.LOGOUT_RESPONSE, { tag: 0x8000_0001 }),
      ],
      ['a PDU of initiators', read, /no target sends/, (c, tag) => c.send(Opcode.SCSI_COMMAND, { tag })],
      ['an opcode that nobody has', read, /no target sends/, (c, tag) => c.send(0x2b as Opcode, { tag })],
      ['a login response', read, /no target sends/, (c, tag) => c.send(Opcode.LOGIN_RESPONSE, { tag })],
      [
        'a huge data segment',
        read,
        /data segment of 16777215 bytes/,
        (c) => {
          const header = Buffer.alloc(BHS_LENGTH);
          header[0] = Opcode.DATA_IN;
          header.fill(0xff, 5, 8);
          c.pdus.sendBytes(header);
        },
      ],
      [
        'additional header segments without end',
        read,
        /no target sends/,
        (c) => {
          const header = Buffer.alloc(BHS_LENGTH + 255 * 4, 0xff);
          header.fill(0, 5, 8);
          header[0] = Opcode.SNACK_REQUEST;
          ScsiResponse.statSN.set(header, c.statSN);
          c.pdus.sendBytes(header);
        },
      ],
      ['its farewell', read, /closed the connection/, (c) => c.pdus.socket.end()],
      ['a reset', read, /connection/, (c) => c.pdus.socket.resetAndDestroy()],
      [
        'half a header and its farewell',
        read,
        /closed the connection/,
        (c) => {
          c.pdus.sendBytes(Buffer.alloc(20));
          c.pdus.socket.end();
        },
      ],
      [
        'half of its data and a reset',
        read,
        /connection/,
        (c, tag) => {
          const header = Buffer.alloc(BHS_LENGTH + 1000);
          header[0] = Opcode.DATA_IN;
          header[1] = FINAL | DATA_IN_STATUS;
          Bhs.dataSegmentLength.set(header, LENGTH);
          Bhs.initiatorTaskTag.set(header, tag);
          c.pdus.sendBytes(header);
          setTimeout(() => c.pdus.socket.resetAndDestroy(), 50);
        },
      ],
      [
        'a Reject for damaged data',
        read,
        /the target rejected/,
        (c) => c.send(Opcode.REJECT, { data: Buffer.alloc(BHS_LENGTH, 1), set: (header) => (header[2] = 2) }),
      ],
    ];
    for (const [what, reads, reason, act] of cases) {
      test(what, async () => {
        const { session, losses } = await connect(atFirstCommand(act));
        const [command, options] = reads ? [READ, READING] : [WRITE, WRITING];
        const result = await sendCommand(session, LUN, command, options);
        assert.equal(result.status, 0);
        assert.equal(result.residual, 0);
        assert.equal(losses.length, 1);
        assert.match(losses[0]!, reason);
      });
    }

    test('and one that must not be repeated is reported as unknown, and sent once', async () => {
      let commands = 0;
      const { session } = await connect((connection, pdu) => {
        if (pdu.opcode === Opcode.SCSI_COMMAND) commands++;
        return atFirstCommand((c) => c.pdus.socket.resetAndDestroy())(connection, pdu);
      });
      assert.equal(
        await codeOf(sendCommand(session, LUN, WRITE, { data: Buffer.alloc(512) })),
        'OUTCOME_UNKNOWN',
      );
      assert.equal((await sendCommand(session, LUN, READ, READING)).status, 0);
      assert.equal(commands, 2);
    });

    test('and again and again is given up, without connecting in a frenzy', async () => {
      const { session } = await connect((connection, pdu) => {
        if (pdu.opcode !== Opcode.SCSI_COMMAND) return false;
        connection.pdus.socket.destroy();
        return true;
      });
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'CONNECTION_LOST');
      assert.ok(evil.connections.length <= 11, `${evil.connections.length} connections`);
    });
  });

  describe('that says GOOD', () => {
    test('with data missing is not believed', async () => {
      const { session, losses } = await connect(
        atFirstCommand((c, tag) => {
          c.dataIn(tag, 0, 0, Buffer.alloc(512, 1), false);
          c.send(Opcode.SCSI_RESPONSE, { tag });
        }),
      );
      const result = await sendCommand(session, LUN, READ, READING);
      assert.equal(result.residual, LENGTH - 512);
      assert.ok(result.data.equals(Buffer.alloc(512, 1)));
      assert.deepEqual(losses, []);
    });

    test('and tells of more residual than there can be', async () => {
      const { session } = await connect(
        atFirstCommand((c, tag) =>
          c.send(Opcode.SCSI_RESPONSE, {
            tag,
            flags: FINAL | ResponseFlag.UNDERFLOW,
            set: (header) => ScsiResponse.residualCount.set(header, 0xffff_ffff),
          }),
        ),
      );
      const result = await sendCommand(session, LUN, READ, READING);
      assert.deepEqual([result.residual, result.data.length], [LENGTH, 0]);
    });
  });

  test('with sense data longer than its segment', async () => {
    const { session } = await connect(
      atFirstCommand((c, tag) => {
        const data = Buffer.alloc(10, 0x70);
        data.writeUInt16BE(0xffff);
        c.send(Opcode.SCSI_RESPONSE, { tag, data, set: (header) => (header[3] = 2) });
      }),
    );
    const result = await sendCommand(session, LUN, READ, READING);
    assert.equal(result.status, 2);
    assert.equal(result.sense?.key, 0);
  });

  describe('that is slow', () => {
    const silent: EvilScript = (c, pdu) => c.isLoggedIn && pdu.opcode !== Opcode.LOGOUT_REQUEST;

    test('at login', async () => {
      const drip: EvilScript = (c) => {
        const timer = setInterval(() => c.pdus.sendBytes(Buffer.alloc(1, 0x23)), 100);
        void c.pdus.closed.then(() => clearInterval(timer));
        return true;
      };
      assert.equal(await codeOf(connect(drip)), 'LOGIN_TIMEOUT');
    });

    test('to the point of silence at login', async () => {
      assert.equal(await codeOf(connect(() => true)), 'LOGIN_TIMEOUT');
    });

    test('and does not answer a command, nor its abort', async () => {
      const { session } = await connect(silent);
      assert.equal(
        await codeOf(sendCommand(session, LUN, READ, { ...READING, timeoutMs: 200 })),
        'TASK_TIMEOUT',
      );
    });

    test('and answers everything but one command', async () => {
      const { session, losses } = await connect((_, pdu) => pdu.opcode === Opcode.SCSI_COMMAND);
      assert.equal(
        await codeOf(sendCommand(session, LUN, READ, { ...READING, timeoutMs: 200 })),
        'TASK_TIMEOUT',
      );
      assert.deepEqual(losses, []);
    });

    test('and refuses to abort what it does not answer', async () => {
      const { session } = await connect((c, pdu) => {
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
      const { session, losses } = await connect(
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
      const { session } = await connect((c, pdu) => {
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
      const { session } = await connect((c, pdu) => {
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
      const one = await connect(silent);
      assert.equal(await codeOf(one.session.text([{ key: 'SendTargets', value: 'All' }])), 'CONNECTION_LOST');
      const two = await connect(silent);
      assert.equal(await codeOf(two.session.ping(Buffer.from('x'))), 'CONNECTION_LOST');
      const three = await connect((c) => c.isLoggedIn);
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
      assert.equal(await codeOf(connect(endless)), 'LOGIN_PROTOCOL');
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
        const itself = redirectTo(() => `127.0.0.1:${evil.port}`);
        assert.equal(await codeOf(connect(itself)), 'REDIRECTED');
        assert.equal(evil.connections.length, 1);
      });

      test('always onward, to the same portal written in another way', async () => {
        const spellings = ['', 'localhost', 'LOCALHOST', '127.1', '127.0.1', '2130706433', '0x7f000001'];
        const onward = redirectTo(() => `${spellings[evil.connections.length]!}:${evil.port}`);
        assert.equal(await codeOf(connect(onward)), 'REDIRECTED');
        assert.equal(evil.connections.length, 6);
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
      const { session } = await connect(endless, { targetName: null });
      assert.equal(await codeOf(session.text([{ key: 'SendTargets', value: 'All' }])), 'TEXT');
    });

    test('data segments of no bytes', async () => {
      const { session } = await connect(
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
        const { session } = await connect((c, pdu) => {
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
    const { session, losses } = await connect((c, pdu) => {
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

  describe('that is looked at before tasks go by a new connection,', () => {
    /** A session that has lost its connection, and asks the LUN by the next one. */
    async function rechecking(
      answer: EvilScript,
      options: CommandOptions = READING,
    ): Promise<{ session: Session; outcome: Promise<string>; commands: () => number }> {
      let commands = 0;
      const { session } = await connect((c, pdu) => {
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
        const { pdus } = evil.connections[1]!;
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
          connect((c) => {
            c.pdus.socket.destroy();
            return true;
          }),
        ),
        'LOGIN_CLOSED',
      );
    });

    test('for good: commands fail when their patience is over', async () => {
      const { session } = await connect((c, pdu) => {
        if (c.index === 0 && pdu.opcode !== Opcode.SCSI_COMMAND) return false;
        c.pdus.socket.destroy();
        return true;
      });
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'UNREACHABLE');
      assert.equal(await codeOf(sendCommand(session, LUN, READ, READING)), 'CONNECTION_LOST');
    });

    test('while the session is closed, and connects no more', async () => {
      const { session } = await connect(atFirstCommand((c) => c.pdus.socket.destroy()));
      const command = codeOf(sendCommand(session, LUN, READ, READING));
      await session.close();
      assert.match(await command, /SESSION_CLOSED/);
      const { length } = evil.connections;
      await new Promise((resolve) => setTimeout(resolve, 300));
      assert.equal(evil.connections.length, length);
    });
  });
});
