import assert from 'node:assert/strict';
import fs from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { Memory, ScatterList } from '../memory.js';
import { IoVector } from './iovec.js';
import { libc, libcMissing } from './libc.js';

describe('IoVector', { skip: libc === null && `no foreign functions: ${libcMissing ?? ''}` }, () => {
  const file = join(temporaryFolder(), 'bytes');

  function list(lengths: readonly number[]): ScatterList {
    const made = new ScatterList();
    for (const length of lengths) made.add(Memory.allocate(length + 20), 10, length);
    return made;
  }

  it('aims a system call at the segments', () => {
    const bytes = Buffer.from(Array.from({ length: 200 }, (_, i) => i));
    fs.writeFileSync(file, bytes);
    const fd = fs.openSync(file, 'r');
    const vector = new IoVector();
    for (const [skip, length, entries] of [
      [0, 100, 3],
      [0, 10, 1],
      [5, 10, 2],
      [10, 90, 2],
      [35, 1, 1],
      [0, 0, 0],
    ] as const) {
      const target = list([10, 25, 65]);
      assert.equal(vector.fill(target, skip, length), entries);
      assert.equal(libc!.preadv2!(fd, vector.address, entries, 50, 0), length);
      const expected = Buffer.alloc(100);
      bytes.copy(expected, skip, 50, 50 + length);
      assert.ok(target.toBuffer().equals(expected));
    }
    fs.closeSync(fd);
  });

  it('cuts a list short that has more segments than it has entries', () => {
    fs.writeFileSync(file, Buffer.alloc(100, 7));
    const fd = fs.openSync(file, 'r');
    const vector = new IoVector(2);
    const target = list([10, 25, 65]);
    assert.equal(vector.fill(target, 0, 100), 2);
    assert.equal(libc!.preadv2!(fd, vector.address, 2, 0, 0), 35);
    assert.ok(
      target
        .toBuffer()
        .subarray(35)
        .every((byte) => byte === 0),
    );
    fs.closeSync(fd);
  });
});
