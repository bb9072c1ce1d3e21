/**
 * The family MultipathIO of libiscsi's conformance suite, which needs two URLs of one LUN: over two portals, with and without
 * target port groups.
 */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { type AluaOptions, TargetServer } from '../../src/target/index.js';
import { parseCUnit, parseTestList } from '../support/cunit.js';
import { peer } from '../support/peers.js';
import { runProgram } from '../support/run-program.js';
import { TARGET_NAME } from '../support/target.js';

const tool = peer('iscsi-test-cu', 'libiscsi-bin');
const FAMILY = 'MultipathIO';
const SIZE = 16 << 20;
const TIMEOUT_MS = 60_000;

const ALUA: AluaOptions = {
  explicit: true,
  groups: [
    { group: 1, portals: [1] },
    { group: 2, portals: [2], state: 'active/non-optimized' },
  ],
};

for (const [what, alua] of [
  ['without target port groups', undefined],
  ['of two target port groups', ALUA],
] as const) {
  describe(`libiscsi ${FAMILY} over two portals ${what}`, { skip: tool.skip }, () => {
    const server = new TargetServer({ adapters: [] });
    const device = new MemoryDevice({ size: SIZE, blockSize: 512 });
    const urls: string[] = [];

    before(async () => {
      const target = server.addTarget({ name: TARGET_NAME, ...(alua !== undefined && { alua }) });
      target.addLun(0, { device });
      for (let i = 0; i < 2; i++) {
        const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
        urls.push(`iscsi://127.0.0.1:${port}/${TARGET_NAME}/0`);
      }
    });
    after(async () => {
      await server.close({ graceMs: 0 });
      await device.close();
    });

    test('every test of the family passes without a skip', async () => {
      const names = parseTestList((await runProgram(tool.path, ['--list'])).stdout).get(FAMILY)!;
      assert.ok(names.length >= 4, 'the family is not there');
      const args = ['--dataloss', '-v', '-V', '-t', `ALL.${FAMILY}`, ...urls];
      const { stdout, stderr } = await runProgram(tool.path, args, TIMEOUT_MS);
      const tests = parseCUnit(stdout);
      assert.deepEqual(
        tests.map(({ name, outcome, skips }) => [name, outcome, skips]),
        names.map((name) => [name, 'passed', []]),
        stdout + stderr,
      );
    });
  });
}
