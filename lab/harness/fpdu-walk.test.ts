import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { crc32c } from '../../src/util/crc32c.js';
import { peer } from '../../test/support/peers.js';
import { inspectCapture } from './capture.js';
import { walkFpdus } from './fpdu-walk.js';
import { Direction, type Packet, tcpConnections, TcpFlag, writePackets } from './tcp-capture.js';

const { path: TSHARK, skip } = peer('tshark', 'tshark');
const CRC = 0x40;

function startup(who: 'Req' | 'Rep', flags: number): Buffer {
  const frame = Buffer.alloc(24);
  frame.write(`MPA ID ${who} Frame`);
  frame[16] = flags;
  frame[17] = 1;
  frame.writeUInt16BE(4, 18);
  return frame;
}

function fpdu(ulpdu: Buffer): Buffer {
  const padding = -(2 + ulpdu.length) & 3;
  const frame = Buffer.alloc(2 + ulpdu.length + padding + 4);
  frame.writeUInt16BE(ulpdu.length);
  ulpdu.copy(frame, 2);
  frame.writeUInt32LE(crc32c(frame, 0, 0, frame.length - 4), frame.length - 4);
  return frame;
}

/** A Send of an iSER message, or a part of it. */
function send(message: number, offset: number, isLast: boolean, payload: Buffer): Buffer {
  const header = Buffer.alloc(18);
  header[0] = isLast ? 0x41 : 0x01;
  header[1] = 0x43;
  header.writeUInt32BE(message, 10);
  header.writeUInt32BE(offset, 14);
  return fpdu(Buffer.concat([header, payload]));
}

function write(length: number): Buffer {
  const header = Buffer.alloc(14);
  header[0] = 0xc1;
  header[1] = 0x40;
  return fpdu(Buffer.concat([header, Buffer.alloc(length, 7)]));
}

/** A control-type PDU with a data segment. */
function control(length: number): Buffer {
  const pdu = Buffer.alloc(28 + 48 + length, 0);
  pdu[0] = 0x10;
  pdu.writeUIntBE(length, 28 + 5, 3);
  return pdu;
}

/** A connection: both sides as they are at the beginning, and then `fpdus` of the active one. */
interface Traffic {
  flags?: number;
  fpdus: Buffer[];
  /** Bytes of each segment, however FPDUs go on. */
  segment?: number;
  rearrange?: (segments: Packet[]) => Packet[];
}

const headers = (from: number, to: number): Buffer => {
  const bytes = Buffer.alloc(54);
  bytes.writeUInt16BE(0x0800, 12);
  bytes[14] = 0x45;
  bytes[14 + 9] = 6;
  bytes.set([10, 0, 2, from, 10, 0, 2, to], 14 + 12);
  bytes.writeUInt16BE(from * 1000, 34);
  bytes.writeUInt16BE(to * 1000, 36);
  bytes[46] = 0x50;
  return bytes;
};

function capture({ flags = CRC, fpdus, segment = 700, rearrange = (same) => same }: Traffic): Buffer {
  // The numbers go over the end of 32 bits.
  const active = new Direction('', headers(15, 2), 0xffffff00, 1);
  const passive = new Direction('', headers(2, 15), 5, 2);
  const empty = Buffer.alloc(0);
  const bytes = Buffer.concat([startup('Req', flags), ...fpdus]);
  const segments: Packet[] = [];
  for (let at = 24; at < bytes.length; at += segment) {
    segments.push({ direction: active, at, bytes: bytes.subarray(at, at + segment), flags: TcpFlag.ACK });
  }
  return writePackets([
    { direction: active, at: -1, bytes: empty, flags: TcpFlag.SYN },
    { direction: passive, at: -1, bytes: empty, flags: TcpFlag.SYN | TcpFlag.ACK },
    { direction: active, at: 0, bytes: bytes.subarray(0, 24), flags: TcpFlag.ACK },
    { direction: passive, at: 0, bytes: startup('Rep', flags), flags: TcpFlag.ACK },
    ...rearrange(segments),
    { direction: active, at: bytes.length, bytes: empty, flags: TcpFlag.ACK | TcpFlag.FIN },
  ]);
}

const message = control(1000);
const GOOD = [
  send(1, 0, true, control(3)),
  write(9001),
  send(2, 0, false, message.subarray(0, 600)),
  write(0),
  send(2, 600, true, message.subarray(600)),
  write(60_000),
  send(3, 0, true, control(0)),
];

const walk = (traffic: Traffic) => walkFpdus(tcpConnections(capture(traffic)), true);

describe('a walk over FPDUs', () => {
  test('finds all, however they were cut and whatever came twice or too late', () => {
    for (const segment of [1, 100, 1460, 65_000]) {
      const rearrange = (segments: Packet[]): Packet[] => [...segments.reverse(), ...segments.slice(1, 3)];
      const { fpdus, faults, packets } = walk({ fpdus: GOOD, segment, rearrange });
      assert.deepEqual(faults, []);
      assert.equal(fpdus, GOOD.length);
      assert.deepEqual(
        packets.slice(4).map(({ bytes }) => bytes),
        GOOD,
      );
    }
  });

  /** GOOD with one FPDU changed, and its CRC as it should be then. */
  const changed = (which: number, change: (ulpdu: Buffer) => Buffer | undefined): Buffer[] =>
    GOOD.map((frame, index) => {
      if (index !== which) return frame;
      const ulpdu = Buffer.from(frame.subarray(2, 2 + frame.readUInt16BE(0)));
      return fpdu(change(ulpdu) ?? ulpdu);
    });
  const withByte = (which: number, at: number, value: number): Buffer[] =>
    changed(which, (ulpdu) => void (ulpdu[at] = value));

  const DAMAGES: [what: string, fpdus: Buffer[], says: RegExp][] = [
    ['another version of DDP', withByte(3, 0, 0xc2), /another version/],
    ['another version of RDMAP', withByte(0, 1, 0x83), /another version/],
    ['an opcode that nobody knows', withByte(1, 1, 0x4f), /unknown opcode 15/],
    ['a Write that is not tagged', withByte(1, 0, 0x41), /tagged and must not be/],
    ['a Send in another queue', withByte(2, 9, 1), /queue, message and offset 1, 2, 0 instead of 0, 2, 0/],
    ['a Send that is left out', GOOD.toSpliced(0, 1), /0, 2, 0 instead of 0, 1, 0/],
    ['a part of a Send that comes twice', GOOD.toSpliced(3, 0, GOOD[2]!), /0, 2, 0 instead of 0, 2, 600/],
    ['a header that is too short', changed(1, (ulpdu) => ulpdu.subarray(0, 13)), /too short for a Write/],
    ['an iSER header that is too short', changed(6, (ulpdu) => ulpdu.subarray(0, 50)), /its iSER header/],
    ['an opcode that iSER does not have', withByte(0, 18, 0x40), /unknown iSER opcode 4/],
    ['a PDU longer than its message', withByte(6, 18 + 28 + 7, 9), /message of 76 bytes that says 85/],
    ['a PDU shorter than its message', withByte(2, 18 + 28 + 7, 1), /message of 1076 bytes that says/],
    ['an FPDU that never ends', [...GOOD, write(100).subarray(0, 50)], /cut off/],
  ];
  for (const [what, fpdus, says] of DAMAGES) {
    test(`notices ${what}`, () => {
      assert.match(walk({ fpdus }).faults.join('\n'), says);
    });
  }

  test('notices a bit that is wrong, where there are CRCs, and a length, where there are none', () => {
    const bit = GOOD.map((frame) => Buffer.from(frame));
    bit[5]![40_000]! ^= 1;
    assert.match(walk({ fpdus: bit }).faults.join('\n'), /wrong CRC/);
    assert.deepEqual(walk({ fpdus: bit, flags: 0 }).faults, []);
    const length = GOOD.map((frame) => Buffer.from(frame));
    length[1]!.writeUInt16BE(8000);
    assert.equal(walk({ fpdus: length, flags: 0 }).faults.length, 1);
  });

  test('notices what is not in the capture', () => {
    const rearrange = (segments: Packet[]): Packet[] => segments.toSpliced(4, 1);
    assert.match(walk({ fpdus: GOOD, rearrange }).faults.join('\n'), /are not in the capture/);
  });

  test('tshark sees as many, and finds what it calls malformed', { skip }, async (t) => {
    assert.notEqual(TSHARK, '');
    const folder = mkdtempSync(join(tmpdir(), 'riser-walk-'));
    t.after(() => {
      rmSync(folder, { recursive: true });
    });
    const file = join(folder, 'eth0.pcap');
    writeFileSync(file, capture({ fpdus: GOOD }));
    assert.deepEqual(await inspectCapture(file, 'iSER', []), { pdus: GOOD.length, malformed: [] });
    // A Terminate that quotes a header, which it does not have.
    const terminate = Buffer.alloc(22);
    terminate.set([0x41, 0x47, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0x10, 0x02, 0xc0, 0]);
    writeFileSync(file, capture({ fpdus: [...GOOD, fpdu(terminate)] }));
    const { malformed } = await inspectCapture(file, 'iSER', []);
    assert.match(malformed.join('\n'), /^frame 12, /);
  });
});
