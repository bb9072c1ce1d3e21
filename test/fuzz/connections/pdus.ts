/** PDUs of the full feature phase, as plain JSON: mostly right, so that they get past the first checks. */

import { Bhs, BHS_LENGTH, CDB_OFFSET, HEADERS, ScsiCommand } from '../../../src/iscsi/wire/headers.js';
import {
  FINAL,
  IMMEDIATE,
  Opcode,
  RESERVED_TAG,
  TaskManagementFunction,
} from '../../../src/iscsi/wire/opcodes.js';
import type { Initiator } from '../../support/initiator.js';
import { below, bytes, chance, damaged, odd, oneOf, type Random } from '../engine/pick.js';

/** A header with some fields set to anything, and a data segment. */
export interface PduStep {
  /** By the session's second connection, if it has one. */
  bySecond: boolean;
  opcode: number;
  immediate: boolean;
  flags: number;
  /** Set over the sequence numbers that would be right. */
  fields: [name: string, value: number][];
  /** Of a SCSI Command; hexadecimal digits. */
  cdb: string;
  data: string;
  ahs: string;
  /** A second header follows that claims a data segment of so many bytes; null: none. */
  claim: number | null;
}

/** Operation codes of commands that neither write far off nor change what others see of the medium. */
const CDB_OPCODES = [
  0x00, 0x03, 0x08, 0x12, 0x1a, 0x25, 0x28, 0x2f, 0x34, 0x5a, 0x88, 0x8f, 0x90, 0x9e, 0xa0, 0xa3,
];

const FREQUENT = [Opcode.SCSI_COMMAND, Opcode.NOP_OUT, Opcode.DATA_OUT, Opcode.TEXT_REQUEST];
const RARER = [Opcode.TASK_MANAGEMENT_REQUEST, Opcode.SNACK_REQUEST, Opcode.LOGOUT_REQUEST];

/** Task management functions that others notice by right: tasks of theirs end, or they are told of a reset. */
const FELT_BY_OTHERS: readonly number[] = [
  TaskManagementFunction.CLEAR_TASK_SET,
  TaskManagementFunction.LOGICAL_UNIT_RESET,
  TaskManagementFunction.TARGET_WARM_RESET,
  TaskManagementFunction.TARGET_COLD_RESET,
];

const FIELD_NAMES = [
  ...new Set(Object.values(HEADERS).flatMap((header) => Object.keys(header.fields))),
].filter((name) => !['opcode', 'flags', 'dataSegmentLength', 'totalAHSLength'].includes(name));

function field(random: Random): [string, number] {
  return [oneOf(random, FIELD_NAMES), chance(random, 0.15) ? RESERVED_TAG : odd(random, 32)];
}

export function anyPdu(random: Random): PduStep {
  const kind = random();
  return {
    bySecond: chance(random, 0.4),
    opcode: kind < 0.65 ? oneOf(random, FREQUENT) : kind < 0.9 ? oneOf(random, RARER) : below(random, 64),
    immediate: chance(random, 0.4),
    flags: chance(random, 0.5) ? FINAL | oneOf(random, [0, 1, 0x20, 0x40, 0x41, 0x60]) : below(random, 256),
    fields: Array.from({ length: below(random, 4) }, () => field(random)),
    cdb: Buffer.concat([Buffer.of(oneOf(random, CDB_OPCODES)), sparse(random, 15)]).toString('hex'),
    data: chance(random, 0.6) ? '' : bytes(random, below(random, 600)).toString('hex'),
    ahs: chance(random, 0.93) ? '' : bytes(random, 4 * (1 + below(random, 8))).toString('hex'),
    claim: chance(random, 0.95) ? null : odd(random, 24),
  };
}

export function mutatedPdu(step: PduStep, random: Random): PduStep {
  switch (below(random, 8)) {
    case 6:
      return { ...step, bySecond: !step.bySecond };
    case 0:
      return { ...step, flags: step.flags ^ (1 << below(random, 8)) };
    case 1:
      return { ...step, fields: [...step.fields, field(random)] };
    case 2:
      return { ...step, fields: step.fields.slice(1) };
    case 3: {
      const cdb = Buffer.from(step.cdb, 'hex');
      cdb[1 + below(random, 15)] = odd(random, 8);
      return { ...step, cdb: cdb.toString('hex') };
    }
    case 4:
      return { ...step, data: damaged(random, Buffer.from(step.data, 'hex')).toString('hex') };
    case 5:
      return { ...step, immediate: !step.immediate };
    default:
      return anyPdu(random);
  }
}

export function sendPdu(initiator: Initiator, pdu: PduStep): void {
  const isFelt = pdu.opcode === Opcode.TASK_MANAGEMENT_REQUEST && FELT_BY_OTHERS.includes(pdu.flags & 0x7f);
  const header = initiator.header(pdu.opcode | (pdu.immediate ? IMMEDIATE : 0), isFelt ? FINAL : pdu.flags);
  ScsiCommand.cmdSN.set(header, initiator.cmdSN);
  ScsiCommand.expStatSN.set(header, initiator.expStatSN);
  if (pdu.opcode === Opcode.SCSI_COMMAND) header.write(pdu.cdb, CDB_OFFSET, 'hex');
  const known = (HEADERS[pdu.opcode]?.fields ?? ScsiCommand) as Record<
    string,
    { set(bytes: Uint8Array, value: number): void } | undefined
  >;
  for (const [name, value] of pdu.fields) known[name]?.set(header, value);
  if (!pdu.immediate) initiator.cmdSN = (initiator.cmdSN + 1) >>> 0;
  initiator.pdus.send(header, Buffer.from(pdu.data, 'hex'), Buffer.from(pdu.ahs, 'hex'));
  if (pdu.claim !== null) {
    const lie = Buffer.from(header.subarray(0, BHS_LENGTH));
    Bhs.dataSegmentLength.set(lie, pdu.claim);
    initiator.pdus.sendBytes(lie);
  }
}

/** Mostly zeroes. */
function sparse(random: Random, length: number): Buffer {
  return Buffer.from(Array.from({ length }, () => (chance(random, 0.7) ? 0 : below(random, 256))));
}
