import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { type BlockDevice, type BlockIo, BlockStatus } from '../../block/index.js';
import { Rounds, type RoundsPlan, type RunWatcher, type Subject } from './rounds.js';

const SIZE = 1 << 20;
const NOWHERE = { processes: null, reason: 'there is none' } as const;

const plan = (over: Partial<RoundsPlan> = {}): RoundsPlan => ({
  load: { blockSize: 4096, depth: 2, isRandom: true, readPercent: 50, sharesMemory: true },
  rounds: 2,
  seconds: 0.05,
  rampSeconds: 0,
  ...over,
});

/** Notes `name` each time another device than the one before is used. */
function subject(
  name: string,
  order: string[],
  device: BlockDevice = new VolatileDevice(SIZE, { delayMs: 1 }),
) {
  const noting = Object.create(device, {
    size: { value: SIZE },
    submit: {
      value: (io: BlockIo) => {
        if (order.at(-1) !== name) order.push(name);
        return device.submit(io);
      },
    },
  }) as BlockDevice;
  return { devices: [noting], findTarget: () => Promise.resolve(NOWHERE) } satisfies Subject;
}

function watcher(log: string[] = []): RunWatcher {
  return {
    begin: (index, round) => {
      log.push(`begin ${index} ${round}`);
      return Promise.resolve();
    },
    end: (index, run) => void log.push(`end ${index} ${run?.round ?? 'none'}`),
    failed: (index) => void log.push(`failed ${index}`),
  };
}

describe('the runs of a comparison', () => {
  test('alternate', async () => {
    const order: string[] = [];
    const log: string[] = [];
    const rounds = new Rounds([subject('A', order), subject('B', order), subject('C', order)], plan());
    await rounds.run(watcher(log));
    assert.equal(order.join(''), 'ABCABC');
    const runs = [1, 2].flatMap((round) =>
      [0, 1, 2].flatMap((i) => [`begin ${i} ${round}`, `end ${i} ${round}`]),
    );
    assert.deepEqual(log, runs);
    for (const i of [0, 1, 2]) {
      assert.deepEqual(
        rounds.runsOf(i).map(({ round, isWhole }) => [round, isWhole]),
        [
          [1, true],
          [2, true],
        ],
      );
    }
  });

  test('each comes after a warm-up that does not count, and all after one of all', async () => {
    const order: string[] = [];
    const log: string[] = [];
    const rounds = new Rounds(
      [subject('A', order), subject('B', order)],
      plan({ rounds: 1, rampSeconds: 0.05 }),
    );
    await rounds.run({
      ...watcher(log),
      begin: (index) => Promise.resolve(void order.push(`begin ${index}`)),
    });
    assert.deepEqual(order, ['A', 'B', 'A', 'begin 0', 'A', 'B', 'begin 1', 'B']);
    assert.deepEqual(log, ['end 0 1', 'end 1 1']);
  });

  test('tell numbers that fit each other', async () => {
    const rounds = new Rounds([subject('A', [])], plan({ rounds: 1, seconds: 0.2 }));
    await rounds.run(watcher());
    const [run] = rounds.runsOf(0);
    const { count, seconds, iops, reads, writes, latencyUs, cpuUs, copiedBytes, target } = run!;
    assert.equal(count, reads!.count + writes!.count);
    assert.ok(Math.abs(iops * seconds - count) < 1e-6 * count);
    assert.equal(latencyUs!.minimum, Math.min(reads!.latencyUs.minimum, writes!.latencyUs.minimum));
    assert.equal(latencyUs!.maximum, Math.max(reads!.latencyUs.maximum, writes!.latencyUs.maximum));
    const mean = (reads!.count * reads!.latencyUs.mean + writes!.count * writes!.latencyUs.mean) / count;
    assert.ok(Math.abs(latencyUs!.mean - mean) < 0.01 * mean);
    assert.ok(cpuUs.initiator! > 0);
    // The device copies each block, and nothing else is copied.
    assert.ok(copiedBytes! > 2048 && copiedBytes! <= 4096);
    assert.deepEqual([cpuUs.target, target], [null, NOWHERE]);
  });

  test('have the time of a target that can be seen, per I/O', async () => {
    // Any other process will do, and its time does not go backwards.
    const processes = [{ pid: process.ppid, name: 'parent' }];
    const found = { processes, reason: null };
    const seen = { ...subject('A', []), findTarget: () => Promise.resolve(found) };
    const rounds = new Rounds([seen], plan({ rounds: 1 }));
    await rounds.run(watcher());
    const { cpuUs, target } = rounds.runsOf(0)[0]!;
    assert.equal(target, found);
    if (process.platform === 'linux') assert.ok(cpuUs.target! >= 0);
    else assert.equal(cpuUs.target, null);
  });

  test('stopped, what is whole counts, and what is not only where nothing else is there', async () => {
    const order: string[] = [];
    const subjects = [subject('A', order), subject('B', order), subject('C', order)];
    const rounds = new Rounds(subjects, plan({ rounds: 9, seconds: 0.3 }));
    const begun = watcher();
    await rounds.run({
      ...begun,
      begin: async (index, round, load) => {
        await begun.begin(index, round, load);
        if (index === 1) setTimeout(() => rounds.stop(), 100);
      },
    });
    assert.equal(order.join(''), 'AB');
    assert.deepEqual(
      [0, 1, 2].map((i) => rounds.runsOf(i).map(({ round, isWhole }) => ({ round, isWhole }))),
      [[{ round: 1, isWhole: true }], [{ round: 1, isWhole: false }], []],
    );
    assert.ok(rounds.runsOf(1)[0]!.seconds < 0.3);
  });

  test('stopped before they begin, they do not', async () => {
    const order: string[] = [];
    const rounds = new Rounds([subject('A', order)], plan({ rampSeconds: 60 }));
    rounds.stop();
    await rounds.run(watcher(order));
    assert.deepEqual([order, rounds.runsOf(0)], [[], []]);
  });

  test('end with the first failure, which tells where it was', async () => {
    const disk = new VolatileDevice(SIZE);
    const failing: BlockDevice = Object.create(disk, {
      size: { value: SIZE },
      submit: { value: (io: BlockIo) => io.fail(BlockStatus.MEDIUM_ERROR, io.offset) },
    }) as BlockDevice;
    const log: string[] = [];
    const rounds = new Rounds([subject('A', []), subject('B', [], failing)], plan());
    await assert.rejects(rounds.run(watcher(log)), { code: 'MEDIUM_ERROR' });
    assert.deepEqual(log, ['begin 0 1', 'end 0 1', 'begin 1 1', 'end 1 none', 'failed 1']);
  });
});
