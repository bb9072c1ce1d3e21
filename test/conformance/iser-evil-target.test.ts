/**
 * Riser's initiator over RDMA and targets that break the rules of RFC 7145: the connection ends, the command goes again on the
 * next one, and not one byte changes that was not to change; a session with a good target in the same process works on.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before, describe, it } from 'node:test';
import { type CommandOptions, sendCommand, Session } from '../../src/initiator/index.js';
import { Bhs } from '../../src/iscsi/wire/headers.js';
import { FINAL, Opcode } from '../../src/iscsi/wire/opcodes.js';
import { Memory } from '../../src/util/memory.js';
import { readWriteCdb } from '../support/cdb.js';
import { type EvilIserConnection, EvilIserTarget, HONEST } from '../support/evil-iser-target.js';
import { GoodSession } from '../support/good-session.js';
import { pattern } from '../support/pattern.js';
import { type Advertised, controlHeader, First, hello, type RawMessage } from '../support/raw-iser.js';
import { assertCensus, census, type Census } from '../support/rdma-census.js';
import { TARGET_NAME } from '../support/target.js';
import { until } from '../support/verbs-pair.js';

const LUN = Buffer.alloc(8);
const LENGTH = 8192;
/** More than goes along with a command. */
const LONG = 3 * LENGTH;
const READ = readWriteCdb(0x88, 0, LENGTH / 512, false);
const WRITE = readWriteCdb(0x8a, 0, LONG / 512, false);
const READING: CommandOptions = { readLength: LENGTH, isIdempotent: true };
const INITIATOR = 'iqn.2026-01.example.test:client';
const LIMITS = {
  connectTimeoutMs: 2000,
  loginTimeoutMs: 1000,
  keepaliveIntervalMs: 500,
  keepaliveTimeoutMs: 500,
  answerTimeoutMs: 700,
  recoveryTimeoutMs: 3000,
  longestPauseMs: 50,
};

/** What a target does instead of carrying out a command, whose tag and buffer it knows. */
type Act = (connection: EvilIserConnection, tag: number, buffer: Advertised, message: RawMessage) => void;

describe('an evil target over RDMA', { timeout: 120_000 }, () => {
  let evil: EvilIserTarget;
  let good: GoodSession;
  let idle: Census;
  const open: Session[] = [];

  before(async () => {
    good = await GoodSession.open('iser');
    evil = await EvilIserTarget.start();
    idle = census();
  });
  afterEach(async () => {
    for (const session of open.splice(0)) session.destroy();
    evil.drop();
    evil.script = HONEST;
    await assertCensus(idle);
    await good.assertUndisturbed();
  });
  after(async () => {
    await good.close();
    await evil.close();
  });

  /** A session, and why its connections ended. */
  async function connect(): Promise<{ session: Session; losses: string[] }> {
    const losses: string[] = [];
    const session = await Session.open({
      portal: { host: '127.0.0.1', port: evil.port },
      transport: 'iser',
      targetName: TARGET_NAME,
      initiatorName: INITIATOR,
      limits: LIMITS,
    });
    session.watchers.add({
      disconnected: (reason) => {
        losses.push(reason.message);
      },
    });
    open.push(session);
    return { session, losses };
  }

  /** `act` on the first connection's first command; then the command is carried out on the second one. */
  async function attack(direction: 'read' | 'write', act: Act, why: RegExp): Promise<void> {
    let isArmed = false;
    evil.script = (connection, message) => {
      if (!isArmed || message.header[0] !== Opcode.SCSI_COMMAND) return false;
      isArmed = false;
      act(connection, Bhs.initiatorTaskTag.get(message.header), (message.read ?? message.write)!, message);
      return true;
    };
    const { session, losses } = await connect();
    isArmed = true;
    const sent = pattern(LONG, 77);
    const data = Buffer.from(sent);
    const { status, data: got } =
      direction === 'read'
        ? await sendCommand(session, LUN, READ, READING)
        : await sendCommand(session, LUN, WRITE, { data, isIdempotent: true });
    assert.equal(status, 0);
    if (direction === 'read') assert.ok(got.equals(Buffer.alloc(LENGTH)), 'data of the ended connection');
    else assert.ok(data.equals(sent), 'a buffer that is written from changed');
    assert.equal(losses.length, 1);
    assert.match(losses[0]!, why);
    assert.equal(evil.connections.length, 2);
  }

  const at = ({ key, address }: Advertised, skip: number): Advertised => ({
    key,
    address: address + BigInt(skip),
  });
  const bytes = Buffer.alloc(100, 0xee);

  const cases: [string, 'read' | 'write', Act, RegExp][] = [
    [
      'writes one byte too many',
      'read',
      ({ raw }, _, buffer) => raw.write(buffer, Buffer.alloc(LENGTH + 1)),
      /base or bounds/,
    ],
    [
      'writes in front of the buffer',
      'read',
      ({ raw }, _, buffer) => raw.write(at(buffer, -1), bytes),
      /wraps/,
    ],
    [
      'writes behind the buffer',
      'read',
      ({ raw }, _, buffer) => raw.write(at(buffer, LENGTH), bytes),
      /base or bounds/,
    ],
    [
      'writes by a key that nobody gave',
      'read',
      ({ raw }, _, { address }) => raw.write({ key: 7, address }, bytes),
      /invalid STag/,
    ],
    [
      'reads where it is to write',
      'read',
      ({ raw }, _, buffer) => raw.read(buffer, Memory.allocate(1)),
      /access rights/,
    ],
    [
      'writes where it is to read',
      'write',
      ({ raw }, _, buffer) => raw.write(buffer, bytes),
      /access rights/,
    ],
    [
      'reads one byte too many',
      'write',
      ({ raw }, _, buffer) => raw.read(buffer, Memory.allocate(LONG)),
      /base or bounds/,
    ],
    [
      'sends Data-In',
      'read',
      (connection, tag) => connection.send(Opcode.DATA_IN, { tag, data: bytes }),
      /RDMA takes the place of/,
    ],
    [
      'sends an R2T',
      'write',
      (connection, tag) => connection.send(Opcode.R2T, { tag }),
      /RDMA takes the place of/,
    ],
    [
      'advertises memory with its response',
      'read',
      (connection, tag, read) =>
        connection.send(Opcode.SCSI_RESPONSE, { tag, iser: controlHeader({ read }) }),
      /advertises memory/,
    ],
    [
      'sends a key of 0',
      'read',
      (connection, tag) =>
        connection.send(Opcode.SCSI_RESPONSE, {
          tag,
          iser: controlHeader({ write: { key: 0, address: 0n } }),
        }),
      /advertises memory/,
    ],
    ['sends nothing', 'read', ({ raw }) => raw.send(Buffer.alloc(0)), /an iSER message of 0 bytes/],
    ['sends a header alone', 'read', ({ raw }) => raw.send(controlHeader()), /an iSER message of 28 bytes/],
    [
      'sends half a PDU',
      'read',
      ({ raw }) => raw.send(Buffer.concat([controlHeader(), Buffer.alloc(47)])),
      /an iSER message of 75 bytes/,
    ],
    [
      'sends a PDU with 4 bytes behind',
      'read',
      ({ raw }) => raw.send(Buffer.concat([controlHeader(), Buffer.alloc(52)])),
      /in a message of 80/,
    ],
    ['sends another opcode', 'read', ({ raw }) => raw.send(Buffer.alloc(76, 0x40)), /opcode 4/],
    ['sends a Hello', 'read', ({ raw }) => raw.send(hello(First.HELLO, 10, 10, 1)), /Hello/],
    ['sends a HelloReply', 'read', ({ raw }) => raw.send(hello(First.HELLO_REPLY, 10, 10, 1)), /Hello/],
    [
      'sends more than any receive takes',
      'read',
      ({ raw }) => raw.send(Buffer.concat([controlHeader(), Buffer.alloc(60_000)])),
      /too long/,
    ],
    [
      'sends a response for no task',
      'read',
      (connection, tag) => connection.send(Opcode.SCSI_RESPONSE, { tag: tag + 1000 }),
      /./,
    ],
    [
      'invalidates the key in a PDU that ends no task',
      'read',
      (connection, _, { key }) => connection.send(Opcode.NOP_IN, { invalidates: key }),
      /key of another task/,
    ],
    [
      'invalidates a key that is none',
      'read',
      (connection, tag) => connection.send(Opcode.SCSI_RESPONSE, { tag, invalidates: 0x1234 }),
      /STag/,
    ],
    [
      'sends more PDUs than there are receives',
      'read',
      (connection) => {
        for (let i = 0; i < 2000; i++) connection.raw.send(Buffer.alloc(10));
      },
      /./,
    ],
    [
      'disconnects',
      'read',
      ({ raw }) => {
        raw.disconnect();
      },
      /./,
    ],
  ];
  for (const [what, direction, act, why] of cases) it(what, () => attack(direction, act, why));

  it('writes by the key of a command that is over', async () => {
    let old: Advertised | null = null;
    let isArmed = true;
    evil.script = ({ raw }, { header, read }) => {
      if (header[0] !== Opcode.SCSI_COMMAND || read === null || !isArmed) return false;
      if (old === null) {
        old = read;
        return false;
      }
      isArmed = false;
      raw.write(old, bytes);
      return true;
    };
    const { session, losses } = await connect();
    const first = await sendCommand(session, LUN, READ, READING);
    const second = await sendCommand(session, LUN, READ, READING);
    for (const { data } of [first, second]) assert.ok(data.equals(Buffer.alloc(LENGTH)));
    assert.equal(losses.length, 1);
    assert.match(losses[0]!, /invalid STag/);
  });

  it("writes into another session's memory by its key", async () => {
    const commands: [EvilIserConnection, RawMessage][] = [];
    evil.script = (connection, message) => {
      const { header, read } = message;
      if (header[0] !== Opcode.SCSI_COMMAND || read === null || commands.length === 2) return false;
      commands.push([connection, message]);
      if (commands.length === 2) connection.raw.write(commands[0]![1].read!, bytes);
      return true;
    };
    const [one, other] = [await connect(), await connect()];
    const waiting = sendCommand(one.session, LUN, READ, READING);
    await until(() => commands.length === 1, 'the first command');
    const attacked = await sendCommand(other.session, LUN, READ, READING);
    assert.ok(attacked.data.equals(Buffer.alloc(LENGTH)));
    assert.match(other.losses[0]!, /not associated/);
    assert.deepEqual(one.losses, []);
    const [connection, message] = commands[0]!;
    connection.behave(message);
    const { data } = await waiting;
    assert.ok(data.equals(Buffer.alloc(LENGTH)));
  });

  for (const value of ['No', 'NotUnderstood', 'Irrelevant', 'Reject']) {
    it(`answers RDMAExtensions=${value}`, async () => {
      evil.script = (connection, message) => {
        const text = message.data.toString();
        if (connection.isLoggedIn || !text.includes('RDMAExtensions=Yes')) return false;
        const header = Buffer.alloc(48);
        header[0] = Opcode.LOGIN_RESPONSE;
        header[1] = FINAL | (1 << 2) | 3;
        header.writeUInt16BE(1, 14);
        connection.raw.sendPdu(header, Buffer.from(`RDMAExtensions=${value}\0`));
        return true;
      };
      await assert.rejects(connect(), /RDMAExtensions|during login|target sent/);
    });
  }
});
