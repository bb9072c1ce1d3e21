import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  BHS_LENGTH,
  CDB_LENGTH,
  CDB_OFFSET,
  dumpHeader,
  HEADERS,
  ISID_LENGTH,
  ISID_OFFSET,
  LoginRequest,
  LoginResponse,
  ScsiCommand,
} from './headers.js';
import { Opcode } from './opcodes.js';
import type { Field } from '../../util/fields.js';

/** What lies where other PDUs have the LUN (RFC 7143 11.12, RFC 7144 6.4.1). */
const OVERLAYS_LUN = new Set(['tsih', 'information']);
const LUN = new Set(['lunHigh', 'lunLow']);

function overlap(a: Field, b: Field): boolean {
  return a.offset < b.offset + b.width && b.offset < a.offset + a.width;
}

test('every opcode has a header, under its own number', () => {
  assert.deepEqual(
    Object.keys(HEADERS)
      .map(Number)
      .sort((a, b) => a - b),
    Object.values(Opcode).sort((a, b) => a - b),
  );
});

for (const { name, fields } of Object.values(HEADERS)) {
  test(`${name}: fields lie within 48 bytes and do not overlap`, () => {
    const named = Object.entries(fields);
    for (const [i, [aName, a]] of named.entries()) {
      assert.ok(a.offset >= 0 && a.offset + a.width <= BHS_LENGTH, `${aName} leaves the header`);
      for (const [bName, b] of named.slice(i + 1)) {
        const lunOverlay =
          (OVERLAYS_LUN.has(aName) && LUN.has(bName)) || (OVERLAYS_LUN.has(bName) && LUN.has(aName));
        assert.ok(lunOverlay || !overlap(a, b), `${aName} overlaps ${bName}`);
      }
    }
  });
}

test('the CDB ends the SCSI Command header and the ISID precedes the TSIH', () => {
  assert.equal(CDB_OFFSET + CDB_LENGTH, BHS_LENGTH);
  assert.equal(ScsiCommand.expStatSN.offset + 4, CDB_OFFSET);
  assert.equal(ISID_OFFSET + ISID_LENGTH, LoginRequest.tsih.offset);
  assert.equal(LoginResponse.tsih.offset, LoginRequest.tsih.offset);
});

test('fields stand where RFC 7143 draws them', () => {
  const header = Buffer.from(
    '43830000' + '000000f8' + '00023d00' + '00010000' + '0000abcd' + '00070000' + '00000001' + '00000002',
    'hex',
  );
  const login = Buffer.concat([header, Buffer.alloc(BHS_LENGTH - header.length)]);
  assert.equal(LoginRequest.dataSegmentLength.get(login), 0xf8);
  assert.equal(LoginRequest.tsih.get(login), 0);
  assert.equal(LoginRequest.initiatorTaskTag.get(login), 0xabcd);
  assert.equal(LoginRequest.cid.get(login), 7);
  assert.equal(LoginRequest.cmdSN.get(login), 1);
  assert.equal(LoginRequest.expStatSN.get(login), 2);
});

test('a dump names the PDU and its fields, and an unknown opcode only by its number', () => {
  const header = Buffer.alloc(BHS_LENGTH);
  header[0] = Opcode.SCSI_COMMAND | 0x40;
  ScsiCommand.cmdSN.set(header, 0x17);
  assert.match(dumpHeader(header), /^SCSI Command flags=0x0 .*cmdSN=0x17/);
  header[0] = 0x1c;
  assert.equal(dumpHeader(header), 'opcode 0x1c');
});
