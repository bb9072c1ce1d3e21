/** PERSISTENT RESERVE IN: who is registered, and who has reserved (SPC-4 6.15). */

import { getU16, putU16, putU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import { type Registration, ReservationType } from '../persistent-reservation.js';
import { AccessState } from '../target-port-groups.js';
import type { Task } from '../task.js';
import { encodeTransportId } from '../transport-id.js';

const OPCODE = 0x5e;
const HEADER = 8;

type Report = (unit: LogicalUnit) => Buffer;

function reporting(name: string, serviceAction: number, report: Report): Operation {
  return {
    name: `PERSISTENT RESERVE IN, ${name}`,
    opcode: OPCODE,
    serviceAction,
    usage: [OPCODE, 0x1f, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0x00],
    ignoresPersistentReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start(task: Task, unit: LogicalUnit) {
      // For who has reserved by RESERVE(6), too (SPC-2 5.5.1).
      if (unit.reservations.holder !== null) unit.reservationConflict(task);
      else unit.reply(task, report(unit), getU16(task.cdb, 7));
    },
  };
}

export const persistentReserveInOperations: readonly Operation[] = [
  reporting('READ KEYS', 0x00, readKeys),
  reporting('READ RESERVATION', 0x01, readReservation),
  reporting('REPORT CAPABILITIES', 0x02, reportCapabilities),
  reporting('READ FULL STATUS', 0x03, readFullStatus),
];

/** PRGENERATION and ADDITIONAL LENGTH in front of the rest. */
function withHeader(unit: LogicalUnit, parts: readonly Buffer[]): Buffer {
  const data = Buffer.concat([Buffer.alloc(HEADER), ...parts]);
  putU32(data, 0, unit.reservations.persistent.generation);
  putU32(data, 4, data.length - HEADER);
  return data;
}

/** SPC-4 6.15.2 */
function readKeys(unit: LogicalUnit): Buffer {
  const { registrations } = unit.reservations.persistent;
  return withHeader(
    unit,
    registrations.map(({ key }) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64BE(key);
      return bytes;
    }),
  );
}

/** SPC-4 6.15.3: the scope, LU_SCOPE, is 0. */
function readReservation(unit: LogicalUnit): Buffer {
  const { type, holderKey } = unit.reservations.persistent;
  if (type === ReservationType.NONE) return withHeader(unit, []);
  const descriptor = Buffer.alloc(16);
  descriptor.writeBigUInt64BE(holderKey);
  descriptor[13] = type;
  return withHeader(unit, [descriptor]);
}

const SIP_C = 0x08;
const ATP_C = 0x04;
const PTPL_C = 0x01;
const TMV = 0x80;
const PTPL_A = 0x01;
/** TEST UNIT READY is allowed in all cases; of the other commands nothing is said (SPC-4 table 210). */
const ALLOW_COMMANDS = 0x10;
/** PERSISTENT RESERVATION TYPE MASK: all there are (SPC-4 table 211). */
const ALL_TYPES = 0xea01;

/** SPC-4 6.15.4 */
function reportCapabilities(unit: LogicalUnit): Buffer {
  const { mayPersist, persists } = unit.reservations.persistent;
  const data = Buffer.alloc(8);
  putU16(data, 0, data.length);
  data[2] = SIP_C | ATP_C | (mayPersist ? PTPL_C : 0);
  data[3] = TMV | ALLOW_COMMANDS | (persists ? PTPL_A : 0);
  putU16(data, 4, ALL_TYPES);
  return data;
}

const ALL_TG_PT = 0x02;
const R_HOLDER = 0x01;

/** SPC-4 6.15.5 */
function readFullStatus(unit: LogicalUnit): Buffer {
  const { registrations } = unit.reservations.persistent;
  return withHeader(
    unit,
    registrations.map((registration) => fullStatus(unit, registration)),
  );
}

function fullStatus(unit: LogicalUnit, registration: Registration): Buffer {
  const { persistent } = unit.reservations;
  const { key, relativeTargetPort, initiatorPort } = registration;
  const holds = persistent.holds(registration);
  const transportId = encodeTransportId(initiatorPort);
  const descriptor = Buffer.alloc(24);
  descriptor.writeBigUInt64BE(key);
  descriptor[12] = (relativeTargetPort === null ? ALL_TG_PT : 0) | (holds ? R_HOLDER : 0);
  descriptor[13] = holds ? persistent.type : 0;
  putU16(descriptor, 18, relativeTargetPort ?? 0);
  putU32(descriptor, 20, transportId.length);
  return Buffer.concat([descriptor, transportId]);
}
