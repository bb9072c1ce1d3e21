import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Sense } from '../sense.js';
import { FakeTarget, fakeUnit, senseText } from '../testing/fake-task.js';

const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);

function reportCodes(options: number, opcode = 0, serviceAction = 0, length = 0xffff): number[] {
  return [
    0xa3,
    0x0c,
    options,
    opcode,
    serviceAction >>> 8,
    serviceAction & 0xff,
    0,
    0,
    length >>> 8,
    length & 0xff,
    0,
    0,
  ];
}

/** The descriptors of the list of all commands. */
function listed(target: FakeTarget, withTimeouts = false) {
  const { dataIn } = target.run(reportCodes(withTimeouts ? 0x80 : 0));
  assert.equal(dataIn.readUInt32BE(0), dataIn.length - 4);
  const size = withTimeouts ? 20 : 8;
  assert.equal((dataIn.length - 4) % size, 0);
  return Array.from({ length: (dataIn.length - 4) / size }, (_, i) => {
    const at = 4 + i * size;
    return {
      opcode: dataIn[at]!,
      serviceAction: dataIn.readUInt16BE(at + 2),
      hasTimeouts: (dataIn[at + 5]! & 2) !== 0,
      hasServiceAction: (dataIn[at + 5]! & 1) !== 0,
      cdbLength: dataIn.readUInt16BE(at + 6),
      timeouts: dataIn.subarray(at + 8, at + size).toString('hex'),
    };
  });
}

describe('REPORT SUPPORTED OPERATION CODES (SPC-4 6.35)', () => {
  test('lists every operation but those of 32 bytes, with timeouts where asked for', () => {
    const target = new FakeTarget();
    const operations = target.unit.operations.operations.filter(({ opcode }) => opcode !== 0x7f);
    for (const withTimeouts of [false, true]) {
      const descriptors = listed(target, withTimeouts);
      assert.equal(descriptors.length, operations.length);
      for (const { hasTimeouts, timeouts, hasServiceAction, serviceAction } of descriptors) {
        assert.equal(hasTimeouts, withTimeouts);
        assert.equal(timeouts, withTimeouts ? '000a' + '00'.repeat(10) : '');
        if (!hasServiceAction) assert.equal(serviceAction, 0);
      }
    }
  });

  test('CDB lengths are those of the group of the operation code (SPC-4 4.2.5.1)', () => {
    const lengths = [6, 10, 10, 32, 16, 12];
    for (const { opcode, cdbLength } of listed(new FakeTarget())) {
      assert.equal(cdbLength, lengths[opcode >>> 5], `operation code ${opcode}`);
    }
  });

  test('tells of one command what it evaluates, by the option that fits it', () => {
    const target = new FakeTarget();
    for (const { opcode, serviceAction, hasServiceAction, cdbLength } of listed(target)) {
      const fitting = hasServiceAction ? 2 : 1;
      assert.equal(target.run(reportCodes(3 - fitting, opcode, serviceAction)).outcome, invalidField);
      for (const option of [fitting, 3]) {
        const { dataIn } = target.run(reportCodes(option, opcode, serviceAction));
        assert.equal(dataIn.length, 4 + cdbLength);
        assert.equal(dataIn.toString('hex', 0, 4), `000300${cdbLength.toString(16).padStart(2, '0')}`);
        assert.equal(dataIn[4], opcode);
        const told = dataIn[5]! & 0x1f;
        if (hasServiceAction) assert.equal(told, serviceAction);
      }
    }
  });

  test('timeouts of one command', () => {
    const { dataIn } = new FakeTarget().run(reportCodes(0x81, 0x12));
    assert.equal(dataIn.toString('hex'), '00830006' + '1201ffffff00' + '000a' + '00'.repeat(10));
  });

  test('what is not supported is said to be so', () => {
    const target = new FakeTarget();
    for (const [option, opcode, serviceAction] of [
      [1, 0xff, 0],
      [2, 0xff, 0],
      [2, 0x9e, 0x1f],
      [3, 0x12, 1],
      [3, 0xff, 0],
    ] as const) {
      assert.equal(target.run(reportCodes(option, opcode, serviceAction)).dataIn.toString('hex'), '00010000');
    }
    assert.equal(target.run(reportCodes(4)).outcome, invalidField);
  });

  test('the list follows the configuration: UNMAP and PREVENT ALLOW', () => {
    const opcodes = (target: FakeTarget) => new Set(listed(target).map((d) => d.opcode));
    const full = new FakeTarget(fakeUnit({ provisioning: 'full' }));
    const removable = new FakeTarget(fakeUnit({ removable: true }));
    assert.equal(opcodes(full).has(0x42), false);
    assert.equal(full.run([0x42]).outcome, senseText(Sense.INVALID_COMMAND_OPERATION_CODE));
    assert.equal(opcodes(full).has(0x1e), false);
    assert.equal(opcodes(removable).has(0x42), true);
    assert.equal(opcodes(removable).has(0x1e), true);
  });

  test('is cut to the allocation length', () => {
    assert.equal(new FakeTarget().run(reportCodes(0, 0, 0, 10)).dataIn.length, 10);
  });
});

describe('REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36)', () => {
  const cdb = (flags: number, length: number) => [0xa3, 0x0d, flags, 0, 0, 0, 0, 0, 0, length, 0, 0];

  test('basic and extended', () => {
    const target = new FakeTarget();
    assert.equal(target.run(cdb(0, 255)).dataIn.toString('hex'), 'de070000');
    assert.equal(target.run(cdb(0x80, 255)).dataIn.toString('hex'), 'de07000c' + '00'.repeat(12));
  });

  test('the allocation length is at least 4', () => {
    assert.equal(new FakeTarget().run(cdb(0, 3)).outcome, invalidField);
  });
});
