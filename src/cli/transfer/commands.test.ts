/** `riser read`, `write`, `copy` and `compare` as processes against a target: as a user has them. */

import assert from 'node:assert/strict';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { after, before, describe, test } from 'node:test';

import { pattern } from '../../../test/contract/block-io.js';
import { CliProcess, type Outcome } from '../../../test/support/cli-process.js';
import { TestTarget } from '../../../test/support/target.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { VolatileDevice } from '../../../test/support/volatile-device.js';
import { MemoryDevice } from '../../block/index.js';
import { Interruption } from '../interruption.js';
import { type CopyFlags, runCopy } from './copy.js';
import { readJournal } from './journal.js';

const MIB = 1 << 20;
const SIZE = 24 * MIB;
/** Slow enough that a copy takes its seconds, and can be met half-way. */
const SLOW = { delayMs: 60 };
/** One after the other, so that slow means slow. */
const ONE = ['--depth', '1'];

const folder = temporaryFolder();
const file = (name: string): string => join(folder, name);
const run = (...args: string[]): Promise<Outcome> => new CliProcess(args).ended();
/** A shell's redirections around `riser`; `"$@"` stands for it. */
const shell = (script: string, args: string[]): CliProcess =>
  new CliProcess(args, { wrapper: ['bash', '-c', script, 'bash'] });

/** A disk's content: data, a hole, data. */
function content(size = SIZE, seed = 1): Buffer {
  const bytes = Buffer.alloc(size);
  pattern(5 * MIB + 4096, seed).copy(bytes, 0);
  pattern(3 * MIB, seed + 1).copy(bytes, size - 3 * MIB);
  return bytes;
}

/** The same as a file with holes. */
function writeSparse(name: string, bytes: Buffer): string {
  const path = file(name);
  writeFileSync(path, bytes.subarray(0, 5 * MIB + 4096));
  truncateSync(path, bytes.length - 3 * MIB);
  writeFileSync(path, bytes.subarray(bytes.length - 3 * MIB), { flag: 'a' });
  return path;
}

/** What `--json` printed. */
const json = ({ stdout }: Outcome): Record<string, unknown> => JSON.parse(stdout) as Record<string, unknown>;
const ended = ({ exitCode, stderr }: Outcome): string => `${exitCode} ${stderr}`;

describe('copy and compare', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([
      { device: new MemoryDevice({ size: SIZE + MIB }) },
      { device: new MemoryDevice({ size: SIZE, blockSize: 4096 }) },
      { device: new MemoryDevice({ size: MIB }) },
    ]);
  });
  after(() => target.close());

  test('a file to a LUN that has other data, to another LUN, to a file: equal, with its holes', async () => {
    const bytes = content();
    const source = writeSparse('source.img', bytes);
    const old = file('old.img');
    writeFileSync(old, pattern(SIZE, 9));
    assert.equal((await run('copy', old, target.url(0), '--quiet')).exitCode, 0);

    const first = await run('copy', source, target.url(0), '--verify', '--json');
    assert.equal(first.exitCode, 0, first.stderr);
    assert.match(first.stderr, /overwriting 24 MiB/);
    assert.match(first.stderr, /the last 1 MiB of .* stay as they are/);
    const { size, data, holes, verified, resumedAt, interruptedBy } = json(first);
    const expected = { size: SIZE, data: 8 * MIB + 4096, holes: 16 * MIB - 4096 };
    assert.deepEqual({ size, data, holes }, expected);
    assert.deepEqual(
      { verified, resumedAt, interruptedBy },
      { verified: true, resumedAt: 0, interruptedBy: null },
    );

    const blank = await run('copy', source, target.url(1));
    assert.equal(ended(blank), '0 ');
    assert.match(blank.stdout, /^8 MiB of data and 16 MiB of holes copied in /);

    const back = file('back.img');
    assert.equal(ended(await run('copy', target.url(1), back, '-q')), '0 ');
    assert.ok(readFileSync(back).equals(bytes));
    assert.ok(statSync(back).blocks * 512 < 12 * MIB, 'holes are holes');
    assert.equal(existsSync(`${back}.riser-copy`), false, 'nothing is left of the journal');
  });

  test('compare finds a flipped byte', async () => {
    const bytes = content();
    const a = writeSparse('a.img', bytes);
    assert.equal((await run('copy', a, target.url(1), '-q')).exitCode, 0);
    assert.equal(ended(await run('compare', a, target.url(1))), '0 ');
    bytes[7_654_321]! ^= 1;
    const b = file('b.img');
    writeFileSync(b, bytes);
    const different = await run('compare', target.url(1), b);
    assert.equal(different.exitCode, 1);
    assert.equal(different.stdout, 'different: the first byte at 7654321; 1 bytes in 1 blocks of 4096\n');
    assert.deepEqual(json(await run('compare', a, b, '--json')), {
      equal: false,
      compared: SIZE,
      sizes: { a: SIZE, b: SIZE },
      paths: { a: null, b: null },
      firstDifference: 7_654_321,
      differentBytes: 1,
      differentBlocks: 1,
      blockSize: 512,
    });
    const sizes = await run('compare', a, target.url(2));
    assert.deepEqual(
      [sizes.exitCode, sizes.stdout.includes('different sizes: 25165824 and 1048576 bytes')],
      [1, true],
    );
  });

  test('compare exits with 2 when it cannot tell', async () => {
    assert.match(
      ended(await run('compare', file('missing.img'), target.url(0))),
      /^2 error: .*does not exist/,
    );
    assert.match(ended(await run('compare', target.url(7), target.url(0))), /^2 error: .*no such LUN/);
  });

  test('what must not be is refused before anything is written', async () => {
    const source = writeSparse('refused.img', content());
    const odd = file('odd.img');
    writeFileSync(odd, Buffer.alloc(MIB + 100));
    const full = file('full.img');
    writeFileSync(full, pattern(SIZE, 3));
    const flags = { depth: 4, quiet: true };
    const cases: [string, string, Partial<CopyFlags>, string, RegExp][] = [
      [source, target.url(2), {}, 'TOO_SMALL', /1048576 bytes, and .* 25165824: it does not fit/],
      [source, full, {}, 'EXISTS', /exists, and has data in it/],
      [source, source, {}, 'USAGE', /source and destination are the same/],
      [target.url(0), target.url(0), {}, 'USAGE', /source and destination are the same/],
      [odd, target.url(0), {}, 'USAGE', /1048676 bytes, which is no whole number of 512-byte blocks/],
      [source, 'ftp://127.0.0.1/disk', {}, 'USAGE', /no ftp:\/\/ devices/],
      [source, target.url(0), { resume: true }, 'USAGE', /--journal FILE/],
      [source, full, { resume: true }, 'JOURNAL', /there is no .*full\.img\.riser-copy/],
      [source, full, { resume: true, overwrite: true }, 'USAGE', /choose/],
      [file('missing.img'), file('new.img'), {}, 'IMAGE_MISSING', /missing\.img does not exist/],
    ];
    const interruption = new Interruption();
    for (const [from, to, more, code, message] of cases) {
      const copied = runCopy(from, to, { ...flags, ...more }, interruption);
      await assert.rejects(copied, { code, message }, `${from} ${to}`);
    }
    interruption.dispose();
    assert.ok(readFileSync(full).equals(pattern(SIZE, 3)));
    assert.equal(existsSync(file('new.img')), false);
    assert.equal(ended(await run('copy', source, full, '--overwrite', '--verify', '-q')), '0 ');
    assert.ok(readFileSync(full).equals(content()));
  });
});

describe('a copy that is interrupted', () => {
  test('by a signal, stops in order, says how to go on, and goes on', async () => {
    const device = new VolatileDevice(SIZE, SLOW);
    const bytes = pattern(SIZE, 4);
    device.fill(bytes);
    const target = await TestTarget.start([{ device }]);
    try {
      const destination = file('interrupted.img');
      const journal = `${destination}.riser-copy`;
      const copy = new CliProcess(['copy', target.url(0), destination, '--json', ...ONE]);
      const position = await positionAbove(0, journal, copy);
      const stopped = await copy.stop('SIGINT');
      const { exitCode, stderr } = stopped;
      assert.equal(exitCode, 130, stderr);
      assert.match(stderr, /interrupted at .* of 24 MiB: the same command with --resume goes on/);
      assert.equal(json(stopped)['interruptedBy'], 'SIGINT');
      const noted = (await readJournal(journal))!.position;
      assert.ok(noted >= position && noted < SIZE);
      assert.ok(readFileSync(destination).subarray(0, noted).equals(bytes.subarray(0, noted)));

      const again = await run('copy', target.url(0), destination);
      assert.match(ended(again), /^1 error: .*a copy was interrupted\n.*--resume/);
      const resumed = await run('copy', target.url(0), destination, '--resume', '--verify', '--json');
      assert.equal(resumed.exitCode, 0, resumed.stderr);
      assert.deepEqual(json(resumed)['resumedAt'], noted);
      assert.ok(readFileSync(destination).equals(bytes));
      assert.equal(existsSync(journal), false);
    } finally {
      await target.close();
    }
  });

  test('by SIGKILL again and again, while the target loses its power, skips nothing', async () => {
    // A tenth of a second a MiB: far longer than it takes until it has been killed twice.
    const size = 64 * MIB;
    const bytes = pattern(size, 6);
    bytes.fill(0, 20 * MIB, 22 * MIB + 4096);
    const source = file('killed.img');
    writeFileSync(source, bytes);
    const device = new VolatileDevice(size, { delayMs: 100 });
    device.fill(pattern(size, 8));
    const target = await TestTarget.start([{ device }]);
    const journal = file('killed.journal');
    const args = ['copy', source, target.url(0), '--journal', journal, '-q', '--json'];
    try {
      let position = 0;
      for (let kills = 0; kills < 2; kills++) {
        const copy = new CliProcess([...args, ...ONE, ...(kills === 0 ? [] : ['--resume'])]);
        await positionAbove(position, journal, copy);
        await delay(Math.random() * 500);
        await copy.stop('SIGKILL');
        position = (await readJournal(journal))?.position ?? position;
        device.losePower();
      }
      const last = await run(...args, '--resume', '--verify');
      assert.equal(last.exitCode, 0, last.stderr);
      assert.equal(json(last)['resumedAt'], position);
      assert.ok(device.content().equals(bytes));
    } finally {
      await target.close();
    }
  });

  test('is not resumed onto or from something else', async () => {
    const device = new VolatileDevice(SIZE, SLOW);
    const target = await TestTarget.start([{ device }, { device: new MemoryDevice({ size: SIZE }) }]);
    try {
      const source = file('changed.img');
      writeFileSync(source, pattern(SIZE, 4));
      const journal = file('changed.journal');
      const args = ['copy', source, target.url(0), '--journal', journal, '-q', ...ONE];
      const copy = new CliProcess(args);
      await positionAbove(0, journal, copy);
      assert.equal((await copy.stop('SIGTERM')).exitCode, 143);
      const { changes } = device;

      const elsewhere = args.with(2, target.url(1));
      assert.match(
        ended(await run(...elsewhere, '--resume')),
        /^1 error: the destination is not what it was/,
      );
      writeFileSync(source, pattern(SIZE, 5));
      assert.match(
        ended(await run(...args, '--resume')),
        /^1 error: the source is not what it was.*written to/,
      );
      truncateSync(source, SIZE - 512);
      assert.match(ended(await run(...args, '--resume')), /^1 error: the source is not what it was/);
      writeFileSync(journal, 'something else');
      assert.match(ended(await run(...args, '--resume')), /^1 error: .*no journal of a copy/);
      assert.equal(device.changes, changes, 'nothing was written');
    } finally {
      await target.close();
    }
  });

  /** Wait until the journal says more than `position`; fails when the copy ends before that. */
  async function positionAbove(position: number, journal: string, copy: CliProcess): Promise<number> {
    for (;;) {
      const at = (await readJournal(journal))?.position ?? 0;
      if (at > position) return at;
      if (copy.child.exitCode !== null) throw new Error(`it ended too early: ${ended(await copy.ended())}`);
      await delay(20);
    }
  }
});

describe('read and write', () => {
  let target: TestTarget;
  before(async () => {
    target = await TestTarget.start([{ device: new MemoryDevice({ size: 4 * MIB }) }]);
  });
  after(() => target.close());

  test('what is written from a pipe is read into a file, at any place', async () => {
    const input = pattern(2_000_003, 1);
    const write = new CliProcess(['write', target.url(0), '--offset', '1001', '--json']);
    write.child.stdin.end(input);
    const written = await write.ended();
    assert.equal(written.exitCode, 0, written.stderr);
    assert.deepEqual(json(written), { offset: 1001, bytes: input.length, paths: 1, interruptedBy: null });
    const output = file('read');
    const args = ['read', target.url(0), '--offset', '1001', '--length', `${input.length}`];
    assert.equal(ended(await shell(`"$@" > ${output}`, args).ended()), '0 ');
    assert.ok(readFileSync(output).equals(input));
    assert.equal(ended(await shell(`"$@" | cat > ${output}`, args).ended()), '0 ');
    assert.ok(readFileSync(output).equals(input));
  });

  test('a reader that has enough is no failure', async () => {
    const { stdout, stderr } = await shell(
      'set -o pipefail; "$@" | head -c 3 > /dev/null; echo ${PIPESTATUS[0]}',
      ['read', target.url(0)],
    ).ended();
    assert.deepEqual([stdout, stderr], ['0\n', '']);
  });

  test('more than fits is refused: a file before anything is written, a pipe when it comes', async () => {
    const large = file('large');
    writeFileSync(large, pattern(4 * MIB, 2));
    const tooLong = await shell(`"$@" < ${large}`, ['write', target.url(0), '--offset', '512']).ended();
    assert.match(ended(tooLong), /^1 error: .* nothing was written\n/);
    const piped = await shell(`cat ${large} | "$@"`, ['write', target.url(0), '--length', '1M']).ended();
    assert.match(ended(piped), /^1 error: there are more than the 1048576 bytes that fit/);
  });
});
