/** Data-Out that commands understand: parameter lists, nearly right, and blocks. */

import { fakeNexus, FakeTarget, fakeUnit } from '../../../src/scsi/testing/fake-task.js';
import { copyList, populateList, writeUsingList, zeroToken } from '../../../src/scsi/testing/fake-copies.js';
import { encodeTransportId } from '../../../src/scsi/transport-id.js';
import { below, bytes, chance, damaged, odd, oneOf, type Random } from '../engine/pick.js';
import type { DataOut } from './steps.js';

type Maker = (cdb: Buffer, random: Random) => Buffer;

/** By operation code. */
const MAKERS: Readonly<Record<number, Maker>> = {
  0x15: (_, random) => modePages(random, 4),
  0x55: (_, random) => modePages(random, 8),
  0x42: (_, random) => unmapDescriptors(random),
  0x5f: (cdb, random) => reservation(cdb, random),
  0x48: (_, random) => sanitizeList(random),
  0x83: (cdb, random) => thirdPartyCopy(cdb, random),
  0xa4: (_, random) => portGroups(random),
};

/** Where the CDB says how long its parameter list is: offset and bytes. */
const LENGTHS: Readonly<Record<number, readonly [offset: number, bytes: number]>> = {
  0x15: [4, 1],
  0x55: [7, 2],
  0x42: [7, 2],
  0x5f: [5, 4],
  0x48: [7, 2],
  0x83: [10, 4],
  0xa4: [6, 4],
};

/** Data-Out for `cdb`, whose parameter list length is mostly made to agree. `blockSize`: bytes. */
export function dataOutFor(cdb: Buffer, blockSize: number, random: Random): DataOut {
  const make = MAKERS[cdb[0]!];
  if (make === undefined) {
    if (chance(random, 0.1)) return bytes(random, below(random, 200)).toString('hex');
    const blocks = oneOf(random, [0, 1, 2, 3, 4, 8, 64]);
    return {
      pattern: below(random, 4),
      length: Math.max(0, blocks * blockSize - (chance(random, 0.05) ? 1 : 0)),
    };
  }
  let list = make(cdb, random);
  if (chance(random, 0.3)) list = damaged(random, list);
  const [offset, width] = LENGTHS[cdb[0]!]!;
  if (offset + width <= cdb.length && chance(random, 0.9))
    cdb.writeUIntBE(Math.min(list.length, 2 ** (8 * width) - 1), offset, width);
  return list.toString('hex');
}

/** The answers to MODE SENSE, by the length of their header. */
const TOLD = {
  4: new FakeTarget(fakeUnit()).run([0x1a, 8, 0x3f, 0xff, 0xff, 0]).dataIn,
  8: new FakeTarget(fakeUnit()).run([0x5a, 8, 0x3f, 0xff, 0, 0, 0, 1, 0, 0]).dataIn,
};

/** All mode pages as MODE SENSE tells them, or some. */
function modePages(random: Random, header: 4 | 8): Buffer {
  const told = TOLD[header];
  const list = Buffer.alloc(header);
  const pages: Buffer[] = [];
  for (let at = header; at < told.length;) {
    const length = (told[at]! & 0x40) === 0 ? 2 + told[at + 1]! : 4 + told.readUInt16BE(at + 2);
    const page = Buffer.from(told.subarray(at, at + length));
    page[0]! &= 0x7f;
    if (chance(random, 0.3)) page[2 + below(random, page.length - 2)] = odd(random, 8);
    if (chance(random, 0.7)) pages.push(page);
    at += length;
  }
  return Buffer.concat([list, ...pages]);
}

/** What is put in the place of a ROD token in a case: the token that the unit has told last. */
export const TOKEN_PLACE = Buffer.alloc(512, 0x5a);
const UNIT = fakeUnit();

function sanitizeList(random: Random): Buffer {
  const pattern = bytes(random, oneOf(random, [1, 4, 512]));
  const header = Buffer.from([chance(random, 0.2) ? below(random, 256) : 1, 0, 0, 0]);
  header.writeUInt16BE(pattern.length, 2);
  return Buffer.concat([header, pattern]);
}

function thirdPartyCopy(cdb: Buffer, random: Random): Buffer {
  const ranges = Array.from({ length: 1 + below(random, 3) }, (): [number, number] => [
    odd(random, 8),
    odd(random, 6),
  ]);
  const flags = below(random, 4);
  if ((cdb[1]! & 0x1f) === 0x10) return populateList(ranges, { flags });
  if ((cdb[1]! & 0x1f) === 0x11) {
    const token = chance(random, 0.8) ? TOKEN_PLACE : zeroToken();
    return writeUsingList(token, ranges, { flags, offset: chance(random, 0.7) ? 0 : odd(random, 8) });
  }
  const segments = ranges.map(([from, blocks]) => ({
    from,
    blocks,
    to: odd(random, 7),
    destination: chance(random, 0.9) ? below(random, 2) : odd(random, 16),
    flags: chance(random, 0.8) ? 2 : below(random, 4),
  }));
  return copyList([UNIT, UNIT], segments, {
    listIdentifier: below(random, 3),
    flags: oneOf(random, [0, 0x10, 0x18, 8]),
  });
}

function portGroups(random: Random): Buffer {
  const descriptors = Array.from({ length: below(random, 3) }, () => {
    const descriptor = Buffer.alloc(4);
    descriptor[0] = oneOf(random, [0, 1, 2, 3, 0x0e, 0x0f, 4]);
    descriptor[3] = below(random, 4);
    return descriptor;
  });
  return Buffer.concat([Buffer.alloc(4), ...descriptors]);
}

function unmapDescriptors(random: Random): Buffer {
  const descriptors = Array.from({ length: below(random, 5) }, () => {
    const descriptor = Buffer.alloc(16);
    descriptor.writeUIntBE(odd(random, 16), 2, 6);
    descriptor.writeUInt32BE(odd(random, 32), 8);
    return descriptor;
  });
  const header = Buffer.alloc(8);
  header.writeUInt16BE(6 + 16 * descriptors.length, 0);
  header.writeUInt16BE(16 * descriptors.length, 2);
  return Buffer.concat([header, ...descriptors]);
}

/** Few keys, so that they meet again. */
function reservation(cdb: Buffer, random: Random): Buffer {
  const list = Buffer.alloc(24);
  list[7] = below(random, 4);
  list[15] = below(random, 4);
  if ((cdb[1]! & 0x1f) === 7) {
    const port = encodeTransportId(fakeNexus(oneOf(random, ['a', 'b', 'absent'])).initiatorPort);
    list[17] = below(random, 4);
    list[19] = 1;
    list.writeUInt32BE(port.length, 20);
    return Buffer.concat([list, port]);
  }
  list[20] = oneOf(random, [0, 0, 0, 1, 4, 5, 8, 0x0d]);
  if (list[20] < 8) return list;
  const ports = Array.from({ length: below(random, 3) }, () =>
    encodeTransportId(fakeNexus(oneOf(random, ['a', 'b', 'absent'])).initiatorPort),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32BE(ports.reduce((sum, port) => sum + port.length, 0));
  return Buffer.concat([list, length, ...ports]);
}
