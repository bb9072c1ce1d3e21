import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BlockOp } from '../../block/device.js';
import { MemoryDevice } from '../../block/memory.js';
import { Sense } from '../sense.js';
import { cdb10, cdb12 } from '../testing/cdb.js';
import { FakeTarget, FakeTask, fakeDrive, fakeNexus, senseText } from '../testing/fake-task.js';

const TEST_UNIT_READY = [0, 0, 0, 0, 0, 0];
const EJECT = [0x1b, 0, 0, 0, 2, 0];
const LOAD = [0x1b, 0, 0, 0, 3, 0];
const trayOpen = senseText(Sense.MEDIUM_NOT_PRESENT_TRAY_OPEN);
const changed = senseText(Sense.MEDIUM_MAY_HAVE_CHANGED);
const invalidField = senseText(Sense.INVALID_FIELD_IN_CDB);
const incompatible = senseText(Sense.INCOMPATIBLE_FORMAT);
/** One block more than a CD has. */
const DVD = 100 * 60 * 75 - 150 + 1;

const drive = (blocks?: number) => new FakeTarget(fakeDrive(blocks));
const hex = (target: FakeTarget, cdb: readonly number[]) => target.run(cdb).dataIn.toString('hex');

/** A disc whose blocks are full of their numbers. */
function numberedDisc(blocks: number): MemoryDevice {
  const device = new MemoryDevice({ size: blocks * 2048, blockSize: 2048 });
  for (let lba = 0; lba < blocks; lba++) {
    const io = new FakeTask();
    io.allocate(2048);
    io.data.write(0, Buffer.alloc(2048, lba), 0, 2048);
    Object.assign(io, { op: BlockOp.WRITE, offset: lba * 2048, length: 2048 });
    device.submit(io);
  }
  return device;
}

describe('a CD or DVD drive', () => {
  test('is what INQUIRY says, with the pages that are no disk’s', () => {
    const target = drive();
    const { dataIn } = target.run([0x12, 0, 0, 0, 96, 0]);
    assert.equal(dataIn.toString('hex', 0, 8), '058006125b000002');
    assert.equal(dataIn.toString('ascii', 16, 32).trimEnd(), 'DVD-ROM');
    assert.equal(dataIn.toString('hex', 58, 66), '00a0' + '0460' + '04e0' + '0000');
    assert.equal(hex(target, [0x12, 1, 0, 0, 255, 0]), '05000004' + '00808386');
    assert.equal(hex(target, [0x12, 1, 0x86, 0, 8, 0]), '0586003c' + '000f0001');
    assert.equal(target.run([0x12, 1, 0xb0, 0, 255, 0]).outcome, invalidField);
  });

  test('has no command that writes, nor any other of a disk’s alone', () => {
    const target = drive();
    const { operations } = target.unit.operations;
    assert.deepEqual(
      operations.filter(({ writesMedium }) => writesMedium),
      [],
    );
    for (const opcode of [0x08, 0x0a, 0x2a, 0x2f, 0x35, 0x42, 0x88, 0x8a, 0xaa, 0x9e]) {
      const outcome = senseText(Sense.INVALID_COMMAND_OPERATION_CODE);
      assert.equal(target.run([opcode, opcode === 0x9e ? 0x10 : 0]).outcome, outcome);
    }
    const names = operations.map(({ name }) => name);
    assert.deepEqual(names, [
      'TEST UNIT READY',
      'REQUEST SENSE',
      'INQUIRY',
      'MODE SELECT(6)',
      'MODE SENSE(6)',
      'START STOP UNIT',
      'PREVENT ALLOW MEDIUM REMOVAL',
      'READ CAPACITY(10)',
      'READ(10)',
      'READ TOC/PMA/ATIP',
      'GET CONFIGURATION',
      'GET EVENT STATUS NOTIFICATION',
      'READ DISC INFORMATION',
      'READ TRACK INFORMATION',
      'MODE SELECT(10)',
      'MODE SENSE(10)',
      'REPORT LUNS',
      'REPORT SUPPORTED OPERATION CODES',
      'REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS',
      'READ(12)',
      'GET PERFORMANCE',
      'READ DISC STRUCTURE',
      'SET CD SPEED',
      'MECHANISM STATUS',
      'READ CD',
    ]);
  });

  test('tells its capabilities, and that its tray is locked', () => {
    const target = drive();
    const page = () => target.run([0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 255, 0]).dataIn;
    const whole = page();
    assert.equal(whole.toString('hex', 0, 8), '0026000000000000', 'neither WP nor a block descriptor');
    assert.equal(whole.toString('hex', 8, 18), '2a1e0b00' + '00002900' + '2100');
    target.run([0x1e, 0, 0, 0, 1, 0]);
    assert.equal(page()[14], 0x2b);
    const all = target.run([0x1a, 0, 0x3f, 0, 255, 0]).dataIn;
    const codes: number[] = [];
    for (let at = 4; at < all.length; at += 2 + all[at + 1]!) codes.push(all[at]!);
    assert.deepEqual(codes, [0x01, 0x0a, 0x1a, 0x1c, 0x1d, 0x2a]);
  });

  test('reads blocks of 2048 bytes, by READ(10), READ(12) and READ CD', () => {
    const target = drive(4);
    target.unit.changeDisc(numberedDisc(4));
    target.run(TEST_UNIT_READY); // takes the unit attention
    assert.equal(hex(target, [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), '00000003' + '00000800');
    const expected = Buffer.concat([Buffer.alloc(2048, 2), Buffer.alloc(2048, 3)]);
    const readCd = (lba: number, type = 0, channels = 0x10, sub = 0) => [
      ...[0xbe, type << 2, 0, 0, 0, lba],
      ...[0, 0, 2, channels, sub, 0],
    ];
    const cdbs = [cdb10(0x28, 0, 2, 2), cdb12(0xa8, 0, 2, 2), readCd(2), readCd(2, 2)];
    for (const cdb of cdbs) assert.deepEqual(target.run(cdb).dataIn, expected);
    assert.equal(target.run(readCd(3)).outcome, senseText(Sense.LBA_OUT_OF_RANGE));
    assert.equal(target.run(readCd(2, 0, 0)).dataIn.length, 0, 'nothing was asked for');
    assert.equal(target.run(readCd(2, 1)).outcome, senseText(Sense.ILLEGAL_MODE_FOR_THIS_TRACK), 'no audio');
    assert.equal(target.run(readCd(2, 6)).outcome, invalidField);
    assert.equal(target.run(readCd(2, 0, 0xf8)).outcome, invalidField, 'raw sectors');
    assert.equal(target.run(readCd(2, 0, 0x10, 1)).outcome, invalidField, 'sub-channels');
    assert.equal(drive(DVD).run(readCd(2)).outcome, incompatible);
  });
});

describe('what a drive tells of its disc', () => {
  const toc = (flags: number, format: number, first = 0, control = 0) => [
    ...[0x43, flags, format, 0, 0, 0, first],
    ...[1, 0, control],
  ];

  test('READ TOC/PMA/ATIP: tracks, sessions, and the lead-in', () => {
    const target = drive(512);
    const track = '0014010000000000';
    const leadOut = '0014aa00' + '00000200';
    assert.equal(hex(target, toc(0, 0)), '00120101' + track + leadOut);
    assert.equal(hex(target, toc(0, 0, 1)), '00120101' + track + leadOut);
    assert.equal(hex(target, toc(0, 0, 0xaa)), '000a0101' + leadOut);
    // 512 + 150 frames are 8 seconds and 62 frames.
    assert.equal(hex(target, toc(2, 0)), '00120101' + '0014010000000200' + '0014aa000000083e');
    assert.equal(hex(target, toc(0, 1)), '000a0101' + track);
    assert.equal(hex(target, toc(0, 0, 0, 0x40)), '000a0101' + track, 'the format as it was before MMC');
    const lead = ['a0' + '00000000' + '010000', 'a1' + '00000000' + '010000', 'a2' + '00000000' + '00083e'];
    const entries = [...lead, '01' + '00000000' + '000200'].map((entry) => '011400' + entry);
    assert.equal(hex(target, toc(2, 2)), '002e0101' + entries.join(''));
    assert.equal(target.run(toc(0, 0, 2)).outcome, invalidField);
    for (const format of [3, 4, 5]) assert.equal(target.run(toc(0, format)).outcome, invalidField);
  });

  test('an address that minutes cannot tell is FFh:3Bh:4Ah', () => {
    const last = 256 * 60 * 75 - 150;
    assert.equal(hex(drive(last - 1), toc(2, 0, 0xaa)).slice(-8), '00ff3b4a');
    assert.equal(hex(drive(last + 100), toc(2, 0, 0xaa)).slice(-8), '00ff3b4a');
    assert.equal(hex(drive(last - 2), toc(2, 0, 0xaa)).slice(-8), '00ff3b49');
  });

  test('READ DISC INFORMATION and READ TRACK INFORMATION: one finalised session, one data track', () => {
    const target = drive(512);
    const disc = '00200e01' + '01010120' + '00'.repeat(8) + 'ff'.repeat(8) + '00'.repeat(10);
    assert.equal(hex(target, [0x51, 0, 0, 0, 0, 0, 0, 0, 255, 0]), disc);
    assert.equal(target.run([0x51, 1, 0, 0, 0, 0, 0, 0, 255, 0]).outcome, invalidField);
    const track = (type: number, number: number) => [
      ...[0x52, type, 0, 0, number >>> 8, number & 0xff],
      ...[0, 0, 255, 0],
    ];
    const first = '00220101' + '00040100' + '00'.repeat(16) + '00000200' + '00'.repeat(8);
    for (const cdb of [track(0, 511), track(1, 1), track(2, 1)]) assert.equal(hex(target, cdb), first);
    assert.equal(target.run(track(0, 512)).outcome, senseText(Sense.LBA_OUT_OF_RANGE));
    for (const cdb of [track(1, 0), track(1, 2), track(1, 255), track(3, 1), track(5, 1)])
      assert.equal(target.run(cdb).outcome, invalidField);
  });

  test('READ DISC STRUCTURE: of a DVD only', () => {
    const structure = (format: number, layer = 0, media = 0) => [
      ...[0xad, media, 0, 0, 0, 0],
      ...[layer, format, 16, 0, 0, 0],
    ];
    const dvd = drive(DVD);
    const physical = dvd.run(structure(0)).dataIn;
    assert.equal(physical.length, 2052);
    const end = (0x3_0000 + DVD - 1).toString(16).padStart(8, '0');
    assert.equal(physical.toString('hex', 0, 20), '08020000' + '010f0100' + '00030000' + end + '00000000');
    assert.equal(hex(dvd, structure(1)), '00060000' + '00000000');
    assert.equal(hex(dvd, structure(0xff)), '000a0000' + '00400804' + '01400008');
    for (const cdb of [structure(0x0c), structure(0, 1), structure(0, 0, 1)])
      assert.equal(dvd.run(cdb).outcome, invalidField);
    assert.equal(drive().run(structure(0)).outcome, incompatible);
  });

  test('GET CONFIGURATION: profiles and features by the disc', () => {
    const configuration = (target: FakeTarget, type = 0, from = 0) => {
      const data = target.run([0x46, type, from >>> 8, from & 0xff, 0, 0, 0, 4, 0, 0]).dataIn;
      assert.equal(data.readUInt32BE(0), data.length - 4);
      const current: number[] = [];
      const all: number[] = [];
      for (let at = 8; at < data.length; at += 4 + data[at + 3]!) {
        all.push(data.readUInt16BE(at));
        if ((data[at + 2]! & 1) !== 0) current.push(data.readUInt16BE(at));
      }
      return { data, profile: data.readUInt16BE(6), all, current };
    };
    const all = [0, 1, 2, 3, 0x10, 0x1d, 0x1e, 0x1f, 0x100, 0x105, 0x108];
    const always = [0, 1, 2, 3, 0x100, 0x105, 0x108];
    const sorted = (...features: number[]) => [...always, ...features].sort((a, b) => a - b);
    const cases = [
      { target: drive(DVD - 1), profile: 0x08, current: sorted(0x10, 0x1d, 0x1e) },
      { target: drive(DVD), profile: 0x10, current: sorted(0x10, 0x1f) },
    ];
    for (const { target, profile, current } of cases) {
      const told = configuration(target);
      assert.deepEqual([told.profile, told.all, told.current], [profile, all, current]);
      assert.deepEqual(configuration(target, 1).all, current);
      target.run(EJECT);
      const empty = configuration(target, 1);
      assert.deepEqual([empty.profile, empty.all], [0, always]);
    }
    const cd = drive();
    assert.deepEqual(configuration(cd, 0, 0x1d).all, [0x1d, 0x1e, 0x1f, 0x100, 0x105, 0x108]);
    assert.equal(configuration(cd, 2, 0).data.toString('hex', 8), '00000308' + '00100000' + '00080100');
    assert.deepEqual(
      configuration(cd, 2, 0x10).data.toString('hex', 8),
      '00100108' + '00000800' + '00010100',
    );
    assert.deepEqual(configuration(cd, 2, 0x21).all, []);
    assert.equal(cd.run([0x46, 3, 0, 0, 0, 0, 0, 0, 8, 0]).outcome, invalidField);
  });

  test('GET PERFORMANCE and SET CD SPEED: one speed, whatever is set', () => {
    const target = drive(512);
    const performance = (flags: number, type: number, first = 0, descriptors = 4) => [
      ...[0xac, flags, 0, 0, first >>> 8, first & 0xff],
      ...[0, 0, 0, descriptors, type, 0],
    ];
    assert.equal(target.run([0xbb, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]).outcome, 'GOOD');
    const nominal = '00000014' + '00000000' + '00000001' + '00002100' + '000001ff' + '00002100';
    assert.equal(hex(target, performance(0x10, 0, 1)), nominal);
    assert.equal(hex(target, performance(0x10, 0, 1, 0)), '0000000400000000');
    assert.equal(hex(target, performance(0x14, 0)), '0000000402000000');
    assert.equal(hex(target, performance(0x11, 0)), '0000000401000000');
    assert.equal(hex(target, performance(0, 3)), '0000000400000000');
    assert.equal(target.run(performance(0x10, 0, 512)).outcome, invalidField);
    assert.equal(target.run(performance(0, 1)).outcome, invalidField);
  });
});

describe('the tray', () => {
  const events = (classes: number, length = 255, polled = 1) => [
    ...[0x4a, polled, 0, 0, classes, 0, 0],
    ...[0, length, 0],
  ];
  const OPERATIONAL = 1 << 1;
  const POWER = 1 << 2;
  const MEDIA = 1 << 4;
  const BUSY = 1 << 6;
  const mechanism = [0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];

  test('opens and closes, and each nexus can ask what happened, once', () => {
    const target = drive();
    const nexus = fakeNexus('b');
    target.unit.addNexus(nexus);
    const media = (of = target.nexus) => target.run(events(MEDIA), { nexus: of }).dataIn.toString('hex');
    assert.equal(media(), '00060456' + '00020000');
    assert.equal(target.run(EJECT).outcome, 'GOOD');
    assert.equal(target.run(TEST_UNIT_READY).outcome, trayOpen);
    assert.equal(target.run([0x03, 0, 0, 0, 18, 0]).dataIn[13], 0x02);
    assert.equal(hex(target, mechanism), '0010000000000000');
    for (const each of [target.nexus, nexus]) {
      assert.equal(media(each), '00060456' + '03010000', 'media removal');
      assert.equal(media(each), '00060456' + '00010000');
    }
    assert.equal(target.run(LOAD).outcome, 'GOOD');
    assert.equal(hex(target, mechanism), '0000000000000000');
    assert.equal(target.run(TEST_UNIT_READY).outcome, 'GOOD');
    assert.equal(target.run(events(MEDIA), { nexus }).outcome, 'GOOD', 'it ignores unit attentions');
    assert.equal(target.run(TEST_UNIT_READY, { nexus }).outcome, changed);
    assert.equal(media(), '00060456' + '02020000', 'new media');
    assert.equal(media(), '00060456' + '00020000');
  });

  test('events come by class, in ascending order, and stay when there was no room for them', () => {
    const target = drive();
    target.run(EJECT);
    const all = events(OPERATIONAL | POWER | MEDIA | BUSY);
    assert.equal(hex(target, events(OPERATIONAL | MEDIA, 4)), '00060156');
    assert.equal(hex(target, all), '00060156' + '02000001', 'the features are others');
    assert.equal(hex(target, all), '00060456' + '03010000');
    assert.equal(hex(target, all), '00060156' + '00000000', 'none left: the first class');
    assert.equal(hex(target, events(POWER)), '00060256' + '00010000');
    assert.equal(hex(target, events(BUSY)), '00060656' + '00000000');
    assert.equal(hex(target, events(1 << 5)), '00028056', 'no such class');
    assert.equal(target.run(events(MEDIA, 255, 0)).outcome, invalidField);
  });

  test('is locked by any nexus, persistently or not; one that is open can be closed', () => {
    const target = drive();
    const prevented = senseText(Sense.MEDIUM_REMOVAL_PREVENTED);
    const prevent = (value: number) => target.run([0x1e, 0, 0, 0, value, 0]).outcome;
    for (const persistently of [0, 2]) {
      prevent(1 | persistently);
      assert.equal(target.run(EJECT).outcome, prevented);
      assert.equal(target.run(LOAD).outcome, 'GOOD');
      prevent(2 - persistently);
      assert.equal(target.run(EJECT).outcome, prevented, 'the other kind was not allowed');
      const locked = hex(target, events(OPERATIONAL));
      assert.equal(locked.slice(10, 12), persistently === 0 ? '00' : '80');
      prevent(persistently);
      assert.equal(target.run(EJECT).outcome, 'GOOD');
      target.run(LOAD);
    }
    prevent(3);
    target.unit.removeNexus(target.nexus);
    assert.equal(target.unit.medium.isRemovalPrevented, false);
  });

  test('gets another disc, whose size counts from then on', () => {
    const target = drive(512);
    target.run(EJECT);
    target.unit.changeDisc(numberedDisc(3));
    assert.equal(target.run(TEST_UNIT_READY).outcome, changed);
    assert.equal(hex(target, events(MEDIA)), '00060456' + '02020000');
    assert.equal(hex(target, [0x25]), '00000002' + '00000800');
    assert.equal(target.run(cdb10(0x28, 0, 2, 1)).dataIn[0], 2);
  });

  test('no command that needs the disc runs without it', () => {
    const target = drive();
    target.run(EJECT);
    const without = new Set([
      ...[0x03, 0x12, 0x15, 0x1a, 0x1b, 0x1e, 0x46, 0x4a, 0x55, 0x5a, 0xa0, 0xa3, 0xbb, 0xbd],
    ]);
    for (const { name, opcode, serviceAction } of target.unit.operations.operations) {
      if (opcode === 0x1b) continue; // would close the tray
      const { outcome } = target.run([opcode, serviceAction ?? 0]);
      assert.equal(outcome === trayOpen, !without.has(opcode), name);
    }
  });
});
