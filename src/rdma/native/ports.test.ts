/** The kernel's files of a port: as those of an adapter with RoCE are. */

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { it } from 'node:test';

import { gidsIn } from './ports.js';

const GIDS = [
  ['fe80:0000:0000:0000:5054:00ff:fe12:3456', 'IB/RoCE v1', 'eth0'],
  ['fe80:0000:0000:0000:5054:00ff:fe12:3456', 'RoCE v2', 'eth0'],
  ['0000:0000:0000:0000:0000:ffff:0a09:0001', 'RoCE v2', 'eth0'],
  ['fd00:0000:0000:0000:0000:0000:0000:0001', 'IB/RoCE v1', 'eth0'],
] as const;

it('lists the GIDs that there are, each with the address that it stands for', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'riser-gids-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const write = (file: string, index: number, text: string): void => {
    mkdirSync(join(folder, file), { recursive: true });
    writeFileSync(join(folder, file, String(index)), `${text}\n`);
  };
  // Empty ones are zeroes, wherever they stand; reading their types fails.
  for (const index of [0, 5, 11]) write('gids', index, '0000:0000:0000:0000:0000:0000:0000:0000');
  for (const [i, [gid, type, name]] of GIDS.entries()) {
    write('gids', i + 7, gid);
    write('gid_attrs/types', i + 7, type);
    write('gid_attrs/ndevs', i + 7, name);
  }
  write('gids', 11, '0000:0000:0000:0000:0000:0000:0000:0000');
  const gids = gidsIn(folder, 'RoCE v1');
  assert.deepEqual(
    gids.map(({ index, gid, type, address }) => [index, gid, type, address]),
    [
      [7, 'fe80::5054:ff:fe12:3456', 'RoCE v1', null],
      [8, 'fe80::5054:ff:fe12:3456', 'RoCE v2', null],
      [9, '::ffff:10.9.0.1', 'RoCE v2', '10.9.0.1'],
      [10, 'fd00::1', 'RoCE v1', 'fd00::1'],
    ],
  );
  assert.ok(gids.every((gid) => gid.interface === 'eth0'));
  assert.deepEqual(gidsIn(folder, 'IB')[3]!.address, null);
  assert.deepEqual(gidsIn(join(folder, 'none'), 'IB'), []);
});
