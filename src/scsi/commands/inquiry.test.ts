import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { deriveIdentity } from '../identity.js';
import { Sense } from '../sense.js';
import { slowTarget } from '../testing/slow-device.js';
import { FakeTarget, fakeNexus, fakeUnit, senseText } from '../testing/fake-task.js';

const inquiry = (length: number, page?: number) => [
  0x12,
  page === undefined ? 0 : 1,
  page ?? 0,
  length >>> 8,
  length & 0xff,
  0,
];

describe('standard INQUIRY data (SPC-4 6.6.2)', () => {
  test('names the disk and the standards it obeys', () => {
    const { dataIn } = new FakeTarget(fakeUnit({ product: 'A disk' })).run(inquiry(512));
    assert.equal(dataIn.length, dataIn[4]! + 5);
    assert.equal(dataIn.toString('hex', 0, 8), '000006125b000002');
    assert.equal(dataIn.toString('ascii', 8, 36), 'RISER   A disk          0.1 ');
    assert.equal(dataIn.toString('hex', 58, 66), '00a0' + '0460' + '04c0' + '0000');
  });

  test('has RMB only for a removable medium', () => {
    assert.equal(new FakeTarget(fakeUnit({ removable: true })).run(inquiry(96)).dataIn[1], 0x80);
  });

  test('is cut to any allocation length, which counts for the residual', () => {
    const target = new FakeTarget();
    const whole = target.run(inquiry(512)).dataIn;
    for (const length of [0, 5, 36, 95, 96, 255]) {
      const task = target.run(inquiry(length));
      assert.deepEqual(task.dataIn, whole.subarray(0, length));
      assert.equal(task.transferLength, Math.min(length, whole.length));
    }
  });

  test('a page code without EVPD is refused', () => {
    const task = new FakeTarget().run([0x12, 0, 1, 1, 0, 0]);
    assert.equal(task.outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    assert.equal(task.sense.bytes.readUInt16BE(16), 2);
  });
});

describe('vital product data (SPC-4 7.8, SBC-3 6.5)', () => {
  const page = (code: number, target = new FakeTarget()) => target.run(inquiry(0xffff, code)).dataIn;

  test('every page that page 00h lists is there, in ascending order, with its length', () => {
    for (const provisioning of ['thin', 'full'] as const) {
      const target = new FakeTarget(fakeUnit({ provisioning }));
      const list = [...page(0, target).subarray(4)];
      assert.deepEqual(list, provisioning === 'thin' ? PAGES : PAGES.filter((code) => code !== 0xb2));
      for (const code of list) {
        const data = page(code, target);
        assert.equal(data[1], code);
        assert.equal(data.readUInt16BE(2), data.length - 4);
      }
    }
  });
  const PAGES = [0x00, 0x80, 0x83, 0x86, 0x87, 0xb0, 0xb1, 0xb2];

  test('a page that is not there is refused', () => {
    const target = new FakeTarget(fakeUnit({ provisioning: 'full' }));
    for (const code of [0x01, 0xb2, 0xff]) {
      assert.equal(target.run(inquiry(255, code)).outcome, senseText(Sense.INVALID_FIELD_IN_CDB));
    }
  });

  test('80h: the serial number', () => {
    const unit = fakeUnit();
    assert.equal(
      page(0x80, new FakeTarget(unit)).toString('ascii', 4),
      unit.configuration.identity.serialNumber,
    );
  });

  test('83h: the designators, of which those of the port are the asking nexus’s', () => {
    const target = new FakeTarget();
    const nexus = fakeNexus('b', 0x0102);
    const data = target.run(inquiry(0xffff, 0x83), { nexus }).dataIn;
    const found = new Map<string, string>();
    for (let at = 4; at < data.length; at += 4 + data[at + 3]!) {
      const kind = data.toString('hex', at, at + 2);
      const value = data.subarray(at + 4, at + 4 + data[at + 3]!);
      const isText = (data[at]! & 0x0f) !== 1;
      found.set(kind, isText ? value.toString('utf8').replace(/\0+$/, '') : value.toString('hex'));
    }
    const { naa, serialNumber } = target.unit.configuration.identity;
    assert.deepEqual(Object.fromEntries(found), {
      '0103': naa.toString('hex'),
      '0201': `RISER   ${serialNumber}`,
      '0308': `naa.${naa.toString('hex').toUpperCase()}`,
      '5194': '00000102',
      '5195': '00000102',
      '5398': 'iqn.2026-01.test:disk,t,0x0102',
      '53a8': 'iqn.2026-01.test:disk',
    });
  });

  test('86h: task attributes, a volatile cache, the longest sense data', () => {
    const data = page(0x86);
    assert.equal(data.toString('hex', 4, 8), '000f0101');
    assert.equal(data[13], 28);
  });

  test('B0h: the limits are the same bytes for both block sizes', () => {
    for (const blockSize of [512, 4096] as const) {
      const data = page(0xb0, new FakeTarget(fakeUnit({ blockSize })));
      assert.equal(data.length, 64);
      assert.equal(data[5], 255);
      assert.equal(data.readUInt32BE(8) * blockSize, 8 << 20);
      assert.equal(data.readUInt32BE(12) * blockSize, 1 << 20);
      assert.ok(data.readUInt32BE(20) > 0 && data.readUInt32BE(20) <= 1 << 20);
      assert.ok(data.readUInt32BE(24) > 0);
      assert.equal(data.readUInt32BE(28) * blockSize, 4096);
      assert.equal(data.readUInt32BE(32), 0x8000_0000);
      assert.equal(data.readBigUInt64BE(36) * BigInt(blockSize), 16n << 20n);
    }
  });

  test('B0h: a fully provisioned unit has no limits of unmapping', () => {
    const data = page(0xb0, new FakeTarget(fakeUnit({ provisioning: 'full' })));
    assert.equal(data.toString('hex', 20, 36), '00'.repeat(16));
  });

  test('B2h of a device that does not tell what its data takes: no thresholds', () => {
    const { target } = slowTarget({ size: 1 << 20 }, false);
    assert.equal(page(0xb2, target).toString('hex'), '00b20004' + '00e40200');
  });

  test('B1h and B2h', () => {
    assert.equal(page(0xb1).readUInt16BE(4), 1);
    assert.equal(page(0xb2).toString('hex'), '00b20004' + '0be40200');
    const large = new FakeTarget(fakeUnit({ blockSize: 4096 }));
    assert.equal(page(0xb2, large).toString('hex'), '00b20004' + '08e40200');
  });
});

describe('deriveIdentity', () => {
  const source = { targetName: 'iqn.2026-01.test:t', lun: 0, image: '/a' };

  test('stays the same, and changes with each of its sources', () => {
    const identity = deriveIdentity(source);
    assert.deepEqual(deriveIdentity({ ...source }), identity);
    for (const change of [{ targetName: 'iqn.2026-01.test:u' }, { lun: 1 }, { image: '/b' }]) {
      const other = deriveIdentity({ ...source, ...change });
      assert.notDeepEqual(other.naa, identity.naa);
      assert.notEqual(other.serialNumber, identity.serialNumber);
    }
  });

  test('is a locally assigned NAA and 16 printable characters', () => {
    const { naa, serialNumber } = deriveIdentity(source);
    assert.equal(naa.length, 8);
    assert.equal(naa[0]! >>> 4, 3);
    assert.match(serialNumber, /^[0-9a-f]{16}$/);
  });

  test('follows a serial number of one’s own from target to target', () => {
    const here = deriveIdentity({ ...source, serialNumber: 'MY-1' });
    const there = deriveIdentity({
      targetName: 'iqn.2026-01.test:u',
      lun: 5,
      image: '/c',
      serialNumber: 'MY-1',
    });
    assert.equal(here.serialNumber, 'MY-1');
    assert.deepEqual(here.naa, there.naa);
  });
});
