import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { BlockStatus } from '../../block/device.js';
import { Sense } from '../sense.js';
import { logicalUnitReset } from '../task-management.js';
import { cdb10, cdb16, cdbUnmap } from '../testing/cdb.js';
import {
  fakeDrive,
  type FakeTask,
  FakeTarget,
  fakeNexus,
  fakeUnit,
  senseText,
} from '../testing/fake-task.js';
import { slowTarget } from '../testing/slow-device.js';

const CUMULATIVE = 1;
const DEFAULT_CUMULATIVE = 3;
const STATISTICS = 0x19;
const PROVISIONING = 0x0c;
const WRITE_ERRORS = 0x02;
const READ_ERRORS = 0x03;
const PCR = 0x02;
const SP = 0x01;
const BLOCK = 512;

interface LogFields {
  pageControl?: number;
  subpage?: number;
  pointer?: number;
  flags?: number;
  length?: number;
}
const u16 = (value: number): number[] => [value >>> 8, value & 0xff];
const sense = (page: number, fields: LogFields = {}): number[] => {
  const { pageControl = CUMULATIVE, subpage = 0, pointer = 0, flags = 0, length = 0x1000 } = fields;
  return [0x4d, flags, (pageControl << 6) | page, subpage, 0, ...u16(pointer), ...u16(length), 0];
};
const select = (page: number, fields: LogFields = {}): number[] => {
  const { pageControl = CUMULATIVE, subpage = 0, flags = PCR, length = 0 } = fields;
  return [0x4c, flags, (pageControl << 6) | page, subpage, 0, 0, 0, ...u16(length), 0];
};
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const pointerOf = ({ sense: { bytes } }: FakeTask): string => bytes.toString('hex', 15, 18);

/** The parameters of a page: code, parameter control byte, value. */
function parametersOf(page: Buffer): [code: number, control: number, value: Buffer][] {
  const parameters: [number, number, Buffer][] = [];
  assert.equal(page.readUInt16BE(2), page.length - 4);
  for (let at = 4; at < page.length; at += 4 + page[at + 3]!)
    parameters.push([page.readUInt16BE(at), page[at + 2]!, page.subarray(at + 4, at + 4 + page[at + 3]!)]);
  return parameters;
}

/** The counters of a parameter. */
const counters = (value: Buffer): number[] =>
  Array.from({ length: value.length / 8 }, (_, i) => Number(value.readBigUInt64BE(8 * i)));

describe('LOG SENSE (SPC-4 6.8)', () => {
  test('the supported pages, and with subpages', () => {
    const target = new FakeTarget();
    assert.equal(target.run(sense(0)).dataIn.toString('hex'), '00000005' + '0002030c19');
    assert.equal(
      target.run(sense(0, { subpage: 0xff })).dataIn.toString('hex'),
      '40ff000c' + '000000ff' + '0200' + '0300' + '0c00' + '1900',
    );
    for (const pageControl of [0, 1, 2, 3])
      assert.equal(target.run(sense(0, { pageControl })).outcome, 'GOOD');
  });

  test('whose device does not tell what its data takes, or that is fully provisioned, has no page about it', () => {
    const others = [slowTarget({ size: 1 << 20 }).target, new FakeTarget(fakeUnit({ provisioning: 'full' }))];
    for (const target of others) {
      assert.equal(target.run(sense(0)).dataIn.toString('hex', 4), '00020319');
      assert.equal(target.run(sense(PROVISIONING)).outcome, invalidField);
    }
  });

  test('a CD drive has neither command', () => {
    const drive = new FakeTarget(fakeDrive());
    for (const cdb of [sense(0), select(0)])
      assert.equal(drive.run(cdb).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
  });

  test('each field that is refused is pointed at', () => {
    const target = new FakeTarget();
    for (const [cdb, pointer] of [
      [sense(STATISTICS, { flags: SP }), 'c80001'],
      [sense(STATISTICS, { flags: 0x02 }), 'c90001'],
      [sense(0x0d), 'cd0002'],
      [sense(STATISTICS, { subpage: 1 }), 'c00003'],
      [sense(STATISTICS, { subpage: 0xff }), 'c00003'],
      [sense(0, { subpage: 1 }), 'c00003'],
      [sense(0, { pointer: 1 }), 'c00005'],
      [sense(STATISTICS, { pointer: 4 }), 'c00005'],
      [sense(PROVISIONING, { pointer: 3 }), 'c00005'],
      [sense(STATISTICS, { pageControl: 0 }), 'cf0002'],
      [sense(READ_ERRORS, { pageControl: 2 }), 'cf0002'],
    ] as const) {
      const task = target.run(cdb);
      assert.equal(task.outcome, invalidField, cdb.join());
      assert.equal(pointerOf(task), pointer, cdb.join());
    }
  });

  test('begins with the parameter pointed to, or the next one', () => {
    const target = new FakeTarget();
    const codes = (pointer: number): number[] =>
      parametersOf(target.run(sense(STATISTICS, { pointer })).dataIn).map(([code]) => code);
    assert.deepEqual([0, 1, 2, 3].map(codes), [[1, 2, 3], [1, 2, 3], [2, 3], [3]]);
    assert.deepEqual(
      parametersOf(target.run(sense(READ_ERRORS, { pointer: 2 })).dataIn).map(([code]) => code),
      [6],
    );
  });

  test('is cut to the allocation length, which tells no other length of the page', () => {
    const whole = new FakeTarget().run(sense(STATISTICS)).dataIn;
    const cut = new FakeTarget().run(sense(STATISTICS, { length: 10 })).dataIn;
    assert.deepEqual(cut, whole.subarray(0, 10));
    assert.equal(new FakeTarget().run(sense(STATISTICS, { length: 0 })).dataIn.length, 0);
  });

  test('runs although another nexus has reserved the unit, LOG SELECT does not', () => {
    const target = new FakeTarget();
    const other = fakeNexus('b');
    target.unit.addNexus(other);
    assert.equal(target.run([0x16, 0, 0, 0, 0, 0]).outcome, 'GOOD');
    assert.equal(target.run(sense(STATISTICS), { nexus: other }).outcome, 'GOOD');
    assert.equal(target.run(select(STATISTICS), { nexus: other }).outcome, 'RESERVATION_CONFLICT');
  });
});

describe('19h General Statistics and Performance (SPC-4 7.3.6)', () => {
  /** What the clock tells, in milliseconds; it stands still but for the test. */
  let now: number;
  let target: FakeTarget;

  beforeEach(() => {
    now = 1000;
    target = new FakeTarget(fakeUnit({ now: () => now }));
  });

  const statistics = (fields: LogFields = {}) => {
    const parameters = parametersOf(target.run(sense(STATISTICS, fields)).dataIn);
    assert.deepEqual(
      parameters.map(([code, control, { length }]) => [code, control, length]),
      [
        [1, 0x22, 64],
        [2, 0x22, 8],
        [3, 0x23, 8],
      ],
    );
    const [, , interval] = parameters[2]!;
    assert.equal(interval.toString('hex'), '00000006' + '00000001');
    const [reads, writes, received, transmitted, readTime, writeTime, ...weighted] = counters(
      parameters[0]![2],
    );
    assert.deepEqual(weighted, [0, 0]);
    return {
      reads,
      writes,
      received,
      transmitted,
      readTime,
      writeTime,
      idle: counters(parameters[1]![2])[0],
    };
  };
  const nothing = { reads: 0, writes: 0, received: 0, transmitted: 0, readTime: 0, writeTime: 0, idle: 0 };

  test('counts reads, writes, and their blocks', () => {
    assert.deepEqual(statistics(), nothing);
    assert.equal(target.run(cdb10(0x28, 0, 0, 3)).outcome, 'GOOD');
    assert.equal(target.run(cdb16(0x88, 0, 5, 4)).outcome, 'GOOD');
    assert.equal(target.run(cdb10(0x2a, 0, 0, 2), { dataOut: Buffer.alloc(2 * BLOCK) }).outcome, 'GOOD');
    assert.equal(target.run(cdb10(0x2e, 0, 0, 1), { dataOut: Buffer.alloc(BLOCK) }).outcome, 'GOOD');
    assert.deepEqual(statistics(), { ...nothing, reads: 2, transmitted: 7, writes: 2, received: 3 });
  });

  test('counts UNMAP as a write that receives no block, and others not', () => {
    const list = Buffer.alloc(24);
    list.writeUInt16BE(22, 0);
    list.writeUInt16BE(16, 2);
    assert.equal(target.run(cdbUnmap(24), { dataOut: list }).outcome, 'GOOD');
    for (const cdb of [[0, 0, 0, 0, 0, 0], cdb10(0x25, 0, 0, 0), cdb10(0x35, 0, 0, 0)])
      assert.equal(target.run(cdb).outcome, 'GOOD');
    assert.equal(target.run(cdb10(0x2f, 0, 0, 1)).outcome, 'GOOD');
    assert.deepEqual(statistics(), { ...nothing, writes: 1 });
  });

  test('counts what fails, but none of its blocks', () => {
    assert.equal(target.run(cdb10(0x28, 0, 2048, 1)).outcome, senseText(Sense.LBA_OUT_OF_RANGE));
    assert.deepEqual(statistics(), { ...nothing, reads: 1 });
  });

  test('takes the times that commands waited until their end, and those between', () => {
    now += 5;
    const task = target.task(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(BLOCK), holdsData: true });
    target.unit.submit(task);
    now += 0.25;
    const other = target.task(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(BLOCK), holdsData: true });
    target.unit.submit(other);
    now += 1;
    task.deliver();
    now += 2;
    other.deliver();
    now += 10;
    target.run(cdb10(0x28, 0, 0, 1));
    now += 1;
    const expected = { reads: 1, writes: 2, received: 2, transmitted: 1 };
    assert.deepEqual(statistics(), {
      ...nothing,
      ...expected,
      writeTime: 1250 + 3000,
      idle: 5000 + 10_000 + 1000,
    });
  });

  test('default cumulative values are zero, but for the time interval', () => {
    now += 1;
    target.run(cdb10(0x28, 0, 0, 3));
    assert.deepEqual(statistics({ pageControl: DEFAULT_CUMULATIVE }), nothing);
    assert.equal(statistics().reads, 1);
  });

  test('a logical unit reset begins anew', () => {
    target.run(cdb10(0x28, 0, 0, 3));
    logicalUnitReset(target.unit, target.nexus, () => undefined);
    target.run([0, 0, 0, 0, 0, 0]);
    assert.deepEqual(statistics(), nothing);
  });

  test('a unit without commands is idle, also while the statistics are read', () => {
    now += 4;
    assert.equal(statistics().idle, 4000);
    now += 3;
    assert.equal(statistics().idle, 7000);
  });
});

describe('02h and 03h error counters', () => {
  test('count what the medium fails', () => {
    const { target, device } = slowTarget({ size: 1 << 20 }, false);
    const errors = (page: number) => {
      const [[code, control, value], ...others] = parametersOf(target.run(sense(page)).dataIn) as [
        [number, number, Buffer],
      ];
      assert.deepEqual([code, control, others], [6, 0x22, []]);
      return counters(value)[0];
    };
    device.fault = () => BlockStatus.MEDIUM_ERROR;
    target.run(cdb10(0x28, 0, 0, 1));
    target.run(cdb10(0x28, 0, 0, 1));
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(BLOCK) });
    device.fault = () => BlockStatus.NO_SPACE;
    target.run(cdb10(0x2a, 0, 0, 1), { dataOut: Buffer.alloc(BLOCK) });
    assert.deepEqual([errors(READ_ERRORS), errors(WRITE_ERRORS)], [2, 1]);
    assert.equal(target.run(select(READ_ERRORS)).outcome, 'GOOD');
    assert.deepEqual([errors(READ_ERRORS), errors(WRITE_ERRORS)], [0, 1]);
  });
});

describe('0Ch Logical Block Provisioning (SBC-3)', () => {
  test('tells in threshold sets of 1 MiB what is used', () => {
    const target = new FakeTarget(fakeUnit({ size: 16 << 20 }));
    const used = (): [number, number][] =>
      parametersOf(target.run(sense(PROVISIONING)).dataIn).map(([code, control, value]) => {
        assert.deepEqual([control, value.length, value[4]], [0x23, 8, 0x01]);
        return [code, value.readUInt32BE(0)];
      });
    assert.equal(target.run(sense(PROVISIONING)).dataIn[0], 0x8c);
    assert.deepEqual(used(), [[2, 0]]);
    const dataOut = Buffer.alloc(3 << 20);
    target.run(cdb10(0x2a, 0, 0, dataOut.length / BLOCK), { dataOut });
    assert.deepEqual(used(), [[2, 3]]);
    target.run(cdb10(0x2a, 0, 20_000, 1), { dataOut: dataOut.subarray(0, BLOCK) });
    assert.deepEqual(used(), [[2, 4]]);
    // PC is ignored where there are lists alone.
    for (const pageControl of [0, 1, 2, 3])
      assert.deepEqual(
        target.run(sense(PROVISIONING, { pageControl })).dataIn,
        target.run(sense(PROVISIONING)).dataIn,
      );
  });
});

describe('LOG SELECT (SPC-4 6.7)', () => {
  let target: FakeTarget;
  beforeEach(() => {
    target = new FakeTarget();
    target.run(cdb10(0x28, 0, 0, 3));
  });
  const reads = () => counters(parametersOf(target.run(sense(STATISTICS)).dataIn)[0]![2])[0];

  test('resets a page, or all of them', () => {
    for (const cdb of [
      select(STATISTICS),
      select(STATISTICS, { subpage: 0xff }),
      select(STATISTICS, { flags: PCR | SP, pageControl: DEFAULT_CUMULATIVE }),
      select(STATISTICS, { flags: 0, pageControl: DEFAULT_CUMULATIVE }),
      select(0),
    ]) {
      target.run(cdb10(0x28, 0, 0, 1));
      assert.notEqual(reads(), 0);
      assert.equal(target.run(cdb).outcome, 'GOOD');
      assert.equal(reads(), 0, cdb.join());
    }
  });

  test('changes nothing unless it is asked to, and no other page', () => {
    for (const cdb of [
      select(READ_ERRORS),
      select(PROVISIONING),
      select(0, { subpage: 0xff }),
      select(STATISTICS, { flags: 0 }),
      select(STATISTICS, { flags: 0, pageControl: 2 }),
    ]) {
      assert.equal(target.run(cdb).outcome, 'GOOD', cdb.join());
      assert.equal(reads(), 1, cdb.join());
    }
  });

  test('other nexuses learn of a reset', () => {
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    target.run(select(STATISTICS, { flags: 0 }));
    assert.equal(target.run([0], { nexus }).outcome, 'GOOD');
    target.run(select(STATISTICS));
    assert.equal(target.run([0], { nexus }).outcome, senseText(Sense.LOG_PARAMETERS_CHANGED));
    assert.equal(target.run([0]).outcome, 'GOOD');
  });

  test('each field that is refused is pointed at', () => {
    for (const [cdb, pointer] of [
      [select(STATISTICS, { flags: PCR | SP }), 'c80001'],
      [select(STATISTICS, { flags: SP }), 'c80001'],
      [select(0x0d), 'cd0002'],
      [select(STATISTICS, { subpage: 1 }), 'c00003'],
      [select(0, { subpage: 1 }), 'c00003'],
      [select(0, { length: 4 }), 'c00007'],
    ] as const) {
      const task = target.run(cdb);
      assert.equal(task.outcome, invalidField, cdb.join());
      assert.equal(pointerOf(task), pointer, cdb.join());
      assert.equal(reads(), 1);
    }
  });
});
