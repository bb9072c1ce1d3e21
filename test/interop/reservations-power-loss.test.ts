/**
 * Persistent reservations with APTPL over `kill -9` at random moments: after the restart they are as they were last
 * acknowledged, or as the change left them that was under way. RISER_POWER_CUTS: how often, 12 by default.
 */

import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';

import { createImage } from '../../src/block/index.js';
import { CliProcess } from '../support/cli-process.js';
import { Initiator } from '../support/initiator.js';
import { ConnectionClosed } from '../support/pdu-socket.js';
import { temporaryFolder } from '../support/temporary.js';

const TARGET = 'iqn.2026-01.example.test:served';
const CUTS = Number(process.env.RISER_POWER_CUTS ?? 12);
const INITIATORS = 3;
const REGISTER_AND_IGNORE = 6;
const RESERVE = 1;
const RELEASE = 2;
const WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5;
const APTPL = 1;
/** Each initiator's keys begin with its number. */
const KEYS_EACH = 1n << 32n;

/** What one initiator has: the key, and for the first whether it holds the reservation. */
interface Known {
  key: bigint;
  holds: boolean;
}

/** What was acknowledged, and what may have taken its place. */
interface Expected {
  acknowledged: Known;
  underWay: Known | null;
}

describe('persistent reservations and the loss of power', () => {
  const folder = temporaryFolder();

  test(
    `kill -9, ${CUTS} times`,
    { skip: process.platform === 'win32' && 'Windows has no SIGKILL' },
    async () => {
      const image = join(folder, 'disk.img');
      await createImage(image, 1 << 20);
      const all: Expected[] = Array.from({ length: INITIATORS }, () => ({
        acknowledged: { key: 0n, holds: false },
        underWay: null,
      }));
      let changes = 0;
      for (let cut = 0; cut <= CUTS; cut++) {
        const riser = new CliProcess([
          'serve',
          image,
          '--portal',
          '127.0.0.1:0',
          '--name',
          TARGET,
          '--json-logs',
        ]);
        const initiators = await Promise.all(all.map((_, i) => login(riser, i)));
        const found = await read(initiators[0]!);
        all.forEach((expected, i) => settle(expected, found, i));
        if (cut === CUTS) {
          await riser.stop();
          break;
        }
        const changing = initiators.map(async (initiator, i) => {
          await assert.rejects(
            change(initiator, i, all[i]!, () => changes++),
            ConnectionClosed,
          );
        });
        await delay(randomInt(60));
        await riser.stop('SIGKILL');
        await Promise.all(changing);
      }
      assert.ok(changes > CUTS, `${changes} changes in ${CUTS} rounds`);
    },
  );
});

function login(riser: CliProcess, number: number): Promise<Initiator> {
  const isid = Buffer.from([0x80, 0, 0, 0, 0, number]);
  return riser.port().then((port) => Initiator.login({ port, targetName: TARGET, isid }));
}

/** Another key, and every other time a reservation comes or goes, until the connection breaks. */
async function change(
  initiator: Initiator,
  number: number,
  expected: Expected,
  done: () => void,
): Promise<never> {
  for (let i = 0; ; i++) {
    const { key, holds } = expected.acknowledged;
    const changesKey = number > 0 || i % 2 === 0 || key === 0n;
    expected.underWay = changesKey
      ? { key: key === 0n ? BigInt(number + 1) * KEYS_EACH : key + 1n, holds }
      : { key, holds: !holds };
    const action = changesKey ? REGISTER_AND_IGNORE : holds ? RELEASE : RESERVE;
    const list = Buffer.alloc(24);
    list.writeBigUInt64BE(key, 0);
    list.writeBigUInt64BE(expected.underWay.key, 8);
    list[20] = APTPL;
    const type = changesKey ? 0 : WRITE_EXCLUSIVE_REGISTRANTS_ONLY;
    const cdb = Buffer.from([0x5f, action, type, 0, 0, 0, 0, 0, list.length, 0]);
    await good(initiator, cdb, { dataOut: list });
    expected.acknowledged = expected.underWay;
    expected.underWay = null;
    done();
  }
}

/** A command that may have to hear of what others did first. */
async function good(
  initiator: Initiator,
  cdb: Buffer,
  options: { dataIn?: number; dataOut?: Buffer },
): Promise<Buffer> {
  for (;;) {
    const { status, sense, data } = await initiator.command(0, cdb, options);
    const isUnitAttention = status === 2 && (sense[2]! & 0x0f) === 6;
    if (isUnitAttention) continue;
    assert.equal(status, 0, `status ${status} of ${cdb.toString('hex')}, sense ${sense.toString('hex')}`);
    return data;
  }
}

async function read(initiator: Initiator): Promise<{ keys: bigint[]; holder: bigint | null }> {
  const ask = (action: number) =>
    good(initiator, Buffer.from([0x5e, action, 0, 0, 0, 0, 0, 0x10, 0, 0]), { dataIn: 4096 });
  const keys: bigint[] = [];
  const list = await ask(0);
  for (let at = 8; at < list.length; at += 8) keys.push(list.readBigUInt64BE(at));
  const reservation = await ask(1);
  return { keys, holder: reservation.length === 8 ? null : reservation.readBigUInt64BE(8) };
}

/** What was found has to be what was acknowledged, or what was under way. */
function settle(expected: Expected, found: { keys: bigint[]; holder: bigint | null }, number: number): void {
  const own = found.keys.filter((key) => key / KEYS_EACH === BigInt(number + 1));
  assert.ok(own.length <= 1, `keys ${own.join(', ')} of initiator ${number}`);
  const key = own[0] ?? 0n;
  const now: Known = { key, holds: key !== 0n && found.holder === key };
  const possible = [expected.acknowledged, ...(expected.underWay === null ? [] : [expected.underWay])];
  const isExpected = possible.some((known) => known.key === now.key && known.holds === now.holds);
  assert.ok(
    isExpected,
    `initiator ${number} has ${describeKnown(now)}, not ${possible.map(describeKnown).join(' or ')}`,
  );
  expected.acknowledged = now;
  expected.underWay = null;
}

function describeKnown({ key, holds }: Known): string {
  return `key ${key.toString(16)}${holds ? ' and the reservation' : ''}`;
}
