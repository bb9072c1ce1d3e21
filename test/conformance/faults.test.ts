/**
 * A verified workload through a bad network, with a target that is killed and started again: what was
 * acknowledged and flushed is there, what is read is right, everything ends, and every error is reported.
 *
 * `RISER_FAULT_MINUTES=5` runs it for five minutes instead of about ten seconds; `RISER_FAULT_SEED` chooses the
 * faults. What happened is printed at the end.
 */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { createImage } from '../../src/block/index.js';
import { connect, type Lun } from '../../src/initiator/index.js';
import { RiserError } from '../../src/util/errors.js';
import { CliProcess } from '../support/cli-process.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { freePort } from '../support/free-port.js';
import { randomFrom } from '../support/random.js';
import { temporaryFolder } from '../support/temporary.js';

const MINUTES = Number(process.env['RISER_FAULT_MINUTES'] ?? 0);
const SEED = Number(process.env['RISER_FAULT_SEED'] ?? 1);
const RUN_MS = MINUTES > 0 ? MINUTES * 60_000 : 8_000;
const KILL_EVERY_MS = MINUTES > 0 ? 20_000 : 4_000;
const TARGET = 'iqn.2026-01.example.test:target';
const WORKERS = 8;
/** Blocks of each worker, which nobody else writes. */
const SLOTS = 16;
const BLOCK = 4096;
const LARGEST = 16;
const AREA = SLOTS * LARGEST * BLOCK;

/** A block that tells whose it is, where it belongs and which writing it is of. */
function stamp(block: Buffer, offset: number, version: number): void {
  const random = randomFrom(offset * 31 + version);
  block.writeDoubleBE(offset, 0);
  block.writeUInt32BE(version, 8);
  for (let at = 12; at < block.length; at += 4) block.writeUInt32BE(Math.floor(random() * 0x1_0000_0000), at);
}

function stamped(offset: number, blocks: number, version: number): Buffer {
  const data = Buffer.alloc(blocks * BLOCK);
  if (version === 0) return data;
  for (let at = 0; at < data.length; at += BLOCK) stamp(data.subarray(at, at + BLOCK), offset + at, version);
  return data;
}

/** A target process that is killed now and then, always on the same image and port. */
class MortalTarget {
  deaths = 0;
  readonly #args: readonly string[];
  #process: CliProcess;

  constructor(args: readonly string[]) {
    this.#args = args;
    this.#process = new CliProcess(args);
  }

  async ready(): Promise<void> {
    await this.#process.port();
  }

  async dieAndRise(): Promise<void> {
    this.deaths++;
    await this.#process.stop('SIGKILL');
    this.#process = new CliProcess(this.#args);
    await this.ready();
  }

  async stop(): Promise<void> {
    await this.#process.stop('SIGKILL');
  }
}

test(
  'a verified workload loses nothing, whatever happens on the way',
  { timeout: RUN_MS + 120_000 },
  async () => {
    const image = join(temporaryFolder(), 'disk.img');
    await createImage(image, WORKERS * AREA);
    const port = await freePort();
    const target = new MortalTarget([
      'serve',
      image,
      '--portal',
      `127.0.0.1:${port}`,
      '--name',
      TARGET,
      '--json-logs',
    ]);
    await target.ready();
    const proxy = await FaultProxy.start({ seed: SEED, targetPort: () => port, lifeMs: 700 });
    proxy.isFaulty = false;
    const lun = await connect(`iscsi://127.0.0.1:${proxy.port}/${TARGET}/0`, {
      limits: {
        connectTimeoutMs: 2000,
        loginTimeoutMs: 2000,
        keepaliveIntervalMs: 500,
        keepaliveTimeoutMs: 500,
        longestPauseMs: 500,
        recoveryTimeoutMs: 30_000,
      },
    });
    const counts = { writes: 0, reads: 0, flushes: 0, errors: 0 };
    proxy.isFaulty = true;

    const until = performance.now() + RUN_MS;
    const isOver = (): boolean => performance.now() >= until;
    const state = { isOver, counts, lun };
    const killing = (async () => {
      while (!isOver()) {
        await new Promise((resolve) =>
          setTimeout(resolve, Math.min(KILL_EVERY_MS, until - performance.now())),
        );
        if (!isOver()) await target.dieAndRise();
      }
    })();
    const workers = Array.from({ length: WORKERS }, (_, worker) => work(state, worker));
    await Promise.all(workers.map(({ finished }) => finished));
    await killing;

    proxy.isFaulty = false;
    await target.dieAndRise();
    await Promise.all(workers.map(({ verify }) => verify()));
    console.log(`seed ${SEED}`, { ...counts, ...proxy.counts, targetDeaths: target.deaths });
    await lun.close();
    await proxy.close();
    await target.stop();
    assert.ok(
      proxy.counts.connections > 3 && counts.writes > 50,
      'there was hardly a fault, or hardly a write',
    );
    assert.ok(counts.errors < counts.writes / 10, `${counts.errors} errors`);
  },
);

interface State {
  isOver: () => boolean;
  counts: { writes: number; reads: number; flushes: number; errors: number };
  lun: Lun;
}

/** Writes, flushes and reads an area of its own until the time is over. */
function work(
  { isOver, counts, lun }: State,
  worker: number,
): { finished: Promise<void>; verify: () => Promise<void> } {
  const random = randomFrom(SEED * 1000 + worker);
  /** For each slot, the versions that it may have: the one that was acknowledged, and those that were reported as failed. */
  const slots = Array.from({ length: SLOTS }, (_, i) => ({
    offset: worker * AREA + i * LARGEST * BLOCK,
    blocks: 1 + Math.floor(random() ** 3 * LARGEST),
    versions: [0],
  }));
  type Slot = (typeof slots)[number];
  let version = 0;

  const failed = (error: unknown): void => {
    // A verification that fails is no error of the network.
    if (!(error instanceof RiserError)) throw error;
    counts.errors++;
  };

  async function check(slot: Slot): Promise<void> {
    const { offset, blocks, versions } = slot;
    const data = await lun.read(offset, blocks * BLOCK);
    counts.reads++;
    for (let i = 0; i < blocks; i++) {
      const at = offset + i * BLOCK;
      const block = data.subarray(i * BLOCK, (i + 1) * BLOCK);
      assert.ok(
        versions.some((one) => stamped(at, 1, one).equals(block)),
        `block at ${at} has version ${block.readUInt32BE(8)} of ${block.readDoubleBE(0)} instead of ${versions.join(' or ')}`,
      );
    }
  }

  async function write(slot: Slot): Promise<void> {
    const mine = ++version;
    try {
      await lun.write(slot.offset, stamped(slot.offset, slot.blocks, mine));
      counts.writes++;
      slot.versions = [mine];
    } catch (error) {
      slot.versions.push(mine);
      failed(error);
    }
  }

  async function run(): Promise<void> {
    while (!isOver()) {
      const slot = slots[Math.floor(random() * SLOTS)]!;
      const dice = random();
      try {
        if (dice < 0.5) await write(slot);
        else if (dice < 0.9) await check(slot);
        else {
          await lun.flush();
          counts.flushes++;
        }
      } catch (error) {
        failed(error);
      }
    }
  }

  return {
    finished: run(),
    verify: async () => {
      for (const slot of slots) await check(slot);
    },
  };
}
