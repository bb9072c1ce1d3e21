import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { temporaryFolder } from '../../test/support/temporary.js';
import type { SavedReservations } from '../scsi/index.js';
import { ReservationFile } from './reservation-file.js';

const A = { initiatorPort: 'iqn.2026-01.test:a,i,0x00023d000001', relativeTargetPort: 1, isHolder: true };
const B = { initiatorPort: 'iqn.2026-01.test:b,i,0x00023d000001', relativeTargetPort: null, isHolder: false };
const SAVED: SavedReservations = {
  type: 5,
  registrations: [
    { ...A, key: '00000000deadbeef' },
    { ...B, key: 'ffffffffffffffff' },
  ],
};

function keep(file: ReservationFile, reservations: SavedReservations | null): Promise<void> {
  return new Promise((resolve, reject) => {
    file.keep(reservations, (cause) => (cause === null ? resolve() : reject(cause)));
  });
}

describe('the file of persistent reservations', () => {
  const folder = temporaryFolder();
  let files = 0;
  const path = () => join(folder, `disk${++files}.img.reservations`);

  test('keeps the last of what it is given', async () => {
    const at = path();
    const file = await ReservationFile.open(at);
    assert.equal(file.kept, null);
    const one = { type: 0, registrations: [SAVED.registrations[1]!] };
    await Promise.all([keep(file, one), keep(file, null), keep(file, SAVED)]);
    assert.deepEqual((await ReservationFile.open(at)).kept, SAVED);
    assert.equal(statSync(at).mode & 0o777, 0o600);
    await Promise.all([keep(file, one), keep(file, null)]);
    assert.equal(existsSync(at), false);
    assert.equal((await ReservationFile.open(at)).kept, null);
    await keep(file, null);
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.endsWith('.new')),
      [],
    );
  });

  test('every single damage is told, and nothing of it used', async () => {
    const at = path();
    const file = await ReservationFile.open(at);
    await keep(file, SAVED);
    const whole = readFileSync(at);
    const damaged = { code: 'RESERVATIONS_DAMAGED', message: new RegExp(at), remedy: /delete it/ };
    for (let length = 0; length < whole.length - 1; length += 7) {
      writeFileSync(at, whole.subarray(0, length));
      await assert.rejects(ReservationFile.open(at), damaged, `cut off at ${length}`);
    }
    for (let i = 0; i < whole.length - 1; i++) {
      const flipped = Buffer.from(whole);
      flipped[i]! ^= 0x01;
      // Room between the words of JSON says nothing.
      if (/\s/.test(String.fromCharCode(flipped[i]!, whole[i]!))) continue;
      writeFileSync(at, flipped);
      await assert.rejects(ReservationFile.open(at), damaged, `byte ${i}`);
    }
  });

  test('one that cannot be read is told', async () => {
    await assert.rejects(ReservationFile.open(folder), { code: 'RESERVATIONS_UNREADABLE' });
  });

  test('what cannot be kept is told, and the next is kept all the same', async () => {
    const at = join(folder, 'later', 'disk.img.reservations');
    const file = await ReservationFile.open(at);
    await assert.rejects(keep(file, SAVED), { code: 'ENOENT' });
    mkdirSync(join(folder, 'later'));
    await keep(file, SAVED);
    assert.deepEqual((await ReservationFile.open(at)).kept, SAVED);
  });
});
