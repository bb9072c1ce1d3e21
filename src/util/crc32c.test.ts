import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c, crc32cByTable, crc32cIsNative, crc32cOfList } from './crc32c.js';
import { Memory, ScatterList } from './memory.js';

const READ_10_PDU = Buffer.from(
  '01c00000000000000000000000000000' +
    '14000000000004000000001400000018' +
    '28000000000000000200000000000000',
  'hex',
);

/** RFC 7143 A.4, the CRC as its bytes stand on the wire. */
const VECTORS: readonly [name: string, bytes: Buffer, digest: string][] = [
  ['32 bytes of zeroes', Buffer.alloc(32), 'aa36918a'],
  ['32 bytes of ones', Buffer.alloc(32, 0xff), '43aba862'],
  ['32 bytes of incrementing 00..1f', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), '4e79dd46'],
  ['32 bytes of decrementing 1f..00', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), '5cdb3f11'],
  ['an iSCSI SCSI Read (10) Command PDU', READ_10_PDU, '563a96d9'],
];

for (const [name, bytes, digest] of VECTORS) {
  test(`RFC 7143 A.4: ${name}`, () => {
    for (const implementation of [crc32c, crc32cByTable]) {
      const stored = Buffer.alloc(4);
      stored.writeUInt32LE(implementation(bytes));
      assert.equal(stored.toString('hex'), digest);
    }
  });
}

test('no bytes have CRC 0, and leave an earlier CRC as it is', () => {
  assert.equal(crc32c(Buffer.alloc(0)), 0);
  assert.equal(crc32c(Buffer.alloc(0), 0xdeadbeef), 0xdeadbeef);
});

test('native code and tables agree on any bytes, and segments chain', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 1000 }), fc.nat(1000), fc.nat(1000), (bytes, a, b) => {
      const start = Math.min(a, b, bytes.length);
      const end = Math.min(Math.max(a, b), bytes.length);
      const whole = crc32cByTable(bytes);
      assert.equal(crc32c(bytes), whole);
      const first = crc32c(bytes, 0, 0, start);
      const second = crc32c(bytes, first, start, end);
      assert.equal(crc32c(bytes, second, end), whole);
      assert.equal(crc32c(bytes, 0, start, end), crc32cByTable(bytes.slice(start, end)));
    }),
  );
});

test('a list has the CRC of its bytes', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }),
      fc.nat(1000),
      fc.nat(1000),
      (parts, skip, length) => {
        const list = new ScatterList();
        for (const part of parts) {
          const memory = Memory.allocate(part.length + 3);
          memory.bytes.set(part, 3);
          list.add(memory, 3, part.length);
        }
        const bytes = list.toBuffer().subarray(skip, skip + length);
        assert.equal(crc32cOfList(list, 0xdeadbeef, skip, length), crc32c(bytes, 0xdeadbeef));
      },
    ),
  );
});

test('the CRC over bytes and their digest is always the same residue', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 600 }), (bytes) => {
      const framed = Buffer.concat([bytes, Buffer.alloc(4)]);
      framed.writeUInt32LE(crc32c(bytes), bytes.length);
      assert.equal(crc32c(framed), 0x48674bc7);
    }),
  );
});

test(
  'native code computes long inputs',
  {
    skip: crc32cIsNative ? false : '@node-rs/crc32 has no build for this platform; its tables serve instead',
  },
  () => {
    assert.ok(crc32cIsNative);
  },
);
