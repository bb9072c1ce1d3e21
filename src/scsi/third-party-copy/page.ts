/** VPD page 8Fh, Third-party Copy (SPC-4 7.8, SBC-3 6.5): what a copy manager can do. */

import { putU16, putU32, putU64 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import { BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR, OWN_LOGICAL_UNIT } from './cscd.js';
import { MAXIMUM_COPIES, PIECE_LENGTH } from './copy-manager.js';
import {
  DATA_SEGMENT_GRANULARITY,
  MAXIMUM_CSCD_DESCRIPTORS,
  MAXIMUM_DESCRIPTOR_LIST_LENGTH,
  MAXIMUM_IDENTIFIED_COPIES,
  MAXIMUM_RANGE_DESCRIPTORS,
  MAXIMUM_SEGMENT_DESCRIPTORS,
  MAXIMUM_SEGMENT_LENGTH,
  OPTIMAL_TOKEN_TRANSFER,
} from './limits.js';
import { DEFAULT_INACTIVITY_TIMEOUT, MAXIMUM_INACTIVITY_TIMEOUT, RodType } from './rod-tokens.js';

/** The body of the page: third-party copy descriptors, in ascending order of their types. */
export function thirdPartyCopyPage(unit: LogicalUnit): Buffer {
  return Buffer.concat([
    rodLimits(unit),
    supportedCommands(unit),
    parameterData(),
    descriptor(0x0008, Buffer.from([2, BLOCK_TO_BLOCK, IDENTIFICATION_DESCRIPTOR])),
    descriptor(0x000c, Buffer.from([0, 2, OWN_LOGICAL_UNIT >>> 8, OWN_LOGICAL_UNIT & 0xff])),
    tokenFeatures(),
    rodTypes(),
    generalOperations(),
  ]);
}

/** Type, length, body, padded to a multiple of four bytes. */
function descriptor(type: number, body: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + ((body.length + 3) & ~3));
  putU16(bytes, 0, type);
  putU16(bytes, 2, bytes.length - 4);
  body.copy(bytes, 4);
  return bytes;
}

/** 0000h Block Device ROD Limits. */
function rodLimits(unit: LogicalUnit): Buffer {
  const body = Buffer.alloc(32);
  putU16(body, 6, MAXIMUM_RANGE_DESCRIPTORS);
  putU32(body, 8, MAXIMUM_INACTIVITY_TIMEOUT);
  putU32(body, 12, DEFAULT_INACTIVITY_TIMEOUT);
  // MAXIMUM TOKEN TRANSFER SIZE 0: not limited.
  putU64(body, 24, OPTIMAL_TOKEN_TRANSFER / unit.blockSize);
  return descriptor(0x0000, body);
}

/** 0001h Supported Commands: those that the command table has. */
function supportedCommands(unit: LogicalUnit): Buffer {
  const list = [0x83, 0x84].map((opcode) => {
    const actions = unit.operations.operations
      .filter((operation) => operation.opcode === opcode)
      .map((operation) => operation.serviceAction!);
    return Buffer.from([opcode, actions.length, ...actions]);
  });
  const commands = Buffer.concat(list);
  return descriptor(0x0001, Buffer.concat([Buffer.from([commands.length]), commands]));
}

/** 0004h Parameter Data. */
function parameterData(): Buffer {
  const body = Buffer.alloc(28);
  putU16(body, 4, MAXIMUM_CSCD_DESCRIPTORS);
  putU16(body, 6, MAXIMUM_SEGMENT_DESCRIPTORS);
  putU32(body, 8, MAXIMUM_DESCRIPTOR_LIST_LENGTH);
  return descriptor(0x0004, body);
}

/** 0106h ROD Token Features: no tokens of other copy managers. */
function tokenFeatures(): Buffer {
  const features = Buffer.alloc(48);
  // Of block devices, all of it but its first four bytes; lengths 0 are: not limited, not known.
  putU16(features, 2, features.length - 4);
  putU64(features, 24, OPTIMAL_TOKEN_TRANSFER);
  putU64(features, 32, PIECE_LENGTH);
  const body = Buffer.alloc(44);
  putU32(body, 12, 1); // MINIMUM and MAXIMUM TOKEN LIFETIME, seconds
  putU32(body, 16, 0xffff_ffff);
  putU32(body, 20, MAXIMUM_INACTIVITY_TIMEOUT);
  putU16(body, 42, features.length);
  return descriptor(0x0106, Buffer.concat([body, features]));
}

/** TOKEN_IN and TOKEN_OUT of a ROD type descriptor. */
const TOKEN_IN = 0x02;
const TOKEN_OUT = 0x01;
const ROD_TYPE_DESCRIPTOR_LENGTH = 64;

/** 0108h Supported RODs. */
function rodTypes(): Buffer {
  const types = [
    { type: RodType.POINT_IN_TIME_CHANGE_VULNERABLE, flags: TOKEN_IN | TOKEN_OUT },
    { type: RodType.BLOCK_DEVICE_ZERO, flags: TOKEN_IN },
  ];
  const body = Buffer.alloc(4 + types.length * ROD_TYPE_DESCRIPTOR_LENGTH);
  putU16(body, 2, body.length - 4);
  types.forEach(({ type, flags }, i) => {
    putU32(body, 4 + i * ROD_TYPE_DESCRIPTOR_LENGTH, type);
    body[8 + i * ROD_TYPE_DESCRIPTOR_LENGTH] = flags;
  });
  return descriptor(0x0108, body);
}

/** 8001h General Copy Operations. */
function generalOperations(): Buffer {
  const body = Buffer.alloc(32);
  putU32(body, 0, MAXIMUM_COPIES);
  putU32(body, 4, MAXIMUM_IDENTIFIED_COPIES);
  putU32(body, 8, MAXIMUM_SEGMENT_LENGTH);
  body[12] = DATA_SEGMENT_GRANULARITY;
  return descriptor(0x8001, body);
}
