/** `riser bench URL URL` as a process against two LUNs of one target. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { CliProcess, type Outcome } from '../../../test/support/cli-process.js';
import { TARGET_NAME, TestTarget } from '../../../test/support/target.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { elementsOf, parseXml } from '../../../test/support/xml.js';
import { MemoryDevice } from '../../block/index.js';
import type { Comparison } from './summary.js';

const MIB = 1 << 20;
const SHORT = ['--seconds', '0.2', '--ramp-time', '0', '--rounds', '1'];
const folder = temporaryFolder();

const bench = (...args: string[]): Promise<Outcome> => new CliProcess(['bench', ...args]).ended();

let target: TestTarget;
let urls: [string, string];
before(async () => {
  target = await TestTarget.start([
    { device: new MemoryDevice({ size: 8 * MIB }) },
    { device: new MemoryDevice({ size: 4 * MIB, blockSize: 4096 }) },
  ]);
  urls = [target.url(0), target.url(1)];
});
after(() => target.close());

describe('riser bench of several URLs', () => {
  test('compares: all rounds as JSON, and a picture', async () => {
    const svg = join(folder, 'comparison.svg');
    writeFileSync(svg, 'an older one');
    const load = ['--block-size', '8K', '--depth', '4', '--sessions', '2', '--read-percent', '50'];
    const times = ['--seconds', '0.2', '--ramp-time', '1', '--rounds', '2'];
    const { exitCode, stdout, stderr } = await bench(
      ...[...urls, ...load, '--destroy-data', ...times, '--json', '--svg', svg],
    );
    assert.equal(exitCode, 0, stderr);
    const order = [...stderr.matchAll(/^round (\d) of 2, ([AB]): \d+ IOPS$/gm)].map(([, round, letter]) => [
      round,
      letter,
    ]);
    assert.deepEqual(order, [
      ['1', 'A'],
      ['1', 'B'],
      ['2', 'A'],
      ['2', 'B'],
    ]);
    assert.match(stderr, /^2 URLs, 2 rounds: about 7 s$/m);
    const { date, subjects, ...rest } = JSON.parse(stdout) as Comparison;
    assert.ok(Math.abs(Date.now() - Date.parse(date)) < 600_000);
    assert.deepEqual(rest, {
      blockSize: 8192,
      depth: 4,
      order: 'random',
      readPercent: 50,
      sessions: 2,
      rounds: 2,
      seconds: 0.2,
      rampSeconds: 1,
      isSameLun: false,
      interruptedBy: null,
    });
    assert.deepEqual(
      subjects.map(({ letter, url, transport, lun: { size, blockSize }, paths }) => {
        return { letter, url, transport, size, blockSize, paths };
      }),
      [
        { letter: 'A', url: urls[0], transport: 'tcp', size: 8 * MIB, blockSize: 512, paths: 1 },
        { letter: 'B', url: urls[1], transport: 'tcp', size: 4 * MIB, blockSize: 4096, paths: 1 },
      ],
    );
    assert.notEqual(subjects[0]!.lun.name, subjects[1]!.lun.name);
    assert.equal(subjects[0]!.ratio, 1);
    for (const { runs, summary, target: processes } of subjects) {
      assert.deepEqual(
        runs.map(({ round, isWhole }) => [round, isWhole]),
        [
          [1, true],
          [2, true],
        ],
      );
      const iops = runs.map((run) => run.iops);
      assert.deepEqual(
        [summary.iops!.minimum, summary.iops!.maximum],
        [Math.min(...iops), Math.max(...iops)],
      );
      assert.ok(Math.abs(summary.iops!.median - (iops[0]! + iops[1]!) / 2) < 1e-6 * iops[0]!);
      assert.ok(runs.every(({ reads, writes }) => reads!.count > 0 && writes!.count > 0));
      assert.ok(summary.initiatorCpuUs!.minimum > 0);
      if (process.platform === 'linux') {
        assert.deepEqual(processes, { processes: [{ pid: process.pid, name: 'node' }], reason: null });
        assert.ok(summary.targetCpuUs!.minimum >= 0);
      } else assert.equal(summary.targetCpuUs, null);
    }
    const picture = parseXml(readFileSync(svg, 'utf8'));
    const bars = elementsOf(picture, 'rect').filter(({ attributes }) => 'data-metric' in attributes);
    assert.equal(bars.length, process.platform === 'linux' ? 18 : 16);
    assert.match(picture.text, /random reads \(50 %\) and writes \(50 %\) of 8 KiB/);
  });

  test('prints a table, and knows one LUN by two URLs', async () => {
    const again = urls[0].replace('127.0.0.1', 'localhost');
    const { exitCode, stdout, stderr } = await bench(urls[0], again, ...SHORT, '--sequential', '--quiet');
    assert.equal(exitCode, 0, stderr);
    assert.equal(stderr, '');
    const [head, ...lines] = stdout.split('\n');
    assert.match(head!, /^ +TRANSPORT +IOPS /);
    assert.match(lines[0]!, /^A +TCP +\d+ +\d+ +\d+ +1\.00 +[\d.]+ +[\d.]+ [um]s /);
    assert.match(lines[1]!, /^B +TCP +\d+ +\d+ +\d+ +\d+\.\d\d +[\d.]+ +[\d.]+ [um]s /);
    assert.match(
      stdout,
      /\nsequential reads of 4 KiB, 32 in flight in 1 session; medians of 1 run of 0\.2 s\./,
    );
    assert.doesNotMatch(stdout, /different LUNs|Whether it is one LUN/);
  });

  test('refuses what cannot be before anything is loaded', async () => {
    const svg = join(folder, 'never.svg');
    const unreachable = `iscsi://127.0.0.1:1/${TARGET_NAME}/0`;
    const cases: [string[], number, RegExp][] = [
      [[...urls, '--write'], 2, /^error: writing destroys what is on the LUN\n.*--destroy-data/],
      [
        [...urls, '--block-size', '512'],
        2,
        /^error: --block-size 512 is no whole number of 4096-byte blocks.*LUN 1/,
      ],
      [
        [...urls, '--block-size', '8M', '--depth', '1'],
        2,
        /^error: --block-size 8388608 is more than .* LUN 1 has/,
      ],
      [[urls[0], unreachable, '--svg', svg], 1, /^error: cannot connect to 127\.0\.0\.1 port 1/],
      [[urls[0], `iscsi://127.0.0.1:1`], 2, /^error: the URL names no LUN/],
      [Array<string>(9).fill(urls[0]), 2, /^error: 9 URLs are too many: at most 8\n?$/],
      [[urls[0], '--svg', svg], 2, /^error: --svg is for a comparison\nName two/],
      [[urls[0], '--rounds', '2'], 2, /^error: --rounds is for a comparison\nName two/],
      [[...urls, '--rounds', '0'], 2, /^error: "0" is no whole number from 1 to 100/],
      [[...urls, '--svg', folder], 1, /^error: the picture cannot be written to .*EISDIR/],
      [
        [...urls, '--svg', join(folder, 'none/x.svg')],
        1,
        /^error: the picture cannot be written to .*ENOENT/,
      ],
    ];
    for (const [args, exitCode, message] of cases) {
      const outcome = await bench(...args);
      assert.equal(outcome.exitCode, exitCode, `${args.join(' ')}: ${outcome.stderr}`);
      assert.match(outcome.stderr, message);
      assert.equal(outcome.stdout, '');
    }
    assert.equal(existsSync(svg), false);
  });

  test('a signal ends it with what is there', async () => {
    const svg = join(folder, 'interrupted.svg');
    const long = ['--seconds', '0.5', '--ramp-time', '0', '--rounds', '100', '--svg', svg];
    const running = new CliProcess(['bench', ...urls, ...long]);
    await running.noted(/^round 1 of 100, B: /m);
    const { exitCode, stdout, stderr } = await running.stop('SIGINT');
    assert.equal(exitCode, 0, stderr);
    assert.match(stderr, /\nSIGINT: stopping; once more/);
    assert.match(stdout, /\nB +TCP +\d+ /);
    assert.match(stdout, /\nSIGINT ended it early\.\n$/);
    assert.match(parseXml(readFileSync(svg, 'utf8')).text, /SIGINT ended it early/);
  });

  test('a signal before there is anything ends it without', async () => {
    const svg = join(folder, 'nothing.svg');
    const running = new CliProcess(['bench', ...urls, '--ramp-time', '100', '--svg', svg]);
    await running.noted(/^2 URLs, 3 rounds: about 14 min/m);
    const { exitCode, stdout, stderr } = await running.stop('SIGTERM');
    assert.deepEqual([exitCode, stdout, existsSync(svg)], [143, '', false], stderr);
    assert.match(stderr, /\ninterrupted before it was done\n$/);
  });
});
