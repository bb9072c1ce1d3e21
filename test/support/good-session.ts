/** A session of Riser's initiator with a good target, beside one whose target misbehaves: nothing of that may reach it. */

import assert from 'node:assert/strict';
import { MemoryDevice } from '../../src/block/index.js';
import { sendCommand, Session } from '../../src/initiator/index.js';
import { readWriteCdb } from './cdb.js';
import { pattern } from './pattern.js';
import { TARGET_NAME, TestTarget, type Transport } from './target.js';

const LUN = Buffer.alloc(8);
const LENGTH = 8192;
const READ = readWriteCdb(0x88, 0, LENGTH / 512, false);
const WRITE = readWriteCdb(0x8a, 0, LENGTH / 512, false);
const READING = { readLength: LENGTH, isIdempotent: true };

export class GoodSession {
  readonly #target: TestTarget;
  readonly #session: Session;
  #seed = 0;

  private constructor(target: TestTarget, session: Session) {
    this.#target = target;
    this.#session = session;
  }

  /** Start the target, too. */
  static async open(transport: Transport): Promise<GoodSession> {
    const target = await TestTarget.start([{ device: new MemoryDevice({ size: 1 << 20 }) }]);
    const session = await Session.open({
      portal: { host: '127.0.0.1', port: target.port },
      transport,
      targetName: TARGET_NAME,
      initiatorName: 'iqn.2026-01.example.test:bystander',
    });
    // The unit attention of a new nexus is passed over by the first command.
    await sendCommand(session, LUN, READ, READING);
    return new GoodSession(target, session);
  }

  /** It is connected, and reads what it writes. */
  async assertUndisturbed(): Promise<void> {
    assert.ok(this.#session.isConnected, 'the good session was disturbed');
    const data = pattern(LENGTH, ++this.#seed);
    assert.equal((await sendCommand(this.#session, LUN, WRITE, { data })).status, 0);
    assert.ok((await sendCommand(this.#session, LUN, READ, READING)).data.equals(data));
  }

  async close(): Promise<void> {
    await this.#session.close();
    await this.#target.close();
  }
}
