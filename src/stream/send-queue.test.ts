import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { Memory, ScatterList } from '../util/memory.js';
import { IoVector } from '../util/posix/iovec.js';
import { SendQueue } from './send-queue.js';

/** Whose bytes are sent. */
class Transfer {
  readonly buffer = new ScatterList();
}

function filled(length: number, first: number): Memory {
  const memory = Memory.allocate(length);
  for (let i = 0; i < length; i++) memory.bytes[i] = first + i;
  return memory;
}

describe('SendQueue', () => {
  it('gives bytes out in the order they were queued, whatever is consumed at a time', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ reserved: fc.boolean(), length: fc.integer({ min: 1, max: 300 }) }), {
          minLength: 1,
          maxLength: 400,
        }),
        fc.array(fc.integer({ min: 1, max: 2000 }), { minLength: 1 }),
        (parts, steps) => {
          const queue = new SendQueue<Transfer>();
          const expected: Buffer[] = [];
          let value = 0;
          for (const { reserved, length } of parts) {
            const memory = filled(length, value++);
            expected.push(Buffer.from(memory.bytes));
            if (reserved) {
              const padded = (length + 3) & ~3;
              queue.reserve(padded);
              queue.region.bytes.fill(0, queue.offset, queue.offset + padded);
              memory.bytes.copy(queue.region.bytes, queue.offset);
              expected.push(Buffer.alloc(padded - length));
            } else {
              queue.push(memory, 0, length, null);
            }
          }
          const sent: Buffer[] = [];
          for (let i = 0; queue.count > 0; i++) {
            const all = Buffer.concat(queue.views(0));
            const step = Math.min(steps[i % steps.length]!, all.length);
            sent.push(all.subarray(0, step));
            queue.consume(step, () => undefined);
          }
          assert.deepEqual(Buffer.concat(sent), Buffer.concat(expected));
          assert.equal(queue.bytes, 0);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('knows whether somebody waits to be told', () => {
    const queue = new SendQueue<Transfer>();
    const memory = filled(10, 0);
    queue.push(memory, 0, 4, null);
    assert.equal(queue.hasOwners, false);
    queue.push(memory, 4, 4, new Transfer());
    assert.equal(queue.hasOwners, true);
    queue.consume(7, () => undefined);
    assert.equal(queue.hasOwners, true);
    queue.consume(1, () => undefined);
    assert.equal(queue.hasOwners, false);
  });

  it('tells an owner when the last of its bytes is gone, not before', () => {
    const queue = new SendQueue<Transfer>();
    const transfer = new Transfer();
    transfer.buffer.add(filled(100, 0), 0, 100);
    transfer.buffer.add(filled(50, 0), 10, 40);
    queue.pushList(transfer.buffer, 20, 120, transfer);
    const told: Transfer[] = [];
    const released = (owner: Transfer): void => {
      told.push(owner);
    };
    queue.consume(119, released);
    assert.deepEqual(told, []);
    queue.consume(1, released);
    assert.deepEqual(told, [transfer]);
  });

  it('makes one segment of headers that follow one another, and tells each owner at its own end', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.record({
            kind: fc.constantFrom('reserve', 'push', 'views'),
            length: fc.integer({ min: 1, max: 100 }),
            isOwned: fc.boolean(),
            consumed: fc.nat(150),
          }),
          { minLength: 1, maxLength: 600 },
        ),
        (parts) => {
          const queue = new SendQueue<Transfer>();
          const ends = new Map<Transfer, number>();
          const told: Transfer[] = [];
          let queued = 0;
          let consumed = 0;
          let isJoined = false;
          const consume = (bytes: number): void => {
            const step = Math.min(bytes, queue.bytes);
            consumed += step;
            queue.consume(step, (owner) => told.push(owner));
            const due = [...ends].filter(([, end]) => end <= consumed).map(([owner]) => owner);
            assert.deepEqual(told, due);
            if (queue.count === 0) isJoined = false;
          };
          for (const { kind, length, isOwned, consumed: step } of parts) {
            if (kind === 'views') {
              queue.views(0);
              isJoined = false;
              continue;
            }
            const owner = isOwned ? new Transfer() : null;
            const before = queue.count;
            if (kind === 'reserve') queue.reserve(length, owner);
            else queue.push(filled(length, 0), 0, length, owner);
            queued += length;
            if (owner !== null) ends.set(owner, queued);
            assert.equal(queue.count, kind === 'reserve' && isJoined ? before : before + 1);
            isJoined = kind === 'reserve';
            consume(step);
          }
          consume(Infinity);
          assert.equal(consumed, queued);
          assert.equal(queue.hasOwners, false);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('leaves views as they are', () => {
    const queue = new SendQueue<Transfer>();
    queue.reserve(4);
    const [view] = queue.views(0);
    queue.reserve(4);
    assert.deepEqual([view!.length, queue.count, queue.bytes], [4, 2, 8]);
  });

  it('tells owners when it is cleared', () => {
    const queue = new SendQueue<Transfer>();
    const transfer = new Transfer();
    transfer.buffer.add(filled(8, 0), 0, 8);
    queue.pushList(transfer.buffer, 0, 8, transfer);
    const told: Transfer[] = [];
    queue.clear((owner) => told.push(owner));
    assert.deepEqual(told, [transfer]);
    assert.equal(queue.count, 0);
  });

  it('aims an I/O vector at as many segments as it holds', () => {
    const queue = new SendQueue<Transfer>();
    for (let i = 0; i < 3; i++) queue.push(filled(64, i), 8, 16, null);
    assert.equal(queue.fillVector(new IoVector(2)), 2);
    assert.equal(queue.fillVector(new IoVector(8)), 3);
  });

  it('uses its slab from the start again once it has run empty', () => {
    const queue = new SendQueue<Transfer>();
    queue.reserve(48);
    const { region, offset } = queue;
    queue.consume(48, () => undefined);
    queue.reserve(48);
    assert.equal(queue.region, region);
    assert.equal(queue.offset, offset);
  });
});
