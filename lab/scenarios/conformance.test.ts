/**
 * libiscsi's conformance suite, `iscsi-test-cu` of version 1.19, runs in the guest against the guest's own target,
 * LIO, and on the host against Riser, on LUNs of one kind. What LIO passes, Riser must pass.
 *
 * The suite counts a test that skipped itself as passed; here it is skipped. Riser on LUNs of other kinds, where
 * other tests skip themselves, is the subject of test/interop/libiscsi-conformance.test.ts.
 */

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import { type CUnitTest, parseCUnit, parseTestList } from '../../test/support/cunit.js';
import { runProgram } from '../../test/support/run-program.js';
import { TARGET } from '../harness/host-riser.js';
import { startLio } from '../harness/lio.js';
import { type Lab, scenario } from '../harness/scenario.js';

/** Small enough for READ(6), whose addresses end at 1 GiB: its tests skip themselves on larger LUNs. */
const SIZE = '100M';
/** LIO's LUN is thin, reads zeroes where nothing is, and has a volatile cache, as Riser's. */
const LIKE_RISER = { emulate_tpu: 1, emulate_tpws: 1, unmap_zeroes_data: 1, emulate_write_cache: 1 };

/** Seconds, for what hangs. A family takes up to 40 on 2 cores of their own. */
const FAMILY_LIMIT = 240;
const SUITE_LIMIT = 900;

/** LIO passes more of the 230 tests; with fewer it would not be the reference that it is meant to be. */
const PASSED_BY_LIO = 120;

/** Why a test may skip itself: it is for LUNs of other kinds, or runs on none. */
const NOT_FOR_THIS_LUN: readonly { tests: RegExp; reason: RegExp }[] = [
  { tests: /^(NoMedia|PreventAllow|StartStopUnit)\./, reason: /not removable/ },
  { tests: /^ReadOnly\./, reason: /not write-protected/ },
  {
    tests: /^WriteSame1[06]\.(UnmapUnaligned|InvalidDataOutSize)$|^CompareAndWrite\.InvalidDataOutSize$/,
    reason: /LBPPB < 2/,
  },
  // No medium has a key.
  { tests: /^Sanitize\.(CryptoErase|Readonly|Reservations)$/, reason: /CRYPTO_ERASE is not implemented/ },
  // No image promises what it does.
  { tests: /^WriteAtomic16\./, reason: /not (implemented|supported)/i },
  // A fault of 1.19: the test before it leaves no session.
  { tests: /^iSCSITMF\.LUNResetSimpleAsync$/, reason: /the test did nothing/ },
];

type Target = 'riser' | 'lio';

interface Result {
  outcome: CUnitTest['outcome'] | 'skipped' | 'not run';
  /** Why it did not pass. */
  reason: string;
}

/** What came of the suite on one target. */
interface Run {
  /** Seconds by family. */
  durations: Map<string, number>;
  /** By `Family.Test`. */
  results: Map<string, Result>;
}

/** A test, and its result on each target. */
interface Row extends Record<Target, Result> {
  family: string;
  /** `Family.Test`. */
  name: string;
}

scenario('conformance', { limit: SUITE_LIMIT + 200 }, (lab) => {
  let rows: Row[];

  before(async () => {
    const { guest } = lab;
    const riser = await lab.serve({ image: 'riser.img', create: SIZE });
    // LIO logs each of the thousands of commands that it refuses, and would wait for the serial console each time.
    await guest.sh('echo 1 >/proc/sys/kernel/printk');
    // LIO writes registrations there that are to outlive a loss of power, and does not make the folder.
    await guest.sh('mkdir -p /var/target/pr');
    const lio = await startLio(guest, { portal: '127.0.0.1:3260', size: SIZE, attributes: LIKE_RISER });

    const list = parseTestList(await guest.sh('iscsi-test-cu --list'));
    const families = [...list.keys()];
    const [onRiser, onLio] = await Promise.all([
      runOnRiser(lab, families, `iscsi://${riser.portal()}/${TARGET}/0`),
      runOnLio(lab, families, `iscsi://${lio.portal}/${lio.target}/0`),
    ]);
    const notRun: Result = { outcome: 'not run', reason: 'the program ended before' };
    rows = [...list].flatMap(([family, tests]) =>
      tests.map((test) => {
        const name = `${family}.${test}`;
        const riser = onRiser.results.get(name) ?? notRun;
        return { family, name, riser, lio: onLio.results.get(name) ?? notRun };
      }),
    );
    writeFileSync(
      lab.file('conformance.md'),
      `${summary(rows, onRiser, onLio)}\n\n${listed(rows.filter(isNotPassedByBoth))}\n`,
    );
  });

  test('LIO is a reference: the suite ran to its end and passed what LIO is known to pass', (t) => {
    for (const line of readFileSync(lab.file('conformance.md'), 'utf8').split('\n')) t.diagnostic(line);
    const cut = rows.filter(({ lio: { outcome } }) => outcome === 'unfinished' || outcome === 'not run');
    assert.equal(listed(cut), '');
    const passed = count(rows, 'lio', 'passed');
    assert.ok(passed >= PASSED_BY_LIO, `LIO passed ${passed} tests`);
  });

  test('Riser passes all that is for such a LUN', () => {
    assert.equal(listed(rows.filter(({ name, riser }) => !isGood(name, riser))), '');
  });

  test('Riser passes each test that LIO passes', () => {
    const passedByLio = rows.filter(({ lio }) => lio.outcome === 'passed');
    assert.equal(listed(passedByLio.filter(({ riser }) => riser.outcome !== 'passed')), '');
  });
});

const OPTIONS = ['--dataloss', '--allow-sanitize', '-v', '-V'];

/** Two sessions are two paths to the LUN. */
const urlsOf = (family: string, url: string): string[] => (family === 'MultipathIO' ? [url, url] : [url]);

/** Run the suite on the host, family by family. */
async function runOnRiser(lab: Lab, families: readonly string[], url: string): Promise<Run> {
  const run: Run = { durations: new Map(), results: new Map() };
  mkdirSync(lab.file('riser'));
  for (const family of families) {
    const start = performance.now();
    const args = [...OPTIONS, '-t', `ALL.${family}`, ...urlsOf(family, url)];
    const { stdout, stderr } = await runProgram('iscsi-test-cu', args, FAMILY_LIMIT * 1000);
    writeFileSync(lab.file(`riser/${family}.txt`), stdout + stderr);
    take(run, family, stdout, (performance.now() - start) / 1000);
  }
  return run;
}

/** Run the suite in the guest; what it printed is in the folder `lio` then. */
async function runOnLio(lab: Lab, families: readonly string[], url: string): Promise<Run> {
  const run: Run = { durations: new Map(), results: new Map() };
  const commands = families.map((family) => `run ${family} ${urlsOf(family, url).join(' ')}`);
  // Written to memory: the suite writes each line alone, and the folder of the host is slow.
  const durations = await lab.guest.sh(
    `
    mkdir /tmp/lio
    run() {
      start=\${EPOCHREALTIME/./}
      timeout --signal=KILL ${FAMILY_LIMIT} iscsi-test-cu ${OPTIONS.join(' ')} -t ALL.$1 "\${@:2}" \\
        </dev/null &>/tmp/lio/$1.txt || true
      echo $1 $((\${EPOCHREALTIME/./} - start))
    }
    ${commands.join('\n')}
    cp -r /tmp/lio /lab/`,
    { limit: SUITE_LIMIT },
  );
  for (const [, family, microseconds] of durations.matchAll(/^(\w+) (\d+)$/gm)) {
    const printed = readFileSync(lab.file(`lio/${family!}.txt`), 'latin1');
    take(run, family!, printed, Number(microseconds) / 1e6);
  }
  return run;
}

function take(run: Run, family: string, printed: string, seconds: number): void {
  run.durations.set(family, seconds);
  for (const test of parseCUnit(printed)) run.results.set(`${family}.${test.name}`, judge(test));
}

function judge({ outcome, lines, skips }: CUnitTest): Result {
  if (outcome === 'passed' && skips.length === 0) return { outcome, reason: '' };
  const failure =
    lines.find((line) => line.includes('[FAILED]')) ?? lines.find((line) => line.includes('CU_'));
  const reasons = { passed: skips[0], failed: failure, unfinished: lines.at(-1) };
  const reason = (reasons[outcome] ?? '').replace(/\[(SKIPPED|FAILED)\]/, '').trim();
  return { outcome: outcome === 'passed' ? 'skipped' : outcome, reason };
}

/** Whether the test passed, or is not for such a LUN. */
function isGood(name: string, { outcome, reason }: Result): boolean {
  return (
    outcome === 'passed' ||
    (outcome === 'skipped' &&
      NOT_FOR_THIS_LUN.some((rule) => rule.tests.test(name) && rule.reason.test(reason)))
  );
}

function isNotPassedByBoth({ riser, lio }: Row): boolean {
  return riser.outcome !== 'passed' || lio.outcome !== 'passed';
}

function count(rows: readonly Row[], target: Target, outcome: Result['outcome']): number {
  return rows.filter((row) => row[target].outcome === outcome).length;
}

/** A table of the families: how many tests passed, how many failed or had no end, how many were skipped. */
function summary(rows: readonly Row[], riser: Run, lio: Run): string {
  const counts = (some: readonly Row[], target: Target): string => {
    const passed = count(some, target, 'passed');
    const skipped = count(some, target, 'skipped');
    return [passed, some.length - passed - skipped, skipped].join(' | ');
  };
  const seconds = (run: Run, family: string): string => (run.durations.get(family) ?? 0).toFixed(1);
  const line = (name: string, some: readonly Row[], ...times: readonly [string, string]): string =>
    `| ${name} | ${counts(some, 'riser')} | ${times[0]} | ${counts(some, 'lio')} | ${times[1]} |`;
  const families = [...new Set(rows.map(({ family }) => family))].map((family) => {
    const tests = rows.filter((row) => row.family === family);
    return line(family, tests, seconds(riser, family), seconds(lio, family));
  });
  const columns = ['passed', 'failed', 'skipped', 's'];
  return [
    `| family | Riser: ${columns.join(' | ')} | LIO: ${columns.join(' | ')} |`,
    `| - |${' -: |'.repeat(8)}`,
    ...families,
    line('**all**', rows, '', ''),
  ].join('\n');
}

/** A table of single tests; empty for none. */
function listed(rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const tell = ({ outcome, reason }: Result): string => (reason === '' ? outcome : `${outcome}: ${reason}`);
  const lines = rows.map(({ name, riser, lio }) => `| ${name} | ${tell(riser)} | ${tell(lio)} |`);
  return ['| test | Riser | LIO |', '| - | - | - |', ...lines].join('\n');
}
