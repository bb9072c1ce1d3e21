import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { MemoryDevice } from '../block/memory.js';
import type { Space } from '../block/device.js';
import { deriveIdentity } from './identity.js';
import { LogicalUnit } from './logical-unit.js';
import type { Nexus } from './nexus.js';
import { Sense } from './sense.js';
import { logicalUnitReset } from './task-management.js';
import { cdb10, cdbUnmap } from './testing/cdb.js';
import { type FakeTask, FakeTarget, fakeNexus, senseText } from './testing/fake-task.js';

const MIB = 1 << 20;
const BLOCK = 512;
/** Byte offsets of the two threshold descriptors. */
const AVAILABLE = 16;
const USED = 24;
const ENABLED = 0x80;
const reached = senseText(Sense.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED);

/** Tells what the test says is left. */
class Pool extends MemoryDevice {
  available: number | null = 100 * MIB;
  looks = 0;

  override space(): Space {
    this.looks++;
    return { ...super.space()!, available: this.available };
  }
}

describe('thresholds of logical block provisioning (SBC-3 4.7.3.7)', () => {
  let pool: Pool;
  let target: FakeTarget;
  let other: Nexus;

  beforeEach(() => {
    pool = new Pool({ size: 64 * MIB });
    const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:disk', lun: 0, image: 'memory' });
    target = new FakeTarget(new LogicalUnit(pool, { identity }));
    other = fakeNexus('b');
    target.unit.addNexus(other);
  });

  const pageOf = (code: number, subpage: number): Buffer =>
    target.run([0x1a, 0x08, code, subpage, 255, 0]).dataIn.subarray(4);
  const select = (page: Buffer): void => {
    const dataOut = Buffer.concat([Buffer.alloc(4), page]);
    assert.equal(target.run([0x15, 0x10, 0, 0, dataOut.length, 0], { dataOut }).outcome, 'GOOD');
    for (;;)
      if (target.run([0], { nexus: other }).outcome !== senseText(Sense.MODE_PARAMETERS_CHANGED)) break;
  };
  /** Enable the threshold whose descriptor is at `offset`; `count` is in MiB. */
  const enable = (offset: number, count: number): void => {
    const page = Buffer.from(pageOf(0x1c, 0x02));
    page[offset]! |= ENABLED;
    page.writeUInt32BE(count, offset + 4);
    select(page);
  };
  const write = (mib: number, at = 0): void => {
    for (let i = 0; i < mib; i++) {
      const cdb = cdb10(0x2a, 0, ((at + i) * MIB) / BLOCK, MIB / BLOCK);
      assert.equal(target.run(cdb, { dataOut: Buffer.alloc(MIB) }).outcome, 'GOOD');
    }
  };
  const unmap = (mib: number, at = 0): void => {
    const list = Buffer.alloc(24);
    list.writeUInt16BE(22, 0);
    list.writeUInt16BE(16, 2);
    list.writeUInt32BE((at * MIB) / BLOCK, 12);
    list.writeUInt32BE((mib * MIB) / BLOCK, 16);
    assert.equal(target.run(cdbUnmap(24), { dataOut: list }).outcome, 'GOOD');
  };
  const hear = (nexus = target.nexus): FakeTask => target.run([0], { nexus });
  const expectNews = (offset: number): void => {
    for (const nexus of [target.nexus, other]) {
      const task = hear(nexus);
      assert.equal(task.outcome, reached);
      // VALID, and INFORMATION is the offset of the descriptor.
      assert.equal(task.sense.bytes.toString('hex', 0, 7), `f00006000000${offset.toString(16)}`);
      assert.equal(hear(nexus).outcome, 'GOOD');
    }
  };
  const expectNothing = (): void => {
    for (const nexus of [target.nexus, other]) assert.equal(hear(nexus).outcome, 'GOOD');
  };

  test('the mode page has one for what is left and one for what is used, disabled; LBPERE is set', () => {
    const descriptors = '0001000000000000' + '0102000000000000';
    assert.equal(pageOf(0x1c, 0x02).toString('hex'), '5c02001c' + '00'.repeat(12) + descriptors);
    const changeable = target.run([0x1a, 0x08, 0x5c, 0x02, 255, 0]).dataIn.subarray(4);
    assert.equal(changeable.toString('hex', 16), '80000000ffffffff'.repeat(2));
    assert.equal(pageOf(0x01, 0)[7], 0x80);
  });

  test('who does not know what is left has no threshold for it', () => {
    pool.available = null;
    const identity = deriveIdentity({ targetName: 'iqn.2026-01.test:disk', lun: 0, image: 'memory' });
    target = new FakeTarget(new LogicalUnit(pool, { identity }));
    assert.equal(pageOf(0x1c, 0x02).toString('hex', 16), '0102000000000000');
  });

  test('every nexus hears once that as much is used, wherever it is written', () => {
    enable(USED, 5);
    write(4);
    expectNothing();
    write(4);
    expectNothing();
    write(1, 10);
    expectNews(USED);
    write(5, 20);
    expectNothing();
  });

  test('it is news again when less was used in between', () => {
    enable(USED, 5);
    write(5);
    expectNews(USED);
    unmap(1);
    write(1);
    expectNews(USED);
  });

  test('every nexus hears that less is left, which others may have taken', () => {
    enable(AVAILABLE, 50);
    write(1);
    expectNothing();
    pool.available = 50 * MIB;
    write(1);
    expectNews(AVAILABLE);
    pool.available = 50.4 * MIB;
    write(1);
    pool.available = 40 * MIB;
    write(1);
    expectNothing();
    pool.available = 60 * MIB;
    write(1);
    pool.available = 40 * MIB;
    write(1);
    expectNews(AVAILABLE);
  });

  test('what is beyond already is news when it is set', () => {
    write(5);
    const page = Buffer.from(pageOf(0x1c, 0x02));
    page[USED]! |= ENABLED;
    page.writeUInt32BE(3, USED + 4);
    const dataOut = Buffer.concat([Buffer.alloc(4), page]);
    target.run([0x15, 0x10, 0, 0, dataOut.length, 0], { dataOut });
    assert.equal(hear().outcome, reached);
  });

  test('small writes are looked at together: the device is asked once for each MiB', () => {
    enable(USED, 1);
    const { looks } = pool;
    for (let i = 0; i < 5 * 16; i++) {
      const cdb = cdb10(0x2a, 0, i * 128, 128);
      target.run(cdb, { dataOut: Buffer.alloc(128 * BLOCK) });
      if (pool.looks > looks) break;
    }
    assert.equal(pool.looks, looks + 1);
    expectNews(USED);
  });

  test('without LBPERE, and with no threshold enabled, the device is not even asked', () => {
    const recovery = Buffer.from(pageOf(0x01, 0));
    recovery[7] = 0;
    select(recovery);
    enable(USED, 1);
    const { looks } = pool;
    write(3);
    assert.equal(pool.looks, looks);
    expectNothing();
  });

  test('a reset disables them', () => {
    enable(USED, 1);
    logicalUnitReset(target.unit, target.nexus, () => undefined);
    for (const nexus of [target.nexus, other]) hear(nexus);
    write(3);
    expectNothing();
  });
});
