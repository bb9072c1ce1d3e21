import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Memory, ScatterList } from '../../util/memory.js';
import { AtomicOperation, AtomicRequest, isAligned } from './atomics.js';

const number = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });

/** Word for word the pseudocode of RFC 7306 5.1.1. */
function fetchAdd(original: bigint, data: bigint, mask: bigint): bigint {
  let location = 1n;
  let carry = 0n;
  let value = 0n;
  for (let bit = 0n; bit < 64n; bit++) {
    if (bit !== 0n) location <<= 1n;
    let sum = carry + ((original & location) >> bit) + ((data & location) >> bit);
    carry = (sum & 2n) >> 1n;
    sum &= 1n;
    if (sum !== 0n) value |= location;
    carry = carry !== 0n && (mask & location) === 0n ? 1n : 0n;
  }
  return value;
}

/** The number that `request` makes of `original`; it has to tell the original. */
function perform(request: Partial<AtomicRequest>, original: bigint): bigint {
  const memory = new Memory(Buffer.alloc(24, 0xaa));
  const value = new BigUint64Array(memory.bytes.buffer, memory.bytes.byteOffset + 8, 1);
  value[0] = original;
  const list = new ScatterList();
  list.add(memory, 8, 8);
  const { operation = AtomicOperation.FETCH_ADD, ...fields } = request;
  assert.equal(Object.assign(new AtomicRequest(), { operation, ...fields }).perform(list, 0), original);
  assert.ok(memory.bytes.subarray(0, 8).every((byte) => byte === 0xaa));
  assert.ok(memory.bytes.subarray(16).every((byte) => byte === 0xaa));
  return value[0];
}

describe('atomic operations', () => {
  it('add each field by itself, as the pseudocode of RFC 7306 does', () => {
    fc.assert(
      fc.property(number, number, number, (original, data, mask) => {
        assert.equal(perform({ data, mask }, original), fetchAdd(original, data, mask));
        assert.equal(perform({ data, mask: 0n }, original), BigInt.asUintN(64, original + data));
      }),
    );
  });

  it('swap what the mask says, if what the other mask says is equal', () => {
    fc.assert(
      fc.property(
        number,
        number,
        number,
        number,
        number,
        (original, data, mask, compareData, compareMask) => {
          const operation = AtomicOperation.COMPARE_SWAP;
          const swapped = (original & ~mask) | (data & mask);
          const fields = { operation, data, mask, compareMask };
          assert.equal(
            perform({ ...fields, compareData: original ^ (compareData & ~compareMask) }, original),
            swapped,
          );
          if (compareMask === 0n) return;
          assert.equal(
            perform({ ...fields, compareData: ~original & 0xffff_ffff_ffff_ffffn }, original),
            original,
          );
        },
      ),
    );
  });

  it('know an aligned number by where it is in memory, whatever it is called', () => {
    const memory = new Memory(Buffer.from(new ArrayBuffer(100)).subarray(4));
    const list = new ScatterList();
    list.add(memory, 2, 20);
    list.add(memory, 40, 20);
    const aligned = Array.from({ length: 41 }, (_, at) => at).filter((at) => isAligned(list, at));
    assert.deepEqual(aligned, [2, 10, 18, 24, 32]);
  });
});
