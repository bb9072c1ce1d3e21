/** Reads what libiscsi's iscsi-test-cu prints with `-v -V`: CUnit's verdicts between the log lines of the tests. */

export interface CUnitTest {
  name: string;
  /** `unfinished`: the program ended, or was killed, inside of the test. */
  outcome: 'passed' | 'failed' | 'unfinished';
  /** What the test and CUnit printed about it. */
  lines: string[];
  /** Reasons why the test, or a part of it, did nothing; CUnit counts such a test as passed. */
  skips: string[];
}

const START = /^ {2}Test: (\S+) \.\.\.(.*)$/;
const VERDICT = /^(passed|FAILED)(.*)$/;
const END = 'Run Summary:';
/** How the tests say that they skip; a few have no log line and are found by their silence. */
const SKIP = /\[SKIPP(?:ED|ING)\]|Skipping test|is not implemented|CONTROL page was not returned/;

/** The tests of one run in order. */
export function parseCUnit(output: string): CUnitTest[] {
  const tests: CUnitTest[] = [];
  let test: CUnitTest | null = null;
  for (const line of output.split('\n')) {
    const start = START.exec(line);
    if (start !== null) {
      test = { name: start[1]!, outcome: 'unfinished', lines: [], skips: [] };
      tests.push(test);
      takeLine(test, start[2]!);
    } else if (line.startsWith(END)) {
      test = null;
    } else if (test !== null) {
      takeLine(test, line);
    }
  }
  return tests;
}

function takeLine(test: CUnitTest, line: string): void {
  const verdict = test.outcome === 'unfinished' ? VERDICT.exec(line) : null;
  if (verdict !== null) {
    test.outcome = verdict[1] === 'passed' ? 'passed' : 'failed';
    // A test that neither sends nor says anything has left before its first line.
    if (test.lines.length === 0) test.skips.push('the test did nothing and gave no reason');
  } else if (line.trim() !== '') {
    test.lines.push(line.trimEnd());
    if (test.outcome === 'unfinished' && SKIP.test(line)) test.skips.push(line.trim());
  }
}

/** The names that `iscsi-test-cu --list` prints, family by family. */
export function parseTestList(output: string): Map<string, string[]> {
  const families = new Map<string, string[]>();
  for (const [, family, name] of output.matchAll(/^ALL\.([^.\s]+)\.(\S+)$/gm)) {
    const names = families.get(family!);
    if (names === undefined) families.set(family!, [name!]);
    else names.push(name!);
  }
  return families;
}
