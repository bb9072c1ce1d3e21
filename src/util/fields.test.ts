import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type Field,
  getU16,
  getU32,
  getU64,
  putU16,
  putU32,
  putU64,
  u16,
  u24,
  u32,
  u64,
  u8,
} from './fields.js';

const KINDS: readonly [name: string, make: (offset: number) => Field, width: number][] = [
  ['u8', u8, 1],
  ['u16', u16, 2],
  ['u24', u24, 3],
  ['u32', u32, 4],
];

for (const [name, make, width] of KINDS) {
  test(`${name}: big-endian, ${width} bytes, and nothing beside them`, () => {
    fc.assert(
      fc.property(fc.nat(8), fc.integer({ min: 0, max: 256 ** width - 1 }), (offset, value) => {
        const field = make(offset);
        assert.equal(field.width, width);
        assert.equal(field.offset, offset);
        const bytes = Buffer.alloc(16, 0xa5);
        field.set(bytes, value);
        assert.equal(field.get(bytes), value);
        assert.equal(bytes.readUIntBE(offset, width), value);
        assert.ok(bytes.subarray(0, offset).every((byte) => byte === 0xa5));
        assert.ok(bytes.subarray(offset + width).every((byte) => byte === 0xa5));
      }),
    );
  });
}

test('u64: exact below 2^53, and nothing beside it', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.maxSafeNat(), (offset, value) => {
      const field = u64(offset);
      assert.equal(field.width, 8);
      const bytes = Buffer.alloc(24, 0xa5);
      field.set(bytes, value);
      assert.equal(field.get(bytes), value);
      assert.equal(bytes.readBigUInt64BE(offset), BigInt(value));
      assert.ok(bytes.subarray(0, offset).every((byte) => byte === 0xa5));
      assert.ok(bytes.subarray(offset + 8).every((byte) => byte === 0xa5));
    }),
  );
});

test('free-standing 16 and 32 bit fields', () => {
  const bytes = Buffer.alloc(8);
  putU16(bytes, 1, 0xfedc);
  assert.equal(bytes.readUInt16BE(1), 0xfedc);
  assert.equal(getU16(bytes, 1), 0xfedc);
  putU32(bytes, 3, 0xfedc_ba98);
  assert.equal(bytes.readUInt32BE(3), 0xfedc_ba98);
  assert.equal(getU32(bytes, 3), 0xfedc_ba98);
});

test('64 bit fields are exact below 2^53', () => {
  fc.assert(
    fc.property(fc.maxSafeNat(), (value) => {
      const bytes = Buffer.alloc(10);
      putU64(bytes, 1, value);
      assert.equal(bytes.readBigUInt64BE(1), BigInt(value));
      assert.equal(getU64(bytes, 1), value);
    }),
  );
});

test('a 64 bit field of 2^53 or more reads as 2^53 or more', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }), (value) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(value);
      assert.ok(getU64(bytes, 0) >= 2 ** 53);
    }),
  );
});
