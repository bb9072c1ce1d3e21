import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { describeSense, MAX_SENSE_LENGTH, Sense, SenseData, SenseKey } from './sense.js';

const hex = (sense: SenseData) => sense.bytes.toString('hex', 0, sense.length);

describe('SenseData', () => {
  test('the fixed format (SPC-4 4.5.3)', () => {
    const sense = new SenseData();
    sense.set(Sense.LBA_OUT_OF_RANGE, false);
    assert.equal(hex(sense), '70000500000000' + '0a00000000' + '2100' + '00000000');
    sense.setInformation(0x1234_5678);
    assert.equal(sense.bytes[0], 0xf0);
    assert.equal(sense.bytes.readUInt32BE(3), 0x1234_5678);
    sense.setFieldPointer(true, 2, 5);
    assert.equal(sense.bytes.toString('hex', 15, 18), 'cd0002');
  });

  test('INFORMATION of the fixed format has no room for more than 32 bits', () => {
    const sense = new SenseData();
    sense.set(Sense.UNRECOVERED_READ_ERROR, false);
    sense.setInformation(2 ** 32);
    assert.equal(sense.bytes[0], 0x70);
    assert.equal(sense.bytes.readUInt32BE(3), 0);
  });

  test('the descriptor format (SPC-4 4.5.2)', () => {
    const sense = new SenseData();
    sense.set(Sense.UNRECOVERED_READ_ERROR, true);
    assert.equal(hex(sense), '7203110000000000');
    sense.setInformation(2 ** 40 + 1);
    sense.setFieldPointer(false, 9, -1);
    assert.equal(sense.length, MAX_SENSE_LENGTH);
    assert.equal(hex(sense), '7203110000000014' + '000a8000' + '0000010000000001' + '02060000' + '80000900');
  });

  test('is written again from scratch', () => {
    const sense = new SenseData();
    sense.set(Sense.UNRECOVERED_READ_ERROR, true);
    sense.setInformation(7);
    sense.set(Sense.NO_SENSE, false);
    assert.equal(hex(sense), '7000000000000000'.slice(0, 14) + '0a' + '00'.repeat(10));
    sense.clear();
    assert.equal(sense.length, 0);
    assert.equal(String(sense), 'no sense data');
  });

  test('reads back key and codes in both formats', () => {
    for (const descriptor of [false, true]) {
      const sense = new SenseData();
      sense.set(Sense.SPACE_ALLOCATION_FAILED, descriptor);
      assert.deepEqual([sense.key, sense.asc, sense.ascq], [SenseKey.DATA_PROTECT, 0x27, 0x07]);
    }
  });
});

test('no two sense codes are the same', () => {
  const codes = Object.values(Sense).map((c) => `${c.key}/${c.asc}/${c.ascq}`);
  assert.equal(new Set(codes).size, codes.length);
});

test('sense codes in words', () => {
  assert.equal(describeSense(5, 0x21, 0), 'ILLEGAL REQUEST, logical block address out of range (21/00)');
  assert.equal(describeSense(9, 0x80, 1), 'sense key 09, unknown (80/01)');
});
