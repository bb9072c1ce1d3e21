/**
 * The basic header segments of RFC 7143 11 as named fields. A header is any 48 bytes; fields are
 * read and written in place: `ScsiCommand.cmdSN.get(header)`.
 */

import { type Field, u16, u24, u32, u8 } from '../../util/fields.js';
import type { Memory } from '../../util/memory.js';
import { Opcode } from './opcodes.js';

/** Basic header segment, bytes (RFC 7143 11.2.1). */
export const BHS_LENGTH = 48;
/** A header or data digest, bytes. */
export const DIGEST_LENGTH = 4;

/** Every PDU (RFC 7143 11.2.1). */
const common = {
  opcode: u8(0),
  flags: u8(1),
  /** Four-byte words. */
  totalAHSLength: u8(4),
  dataSegmentLength: u24(5),
  lunHigh: u32(8),
  lunLow: u32(12),
  initiatorTaskTag: u32(16),
};

/** What every request carries besides (RFC 7143 11.2.1). */
const request = { ...common, cmdSN: u32(24), expStatSN: u32(28) };

/** What every response carries besides. */
const response = { ...common, statSN: u32(24), expCmdSN: u32(28), maxCmdSN: u32(32) };

export const Bhs = common;

/** Put both lengths of a header at `at`: `ahsLength` bytes, a multiple of 4, of additional header segments, and of data. */
export function putLengths({ view }: Memory, at: number, ahsLength: number, dataLength: number): void {
  view.setUint32(at + common.totalAHSLength.offset, (ahsLength << 22) | dataLength);
}

/** RFC 7143 11.3 */
export const ScsiCommand = { ...request, expectedDataTransferLength: u32(20) };
/** The CDB's first 16 bytes in a SCSI Command. */
export const CDB_OFFSET = 32;
export const CDB_LENGTH = 16;

/** RFC 7143 11.4 */
export const ScsiResponse = {
  ...response,
  response: u8(2),
  status: u8(3),
  snackTag: u32(20),
  expDataSN: u32(36),
  bidirectionalReadResidualCount: u32(40),
  residualCount: u32(44),
};

/** RFC 7143 11.5 */
export const TaskManagementRequest = {
  ...request,
  referencedTaskTag: u32(20),
  refCmdSN: u32(32),
  expDataSN: u32(36),
};

/** RFC 7143 11.6; RFC 7144 6.4.1: the Additional Response Information. */
export const TaskManagementResponse = { ...response, response: u8(2), information: u24(8) };

/** RFC 7143 11.7 */
export const DataOut = {
  ...common,
  targetTransferTag: u32(20),
  expStatSN: u32(28),
  dataSN: u32(36),
  bufferOffset: u32(40),
};

/** RFC 7143 11.7 */
export const DataIn = {
  ...response,
  status: u8(3),
  targetTransferTag: u32(20),
  dataSN: u32(36),
  bufferOffset: u32(40),
  residualCount: u32(44),
};

/** RFC 7143 11.8 */
export const R2T = {
  ...response,
  targetTransferTag: u32(20),
  r2tSN: u32(36),
  bufferOffset: u32(40),
  desiredDataTransferLength: u32(44),
};

/** RFC 7143 11.9 */
export const AsyncMessage = {
  ...response,
  asyncEvent: u8(36),
  asyncVCode: u8(37),
  parameter1: u16(38),
  parameter2: u16(40),
  parameter3: u16(42),
};

/** RFC 7143 11.10 */
export const TextRequest = { ...request, targetTransferTag: u32(20) };
/** RFC 7143 11.11 */
export const TextResponse = { ...response, targetTransferTag: u32(20) };

/** RFC 7143 11.12; the ISID is bytes 8-13. */
export const LoginRequest = {
  ...request,
  versionMax: u8(2),
  versionMin: u8(3),
  tsih: u16(14),
  cid: u16(20),
};
/** RFC 7143 11.13 */
export const LoginResponse = {
  ...response,
  versionMax: u8(2),
  versionActive: u8(3),
  tsih: u16(14),
  statusClass: u8(36),
  statusDetail: u8(37),
};
/** ISID in Login Request and Response: offset and bytes (RFC 7143 11.12.5). */
export const ISID_OFFSET = 8;
export const ISID_LENGTH = 6;

/** RFC 7143 11.14 */
export const LogoutRequest = { ...request, cid: u16(20) };
/** RFC 7143 11.15 */
export const LogoutResponse = { ...response, response: u8(2), time2Wait: u16(40), time2Retain: u16(42) };

/** RFC 7143 11.16 */
export const SnackRequest = {
  ...common,
  targetTransferTag: u32(20),
  expStatSN: u32(28),
  begRun: u32(40),
  runLength: u32(44),
};

/** RFC 7143 11.17 */
export const Reject = { ...response, reason: u8(2), dataSN: u32(36) };

/** RFC 7143 11.18 */
export const NopOut = { ...request, targetTransferTag: u32(20) };
/** RFC 7143 11.19 */
export const NopIn = { ...response, targetTransferTag: u32(20) };

/** The fields of each opcode's header, for dumps and for tests. */
export const HEADERS: Readonly<Record<number, { name: string; fields: Readonly<Record<string, Field>> }>> = {
  [Opcode.NOP_OUT]: { name: 'NOP-Out', fields: NopOut },
  [Opcode.SCSI_COMMAND]: { name: 'SCSI Command', fields: ScsiCommand },
  [Opcode.TASK_MANAGEMENT_REQUEST]: {
    name: 'Task Management Function Request',
    fields: TaskManagementRequest,
  },
  [Opcode.LOGIN_REQUEST]: { name: 'Login Request', fields: LoginRequest },
  [Opcode.TEXT_REQUEST]: { name: 'Text Request', fields: TextRequest },
  [Opcode.DATA_OUT]: { name: 'SCSI Data-Out', fields: DataOut },
  [Opcode.LOGOUT_REQUEST]: { name: 'Logout Request', fields: LogoutRequest },
  [Opcode.SNACK_REQUEST]: { name: 'SNACK Request', fields: SnackRequest },
  [Opcode.NOP_IN]: { name: 'NOP-In', fields: NopIn },
  [Opcode.SCSI_RESPONSE]: { name: 'SCSI Response', fields: ScsiResponse },
  [Opcode.TASK_MANAGEMENT_RESPONSE]: {
    name: 'Task Management Function Response',
    fields: TaskManagementResponse,
  },
  [Opcode.LOGIN_RESPONSE]: { name: 'Login Response', fields: LoginResponse },
  [Opcode.TEXT_RESPONSE]: { name: 'Text Response', fields: TextResponse },
  [Opcode.DATA_IN]: { name: 'SCSI Data-In', fields: DataIn },
  [Opcode.LOGOUT_RESPONSE]: { name: 'Logout Response', fields: LogoutResponse },
  [Opcode.R2T]: { name: 'Ready To Transfer', fields: R2T },
  [Opcode.ASYNC_MESSAGE]: { name: 'Asynchronous Message', fields: AsyncMessage },
  [Opcode.REJECT]: { name: 'Reject', fields: Reject },
};

/** A header as one readable line, for logs: `SCSI Command flags=0xc1 cmdSN=7 ...`. */
export function dumpHeader(header: Uint8Array): string {
  const opcode = header[0]! & 0x3f;
  const known = HEADERS[opcode];
  if (known === undefined) return `opcode 0x${opcode.toString(16).padStart(2, '0')}`;
  const parts = [known.name];
  for (const [name, field] of Object.entries(known.fields)) {
    if (name !== 'opcode') parts.push(`${name}=0x${field.get(header).toString(16)}`);
  }
  return parts.join(' ');
}
