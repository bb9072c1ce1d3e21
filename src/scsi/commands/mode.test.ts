import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BlockOp } from '../../block/device.js';
import { Sense } from '../sense.js';
import { cdb10 } from '../testing/cdb.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const DBD = 0x08;
const LLBAA = 0x10;
const PF = 0x10;
const sense6 = (page: number, flags = DBD, subpage = 0, length = 255) => [
  0x1a,
  flags,
  page,
  subpage,
  length,
  0,
];
const sense10 = (page: number, flags = DBD) => [0x5a, flags, page, 0, 0, 0, 0, 1, 0, 0];
const select6 = (length: number, flags = PF) => [0x15, flags, 0, 0, length, 0];
const select10 = (length: number) => [0x55, PF, 0, 0, 0, 0, 0, length >>> 8, length & 0xff, 0];
const CHANGEABLE = 0x40;
const DEFAULT = 0x80;
const SAVED = 0xc0;
const CACHING = 0x08;
const CONTROL = 0x0a;
/** Subpage of 1Ch. */
const PROVISIONING = 0x02;
const listLength = senseText(Sense.PARAMETER_LIST_LENGTH_ERROR);
const invalidParameter = senseText(Sense.INVALID_FIELD_IN_PARAMETER_LIST);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);

/** The bytes of one page. */
const pageOf = (target: FakeTarget, code: number, subpage = 0) =>
  target.run(sense6(code, DBD, subpage)).dataIn.subarray(4);

/** A MODE SELECT(6) parameter list of pages. */
const listOf = (...pages: Uint8Array[]) => Buffer.concat([Buffer.alloc(4), ...pages]);

/** A copy of the page with one byte replaced. */
function changed(page: Buffer, at: number, value: number): Buffer {
  const copy = Buffer.from(page);
  copy[at] = value;
  return copy;
}

const select = (target: FakeTarget, list: Buffer) => target.run(select6(list.length), { dataOut: list });

describe('MODE SENSE (SPC-4 6.12, 6.13)', () => {
  test('6 bytes: header, block descriptor, all pages', () => {
    const { dataIn } = new FakeTarget().run(sense6(0x3f, 0));
    assert.equal(dataIn[0], dataIn.length - 1);
    assert.equal(dataIn.toString('hex', 1, 12), '001008' + '00000800' + '00000200');
    const codes: number[] = [];
    for (let at = 12; at < dataIn.length; at += 2 + dataIn[at + 1]!) codes.push(dataIn[at]!);
    assert.deepEqual(codes, [0x01, 0x08, 0x0a, 0x1c]);
  });

  test('10 bytes: long block descriptor where allowed', () => {
    const target = new FakeTarget();
    const short = target.run(sense10(CACHING, 0)).dataIn;
    assert.equal(short.readUInt16BE(0), short.length - 2);
    assert.equal(short.toString('hex', 2, 16), '001000000008' + '0000080000000200');
    const long = target.run(sense10(CACHING, LLBAA)).dataIn;
    assert.equal(long.toString('hex', 2, 24), '001001000010' + '0000000000000800' + '00000000' + '00000200');
    const none = target.run(sense10(CACHING, LLBAA | DBD)).dataIn;
    assert.deepEqual(none.subarray(8), long.subarray(24));
  });

  test('the same pages by both, and singly or all together', () => {
    const target = new FakeTarget();
    const all = target.run(sense6(0x3f)).dataIn.subarray(4);
    assert.deepEqual(target.run(sense10(0x3f)).dataIn.subarray(8), all);
    const withSubpages = target.run(sense6(0x3f, DBD, 0xff)).dataIn.subarray(4);
    assert.deepEqual(withSubpages, Buffer.concat([all, pageOf(target, 0x1c, PROVISIONING)]));
    assert.deepEqual(target.run(sense6(0x1c, DBD, 0xff)).dataIn.subarray(4), withSubpages.subarray(44));
    assert.deepEqual(Buffer.concat([0x01, 0x08, 0x0a, 0x1c].map((code) => pageOf(target, code))), all);
  });

  test('current, changeable, default; nothing is saved', () => {
    const target = new FakeTarget();
    const before = pageOf(target, CACHING);
    assert.equal(before[2], 0x04);
    select(target, listOf(changed(before, 2, 0)));
    assert.equal(pageOf(target, CACHING)[2], 0);
    assert.equal(target.run(sense6(CHANGEABLE | CACHING)).dataIn.toString('hex', 4, 8), '08120400');
    assert.deepEqual(target.run(sense6(DEFAULT | CACHING)).dataIn.subarray(4), before);
    const saved = target.run(sense6(SAVED | CACHING));
    assert.equal(saved.outcome, senseText(Sense.SAVING_PARAMETERS_NOT_SUPPORTED));
  });

  test('unknown pages and subpages are refused', () => {
    const target = new FakeTarget();
    assert.equal(target.run(sense6(0x02)).outcome, invalidField);
    for (const [page, subpage, pointer] of [
      [0x02, 0, 'cd0002'],
      [0x3e, 0xff, 'cd0002'],
      [CONTROL, 1, 'c00003'],
      [0x3f, 0xfe, 'c00003'],
    ] as const) {
      const task = target.run(sense6(page, DBD, subpage));
      assert.equal(task.outcome, invalidField);
      assert.equal(task.sense.bytes.toString('hex', 15, 18), pointer);
    }
  });

  test('WP follows the protection', () => {
    assert.equal(new FakeTarget(fakeUnit({ readOnly: true })).run(sense6(CONTROL)).dataIn[2], 0x90);
    const target = new FakeTarget();
    select(target, listOf(changed(pageOf(target, CONTROL), 4, 0x08)));
    assert.equal(target.run(sense6(CONTROL)).dataIn[2], 0x90);
    assert.equal(target.run(sense10(CONTROL)).dataIn[3], 0x90);
  });

  test('is cut to the allocation length', () => {
    const task = new FakeTarget().run(sense6(0x3f, 0, 0, 4));
    assert.deepEqual([task.dataIn.length, task.transferLength], [4, 4]);
  });
});

describe('MODE SELECT (SPC-4 6.10, 6.11)', () => {
  test('SWP protects and unprotects', () => {
    const target = new FakeTarget();
    const write = () => target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512) }).outcome;
    const control = pageOf(target, CONTROL);
    assert.equal(select(target, listOf(changed(control, 4, 0x08))).outcome, 'GOOD');
    assert.equal(write(), senseText(Sense.SOFTWARE_WRITE_PROTECTED));
    assert.equal(target.run(cdb10(0x28, 0, 0, 1)).outcome, 'GOOD');
    assert.equal(select(target, listOf(control)).outcome, 'GOOD');
    assert.equal(write(), 'GOOD');
  });

  test('switching WCE off flushes, and writes are forced through from then on', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    const caching = pageOf(target, CACHING);
    assert.equal(select(target, listOf(changed(caching, 2, 0))).outcome, 'GOOD');
    assert.deepEqual(
      device.submitted.map((io) => io.op),
      [BlockOp.FLUSH],
    );
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512) });
    assert.equal(device.submitted[1]!.fua, true);
    select(target, listOf(caching));
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(512) });
    assert.equal(device.submitted[2]!.fua, false);
    assert.equal(device.submitted.length, 3);
  });

  test('other nexuses learn of a change, and only of a change', () => {
    const target = new FakeTarget();
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    const control = pageOf(target, CONTROL);
    select(target, listOf(control));
    assert.equal(target.run([0], { nexus }).outcome, 'GOOD');
    select(target, listOf(changed(control, 2, 0x04)));
    assert.equal(target.run([0]).outcome, 'GOOD');
    assert.equal(target.run([0], { nexus }).outcome, senseText(Sense.MODE_PARAMETERS_CHANGED));
  });

  test('10 bytes, several pages, with a block descriptor that changes nothing', () => {
    const target = new FakeTarget();
    const current = target.run(sense10(0x3f, LLBAA)).dataIn;
    assert.equal(target.run(select10(current.length), { dataOut: current }).outcome, 'GOOD');
    const short = target.run(sense6(0x3f, 0)).dataIn;
    for (const count of [0, 2048, 0xffff_ffff]) {
      short.writeUInt32BE(count, 4);
      assert.equal(select(target, short).outcome, 'GOOD');
    }
  });

  test('capacity and block length cannot be changed', () => {
    const target = new FakeTarget();
    const short = target.run(sense6(0x3f, 0)).dataIn;
    for (const [at, value] of [
      [7, 1],
      [10, 0x10],
    ] as const) {
      const task = select(target, changed(short, at, value));
      assert.equal(task.outcome, invalidParameter);
      assert.equal(task.sense.bytes.readUInt16BE(16), at === 7 ? 4 : 9);
    }
    const odd = select(target, changed(short, 3, 7));
    assert.equal(odd.outcome, invalidParameter);
    assert.equal(odd.sense.bytes.readUInt16BE(16), 3);
  });

  test('a bit that is not changeable is pointed at, and nothing before it is applied', () => {
    const target = new FakeTarget();
    const caching = changed(pageOf(target, CACHING), 2, 0);
    const control = changed(pageOf(target, CONTROL), 3, 0);
    const task = select(target, listOf(caching, control));
    assert.equal(task.outcome, invalidParameter);
    assert.equal(task.sense.bytes.toString('hex', 15, 18), '8c' + '001b');
    assert.equal(target.unit.writeCacheEnabled, true);
  });

  test('unknown pages, wrong lengths, PS and SPF', () => {
    const target = new FakeTarget();
    const control = pageOf(target, CONTROL);
    for (const page of [
      changed(control, 0, 0x02),
      changed(control, 1, 9),
      changed(control, 0, 0x8a),
      changed(control, 0, 0x4a),
    ]) {
      assert.equal(select(target, listOf(page)).outcome, invalidParameter);
    }
  });

  test('a page with a subpage code: each wrong byte of its header is pointed at', () => {
    const target = new FakeTarget();
    const page = pageOf(target, 0x1c, PROVISIONING);
    assert.equal(select(target, listOf(page)).outcome, 'GOOD');
    for (const [at, value, pointer] of [
      [0, 0xdc, '8f0004'],
      [0, 0x42, '8d0004'],
      [0, 0x02, '8d0004'],
      [1, 0x00, '800005'],
      [1, 0x03, '800005'],
      [2, 0x01, '800006'],
      [3, 0x13, '800006'],
      [16, 0x09, '8b0014'],
      [17, 0x01, '890015'],
    ] as const) {
      const task = select(target, listOf(changed(page, at, value)));
      assert.equal(task.outcome, invalidParameter, `byte ${at}`);
      assert.equal(task.sense.bytes.toString('hex', 15, 18), pointer, `byte ${at}`);
    }
    for (const length of [1, 2, 3, 4, page.length - 1])
      assert.equal(select(target, listOf(page.subarray(0, length))).outcome, listLength, `${length} bytes`);
  });

  test('a list that ends too early, anywhere, is a length error; a whole one is not', () => {
    const target = new FakeTarget();
    const whole = target.run(sense6(0x3f, 0)).dataIn;
    const boundaries = [0, 12, 24, 44, 56, 68];
    assert.equal(whole.length, boundaries.at(-1));
    for (let length = 0; length <= whole.length; length++) {
      const list = whole.subarray(0, length);
      assert.equal(
        select(target, list).outcome,
        boundaries.includes(length) ? 'GOOD' : listLength,
        `${length}`,
      );
    }
  });

  test('SP, and pages without PF, are refused', () => {
    const target = new FakeTarget();
    const list = listOf(pageOf(target, CONTROL));
    for (const flags of [PF | 1, 0]) {
      assert.equal(target.run(select6(list.length, flags), { dataOut: list }).outcome, invalidField);
    }
  });

  test('whatever the list, the pages keep their form and their fixed bits', () => {
    const target = new FakeTarget();
    const { pages } = target.unit.modePages;
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (noise, isPlausible) => {
        const list = isPlausible ? target.run(sense6(0x3f, 0)).dataIn : Buffer.from(noise);
        if (isPlausible) noise.forEach((byte, i) => (list[i % list.length]! ^= byte & 0x04));
        select(target, list);
        for (const page of pages) {
          page.current.forEach((byte, i) => {
            const fixed = i < 2 ? 0xff : ~page.changeable[i]!;
            assert.equal((byte ^ page.default[i]!) & fixed, 0);
          });
        }
      }),
      { numRuns: 500 },
    );
  });
});
