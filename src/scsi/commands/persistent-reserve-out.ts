/** PERSISTENT RESERVE OUT: register, reserve, release, preempt (SPC-4 6.16). */

import { getU16, getU32 } from '../../util/fields.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { Operation } from '../operation.js';
import {
  isRegistrationOf,
  type Registration,
  type ReservationOutcome,
  type ReservationType,
  reservationTypeOf,
} from '../persistent-reservation.js';
import { Sense } from '../sense.js';
import { Status } from '../status.js';
import { abortPreempted } from '../task-management.js';
import { AccessState } from '../target-port-groups.js';
import { type Task, TaskState } from '../task.js';
import { decodeTransportId, transportIdLength } from '../transport-id.js';

const OPCODE = 0x5f;

/** The parameter list: of all but REGISTER AND MOVE, and in front of TransportIDs (SPC-4 6.16.3, 6.16.4). */
const LIST_LENGTH = 24;
/** TransportIDs of some hundred initiators. */
const LONGEST_LIST = 64 * 1024;
const KEY = 0;
const SERVICE_ACTION_KEY = 8;
const FLAGS = 20;
const SPEC_I_PT = 0x08;
const ALL_TG_PT = 0x04;
const APTPL = 0x01;
const TRANSPORT_IDS = 24;
const MOVE_FLAGS = 17;
const MOVE_UNREG = 0x02;
const MOVE_APTPL = 0x01;
const MOVE_PORT = 18;
const MOVE_TRANSPORT_ID_LENGTH = 20;

/** `task.step`: the change is made, but not kept. */
const NOT_KEPT = 1;

interface Request {
  task: Task;
  unit: LogicalUnit;
  list: Buffer;
  key: bigint;
  serviceActionKey: bigint;
  /** Null: no type that there is. */
  type: ReservationType | null;
}

/** Carries out a service action. Null: it has ended the task itself, or will. */
type Action = (request: Request) => ReservationOutcome | null;

function acting(name: string, serviceAction: number, action: Action): Operation {
  return {
    name: `PERSISTENT RESERVE OUT, ${name}`,
    opcode: OPCODE,
    serviceAction,
    usage: [OPCODE, 0x1f, 0xff, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0x00],
    // Each looks itself whose reservation it is.
    ignoresPersistentReservation: true,
    ignoresMedium: true,
    runsUpTo: AccessState.STANDBY,
    start,
    received: (task, unit) => received(task, unit, action),
    deviceDone: (task, unit) =>
      task.step === NOT_KEPT ? unit.fail(task, Sense.WRITE_ERROR) : unit.good(task),
  };
}

export const persistentReserveOutOperations: readonly Operation[] = [
  acting('REGISTER', 0x00, (request) => register(request, request.key)),
  acting('RESERVE', 0x01, reserve),
  acting('RELEASE', 0x02, ({ task, unit, key, type }) =>
    unit.reservations.persistent.release(task.nexus, key, type),
  ),
  acting('CLEAR', 0x03, ({ task, unit, key }) => unit.reservations.persistent.clear(task.nexus, key)),
  acting('PREEMPT', 0x04, (request) => preempt(request, [])),
  acting('PREEMPT AND ABORT', 0x05, preemptAndAbort),
  acting('REGISTER AND IGNORE EXISTING KEY', 0x06, (request) => register(request, null)),
  acting('REGISTER AND MOVE', 0x07, registerAndMove),
];

function start(task: Task, unit: LogicalUnit): void {
  const length = getU32(task.cdb, 5);
  // For who has reserved by RESERVE(6), too (SPC-2 5.5.1).
  if (unit.reservations.holder !== null) unit.reservationConflict(task);
  else if (length < LIST_LENGTH || length > LONGEST_LIST) unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  else unit.requestData(task, length);
}

function received(task: Task, unit: LogicalUnit, action: Action): void {
  const list = task.data.toBuffer();
  const outcome = action({
    task,
    unit,
    list,
    key: list.readBigUInt64BE(KEY),
    serviceActionKey: list.readBigUInt64BE(SERVICE_ACTION_KEY),
    // With another scope than LU_SCOPE it is none.
    type: reservationTypeOf(task.cdb[2]!),
  });
  if (outcome === null) return;
  if (outcome === Status.GOOD) save(task, unit);
  else if (outcome === Status.RESERVATION_CONFLICT) unit.reservationConflict(task);
  else if (outcome === Sense.INVALID_FIELD_IN_CDB) unit.failField(task, 2);
  else if (typeof outcome === 'object') unit.fail(task, outcome);
}

/** The change has been made, and is acknowledged when it would outlive the loss of power. */
function save(task: Task, unit: LogicalUnit): void {
  task.state = TaskState.AWAITING_DEVICE;
  const isKept = unit.reservations.persistent.save((cause) => {
    if (cause !== null) {
      unit.events?.reservationsNotKept(unit, cause);
      task.step = NOT_KEPT;
    }
    task.done();
  });
  if (isKept) task.done();
}

/** Ends the task: a field of the list is wrong. */
function failParameter({ task, unit }: Request, byte: number, bit = -1): null {
  unit.failParameter(task, byte, bit);
  return null;
}

function failLength({ task, unit }: Request): null {
  unit.fail(task, Sense.PARAMETER_LIST_LENGTH_ERROR);
  return null;
}

// ---- the service actions ----

/** REGISTER; REGISTER AND IGNORE EXISTING KEY, which has no `key`. */
function register(request: Request, key: bigint | null): ReservationOutcome | null {
  const { task, unit, list, serviceActionKey } = request;
  const flags = list[FLAGS]!;
  const persists = (flags & APTPL) !== 0;
  if (persists && !unit.reservations.persistent.mayPersist) return failParameter(request, FLAGS, 0);
  let others: string[] = [];
  if ((flags & SPEC_I_PT) !== 0) {
    if (key === null) return failParameter(request, FLAGS, 3);
    const ids = readTransportIds(request);
    if (ids === null) return null;
    others = ids;
  } else if (list.length !== LIST_LENGTH) {
    return failLength(request);
  }
  const { persistent } = unit.reservations;
  const allTargetPorts = (flags & ALL_TG_PT) !== 0;
  const options = { allTargetPorts, others, persists };
  const outcome = persistent.register(task.nexus, key, serviceActionKey, options);
  return outcome === Sense.INVALID_FIELD_IN_PARAMETER_LIST ? failParameter(request, TRANSPORT_IDS) : outcome;
}

function reserve({ task, unit, key, type }: Request): ReservationOutcome {
  if (type === null) return Sense.INVALID_FIELD_IN_CDB;
  return unit.reservations.persistent.reserve(task.nexus, key, type);
}

function preempt(request: Request, removed: Registration[]): ReservationOutcome | null {
  const { task, unit, key, serviceActionKey, type } = request;
  const outcome = unit.reservations.persistent.preempt(task.nexus, key, serviceActionKey, type, removed);
  return outcome === Sense.INVALID_FIELD_IN_PARAMETER_LIST
    ? failParameter(request, SERVICE_ACTION_KEY)
    : outcome;
}

/** SPC-4 5.13.11.2.5: answered when the tasks of all that were preempted have ended. */
function preemptAndAbort(request: Request): ReservationOutcome | null {
  const { task, unit } = request;
  const removed: Registration[] = [];
  const outcome = preempt(request, removed);
  if (outcome !== Status.GOOD) return outcome;
  task.state = TaskState.AWAITING_DEVICE;
  const isOver = abortPreempted(
    unit,
    task,
    (nexus) => removed.some((registration) => isRegistrationOf(registration, nexus)),
    () => save(task, unit),
  );
  return isOver ? Status.GOOD : null;
}

function registerAndMove(request: Request): ReservationOutcome | null {
  const { task, unit, list, key, serviceActionKey } = request;
  const flags = list[MOVE_FLAGS]!;
  const transportId = list.subarray(TRANSPORT_IDS);
  if (getU32(list, MOVE_TRANSPORT_ID_LENGTH) !== transportId.length) return failLength(request);
  const persists = (flags & MOVE_APTPL) !== 0;
  if (persists && !unit.reservations.persistent.mayPersist) return failParameter(request, MOVE_FLAGS, 0);
  if (serviceActionKey === 0n) return failParameter(request, SERVICE_ACTION_KEY);
  const to = decodeTransportId(transportId);
  if (to?.isPort !== true) return failParameter(request, TRANSPORT_IDS);
  const relativeTargetPort = getU16(list, MOVE_PORT);
  if (relativeTargetPort === 0) return failParameter(request, MOVE_PORT);
  const outcome = unit.reservations.persistent.move(
    task.nexus,
    key,
    serviceActionKey,
    { initiatorPort: to.name, relativeTargetPort },
    { unregisters: (flags & MOVE_UNREG) !== 0, persists },
  );
  return outcome === Sense.INVALID_FIELD_IN_PARAMETER_LIST ? failParameter(request, TRANSPORT_IDS) : outcome;
}

/**
 * The initiator ports that REGISTER is for besides its own (SPEC_I_PT). An initiator without a port means those of its ports that
 * are logged in. Null, and the task has ended, where something is wrong.
 */
function readTransportIds(request: Request): string[] | null {
  const { task, unit, list } = request;
  const end = TRANSPORT_IDS + 4 + (list.length < TRANSPORT_IDS + 4 ? 0 : getU32(list, TRANSPORT_IDS));
  if (end !== list.length) return failLength(request);
  const ports: string[] = [];
  for (let at = TRANSPORT_IDS + 4, next: number; at < end; at = next) {
    next = at + transportIdLength(list, at);
    const id = next === at || next > end ? null : decodeTransportId(list.subarray(at, next));
    if (id === null) return failParameter(request, at);
    const named = id.isPort ? [id.name] : portsOf(unit, id.name, task);
    if (named.length === 0) return failParameter(request, at);
    ports.push(...named);
  }
  return ports;
}

function portsOf(unit: LogicalUnit, initiatorName: string, { nexus: own }: Task): string[] {
  const ports = new Set<string>();
  for (const nexus of unit.nexuses) if (nexus.initiatorName === initiatorName) ports.add(nexus.initiatorPort);
  ports.delete(own.initiatorPort);
  return [...ports];
}
