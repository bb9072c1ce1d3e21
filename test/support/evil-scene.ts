/**
 * A session with a target that lies, stalls or vanishes, for tests; beside it in the same process is one with a good target, which must
 * not be disturbed.
 */

import assert from 'node:assert/strict';
import { after, afterEach, before } from 'node:test';
import { type CommandOptions, Session, type SessionOptions } from '../../src/initiator/index.js';
import { Bhs } from '../../src/iscsi/wire/headers.js';
import { Opcode } from '../../src/iscsi/wire/opcodes.js';
import { RiserError } from '../../src/util/errors.js';
import { readWriteCdb } from './cdb.js';
import { type EvilConnection, type EvilScript, EvilTarget, HONEST } from './evil-target.js';
import { GoodSession } from './good-session.js';
import type { Pdu } from './pdu-socket.js';
import { TARGET_NAME } from './target.js';

export const LUN = Buffer.alloc(8);
/** Bytes of {@link READ} and {@link WRITE}. */
export const LENGTH = 8192;
export const INITIATOR = 'iqn.2026-01.example.test:client';
export const READ = readWriteCdb(0x88, 0, LENGTH / 512, false);
export const WRITE = readWriteCdb(0x8a, 0, LENGTH / 512, false);
export const READING: CommandOptions = { readLength: LENGTH, isIdempotent: true };
export const WRITING: CommandOptions = { data: Buffer.alloc(LENGTH, 7), isIdempotent: true };

export const LIMITS = {
  connectTimeoutMs: 2000,
  loginTimeoutMs: 700,
  keepaliveIntervalMs: 500,
  keepaliveTimeoutMs: 500,
  answerTimeoutMs: 700,
  recoveryTimeoutMs: 1500,
  longestPauseMs: 50,
};

/** Misbehaves on the first connection, at the first command that the test sends. */
export function atFirstCommand(act: (connection: EvilConnection, tag: number, pdu: Pdu) => void): EvilScript {
  return (connection, pdu) => {
    if (connection.index > 0 || pdu.opcode !== Opcode.SCSI_COMMAND) return false;
    connection.expCmdSN++;
    act(connection, Bhs.initiatorTaskTag.get(pdu.header), pdu);
    return true;
  };
}
/** What {@link evilScene} has set up. */
export interface EvilScene {
  readonly evil: EvilTarget;
  /** To be destroyed after the test. */
  readonly open: Session[];
  /** A session with the evil target; `losses` gets why its connections ended. */
  connect(
    script: EvilScript,
    options?: Partial<SessionOptions>,
  ): Promise<{ session: Session; losses: string[] }>;
}

/** For the body of a `describe`; usable in its tests. */
export function evilScene(): EvilScene {
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

  return {
    get evil() {
      return evil;
    },
    open,
    connect,
  };
}

/** The code of the error that a promise rejects with. */
export async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof RiserError, String(error));
    return error.code;
  }
  return 'none';
}
