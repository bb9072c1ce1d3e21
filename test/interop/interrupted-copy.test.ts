/**
 * A file system's image is copied to a LUN and back by `riser copy`, which is ended by signals at random moments
 * and resumed: with Riser's own target and with tgtd. `RISER_COPY_SEED` chooses the moments; the seed is printed.
 */

import assert from 'node:assert/strict';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { CliProcess } from '../support/cli-process.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { copyInterrupted } from '../support/interrupted-copy.js';
import { peer } from '../support/peers.js';
import { randomFrom } from '../support/random.js';
import { runToSuccess } from '../support/run-program.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';
import { temporaryFolder } from '../support/temporary.js';
import { skipTgtd, Tgtd } from '../support/tgtd.js';

const SEED = Number(process.env['RISER_COPY_SEED'] ?? randomInt(1 << 30));
const MIB = 1 << 20;
const SIZE = 64 * MIB;
/** Bytes of the files in the image, about. */
const CONTENT = 44 * MIB;
/** So that the interrupted runs, together, do not reach the end. */
const BYTES_PER_SECOND = 20 * MIB;
const LIFE_MS = [100, 700] as const;
const INTERRUPTIONS = 4;
const mkfs = peer('mkfs.ext4', 'e2fsprogs');

describe('an interrupted copy of a file system', { skip: mkfs.skip }, () => {
  const folder = temporaryFolder();
  const file = (name: string): string => join(folder, name);
  const random = randomFrom(SEED);
  const source = file('source.img');

  before(async () => {
    console.log(`seed ${SEED}`);
    mkdirSync(file('content'));
    for (let total = 0, i = 0; total < CONTENT; i++) {
      const length = Math.floor(random() ** 3 * 6 * MIB) + 1;
      writeFileSync(file(`content/${i}`), randomBytes(length));
      total += length;
    }
    await runToSuccess(mkfs.path, ['-q', '-F', '-d', file('content'), source, `${SIZE / MIB}M`]);
  });

  describe('to and from Riser', () => {
    let target: TestTarget;
    before(async () => {
      target = await TestTarget.start([{ device: new MemoryDevice({ size: SIZE }) }]);
    });
    after(() => target.close());

    test('is equal after several interruptions', () => inAndOut(target.port, `${TARGET_NAME}/0`));
  });

  describe('to and from tgtd', { skip: skipTgtd }, () => {
    const name = 'iqn.2026-01.example.test:tgt';
    let tgtd: Tgtd;
    before(async () => {
      writeFileSync(file('tgtd.img'), '');
      truncateSync(file('tgtd.img'), SIZE);
      tgtd = await Tgtd.start(folder);
      await tgtd.addTarget(1, name, [file('tgtd.img')]);
    });
    after(() => tgtd.stop());

    test('is equal after several interruptions', async () => {
      await inAndOut(tgtd.port, `${name}/1`);
      assert.ok(readFileSync(file('tgtd.img')).equals(readFileSync(source)), 'tgtd has it in its file');
    });
  });

  /** `lun`: the end of its URL. */
  async function inAndOut(port: number, lun: string): Promise<void> {
    const link = await FaultProxy.start({
      seed: SEED,
      targetPort: () => port,
      lifeMs: 60_000,
      bytesPerSecond: BYTES_PER_SECOND,
    });
    link.isFaulty = false;
    try {
      const slow = `iscsi://127.0.0.1:${link.port}/${lun}`;
      const journal = file(`${port}.journal`);
      await interrupt([source, slow, '--journal', journal], journal);
      const compare = new CliProcess(['compare', source, `iscsi://127.0.0.1:${port}/${lun}`, '-q']);
      const { exitCode, stdout, stderr } = await compare.ended();
      assert.equal(exitCode, 0, stdout + stderr);

      const back = file(`${port}.img`);
      await interrupt([slow, back], `${back}.riser-copy`);
      assert.ok(readFileSync(back).equals(readFileSync(source)));
    } finally {
      await link.close();
    }
  }

  async function interrupt(args: string[], journal: string): Promise<void> {
    const runs = await copyInterrupted([...args, '-q', '--depth', '2'], {
      journal,
      random,
      lifeMs: LIFE_MS,
      interruptions: INTERRUPTIONS,
    });
    console.log(runs.map(({ signal, position }) => `${signal} at ${position}`).join(', '));
    const within = runs.filter(({ position }) => position > 0 && position < SIZE);
    assert.ok(within.length >= 2, `seed ${SEED}: interrupted within it ${within.length} times only`);
  }
});
