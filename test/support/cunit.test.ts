import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseCUnit, parseTestList } from './cunit.js';

const OUTPUT = `    Send READCAPACITY10 (Expecting SUCCESS) LBA:0 pmi:0

Suite: Unmap
  Test: Simple ...
    Test basic UNMAP
    [OK] UNMAP returned SUCCESS
FAILED
    1. test_unmap_simple.c:98  - CU_ASSERT_EQUAL(ret,0)
  Test: VPD ...    [SKIPPED] Logical unit is fully provisioned. Skipping test
passed
  Test: Async ...passed
  Test: ZeroBlocks ...
    Test UNMAP of 0 blocks
passed    Send PRIN/READ_KEYS


Run Summary:    Type  Total    Ran Passed Failed Inactive
              suites      1      1    n/a      0        0
`;

test('verdict, log lines and skips belong to their test', () => {
  assert.deepEqual(parseCUnit(OUTPUT), [
    {
      name: 'Simple',
      outcome: 'failed',
      lines: [
        '    Test basic UNMAP',
        '    [OK] UNMAP returned SUCCESS',
        '    1. test_unmap_simple.c:98  - CU_ASSERT_EQUAL(ret,0)',
      ],
      skips: [],
    },
    {
      name: 'VPD',
      outcome: 'passed',
      lines: ['    [SKIPPED] Logical unit is fully provisioned. Skipping test'],
      skips: ['[SKIPPED] Logical unit is fully provisioned. Skipping test'],
    },
    { name: 'Async', outcome: 'passed', lines: [], skips: ['the test did nothing and gave no reason'] },
    { name: 'ZeroBlocks', outcome: 'passed', lines: ['    Test UNMAP of 0 blocks'], skips: [] },
  ]);
});

test('a test in which the program ended has no verdict', () => {
  const [cut] = parseCUnit('Suite: Read6\n  Test: Simple ...\n    Send READ6');
  assert.equal(cut!.outcome, 'unfinished');
});

test('the list of tests is grouped by family, and only the family ALL counts', () => {
  const list = parseTestList(
    'ALL\nALL.Unmap\nALL.Unmap.Simple\nALL.Unmap.VPD\nALL.Read6.Simple\nSCSI.Read6.Simple\n',
  );
  assert.deepEqual(Object.fromEntries(list), { Unmap: ['Simple', 'VPD'], Read6: ['Simple'] });
});
