/**
 * CDBs as an application client writes them (SPC-4, SBC-3), into {@link CDB_ROOM} bytes that it owns: nothing is allocated.
 * Logical block addresses are below 2^53, numbers of blocks below 2^32.
 */

import { putU16, putU32, putU64 } from '../../util/fields.js';
import { OpCode, ServiceAction } from './op-codes.js';

/** Bytes of the longest. */
const CDB_ROOM = 16;
/** Byte 1 of READ and WRITE. */
const FUA = 0x08;

function begin(cdb: Buffer, opcode: number, flags = 0): void {
  // For so few bytes a loop is quicker than `fill`.
  for (let i = 2; i < CDB_ROOM; i++) cdb[i] = 0;
  cdb[0] = opcode;
  cdb[1] = flags;
}

/** The layout of most 16-byte commands (SPC-4 4.2.2.3). */
function range(cdb: Buffer, opcode: number, flags: number, lba: number, blocks: number): void {
  begin(cdb, opcode, flags);
  putU64(cdb, 2, lba);
  putU32(cdb, 10, blocks);
}

export function testUnitReady(cdb: Buffer): void {
  begin(cdb, OpCode.TEST_UNIT_READY);
}

/** `page`: a page of vital product data, or null for the standard data. `length`: 5 to 65535 bytes. */
export function inquiry(cdb: Buffer, page: number | null, length: number): void {
  begin(cdb, OpCode.INQUIRY, page === null ? 0 : 1);
  cdb[2] = page ?? 0;
  putU16(cdb, 3, length);
}

export function reportLuns(cdb: Buffer, length: number): void {
  begin(cdb, OpCode.REPORT_LUNS);
  putU32(cdb, 6, length);
}

/** Page 0x3f returns all pages. */
export function modeSense10(cdb: Buffer, page: number, subpage: number, length: number): void {
  begin(cdb, OpCode.MODE_SENSE_10);
  cdb[2] = page;
  cdb[3] = subpage;
  putU16(cdb, 7, length);
}

/** Whether a command without service actions is known, and which bits of its CDB are. */
export function reportSupportedOperationCode(cdb: Buffer, opcode: number, length: number): void {
  begin(cdb, OpCode.MAINTENANCE_IN, ServiceAction.REPORT_SUPPORTED_OPERATION_CODES);
  cdb[2] = 1;
  cdb[3] = opcode;
  putU32(cdb, 6, length);
}

/** With the length only header. */
export function reportTargetPortGroups(cdb: Buffer, length: number): void {
  begin(cdb, OpCode.MAINTENANCE_IN, ServiceAction.REPORT_TARGET_PORT_GROUPS);
  putU32(cdb, 6, length);
}

export function readCapacity10(cdb: Buffer): void {
  begin(cdb, OpCode.READ_CAPACITY_10);
}

export function readCapacity16(cdb: Buffer, length: number): void {
  begin(cdb, OpCode.SERVICE_ACTION_IN_16, ServiceAction.READ_CAPACITY_16);
  putU32(cdb, 10, length);
}

export function getLbaStatus(cdb: Buffer, lba: number, length: number): void {
  range(cdb, OpCode.SERVICE_ACTION_IN_16, ServiceAction.GET_LBA_STATUS, lba, length);
}

export function read16(cdb: Buffer, lba: number, blocks: number, fua: boolean): void {
  range(cdb, OpCode.READ_16, fua ? FUA : 0, lba, blocks);
}

export function write16(cdb: Buffer, lba: number, blocks: number, fua: boolean): void {
  range(cdb, OpCode.WRITE_16, fua ? FUA : 0, lba, blocks);
}

/** For targets that are too small to know 16-byte commands. `lba` below 2^32, `blocks` below 2^16. */
export function read10(cdb: Buffer, lba: number, blocks: number, fua: boolean): void {
  begin(cdb, OpCode.READ_10, fua ? FUA : 0);
  putU32(cdb, 2, lba);
  putU16(cdb, 7, blocks);
}

/** As {@link read10}. */
export function write10(cdb: Buffer, lba: number, blocks: number, fua: boolean): void {
  begin(cdb, OpCode.WRITE_10, fua ? FUA : 0);
  putU32(cdb, 2, lba);
  putU16(cdb, 7, blocks);
}

/** The whole medium; the 10-byte form, which every target knows. */
export function synchronizeCache(cdb: Buffer): void {
  begin(cdb, OpCode.SYNCHRONIZE_CACHE_10);
}

/** `length`: of the parameter list, bytes, at most 65535. */
export function unmap(cdb: Buffer, length: number): void {
  begin(cdb, OpCode.UNMAP);
  putU16(cdb, 7, length);
}

/** `mayUnmap`: the UNMAP bit. */
export function writeSame16(cdb: Buffer, lba: number, blocks: number, mayUnmap: boolean): void {
  range(cdb, OpCode.WRITE_SAME_16, mayUnmap ? 0x08 : 0, lba, blocks);
}

/** `blocks`: 1 to 255; the data is that to compare with, then that to write. */
export function compareAndWrite(cdb: Buffer, lba: number, blocks: number, fua: boolean): void {
  begin(cdb, OpCode.COMPARE_AND_WRITE, fua ? FUA : 0);
  putU64(cdb, 2, lba);
  cdb[13] = blocks;
}
