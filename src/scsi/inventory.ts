/**
 * The logical units of one target, and what its nexuses find at LUNs where there is none (SAM-5 4.6.4).
 */

import { getU16, getU32, putU32 } from '../util/fields.js';
import { DEFAULT_CONFIGURATION } from './configuration.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Nexus } from './nexus.js';
import { Sense, SenseData, type SenseCode } from './sense.js';
import { Status } from './status.js';
import { TaskState, type Task } from './task.js';
import { absentInquiry } from './vital-product-data.js';

/** The highest LUN that flat space addressing reaches (SAM-5 4.7.7.4). */
export const MAX_LUN = 0x3fff;

/** Whatever takes commands: a logical unit, or its absence. */
export interface TaskRouter {
  submit(task: Task): void;
}

/** The logical units that a nexus finds at its LUNs. */
export interface LogicalUnitView {
  /** LUNs in use, ascending. */
  readonly luns: number[];
  /** All of its logical units. */
  readonly units: Iterable<LogicalUnit>;
  /** The unit at `lun`, or undefined. */
  get(lun: number): LogicalUnit | undefined;
  /** Who takes the commands for `lun`, which may be anything. */
  route(lun: number): TaskRouter;
  /** Whether what is at `lun` of the whole inventory is part of this view. */
  shows(lun: number): boolean;
}

export class LogicalUnitInventory implements LogicalUnitView {
  /** The device server behind all LUNs without a logical unit. */
  readonly absent: TaskRouter = new AbsentUnit(this);
  readonly nexuses = new Set<Nexus>();
  readonly #units = new Map<number, LogicalUnit>();

  get luns(): number[] {
    return [...this.#units.keys()].sort((a, b) => a - b);
  }

  get units(): Iterable<LogicalUnit> {
    return this.#units.values();
  }

  get(lun: number): LogicalUnit | undefined {
    return this.#units.get(lun);
  }

  route(lun: number): TaskRouter {
    return this.#units.get(lun) ?? this.absent;
  }

  shows(): boolean {
    return true;
  }

  /** Put `unit` at `lun` (0 to {@link MAX_LUN}), which must be free. The nexuses that can see it hear of it from their other units. */
  add(lun: number, unit: LogicalUnit): void {
    if (lun < 0 || lun > MAX_LUN) throw new RangeError(`LUN ${lun} is not in 0 to ${MAX_LUN}`);
    if (this.#units.has(lun)) throw new RangeError(`LUN ${lun} is taken`);
    this.#reportedLunsChanged(lun);
    this.#units.set(lun, unit);
    unit.inventory = this;
    for (const nexus of this.nexuses) {
      if (this.viewOf(nexus).shows(lun)) unit.addNexus(nexus);
    }
  }

  /** Take the unit at `lun` away; its tasks are aborted without a response. Closing its device is the caller's. */
  remove(lun: number): void {
    const unit = this.#units.get(lun);
    if (unit === undefined) return;
    this.#units.delete(lun);
    for (const nexus of this.nexuses) unit.removeNexus(nexus);
    unit.inventory = null;
    this.#reportedLunsChanged(lun);
  }

  /** What `nexus` finds here. */
  viewOf(nexus: Nexus): LogicalUnitView {
    return nexus.view ?? this;
  }

  /** A nexus has come to be: every unit that it can see knows it from now on. */
  addNexus(nexus: Nexus): void {
    this.nexuses.add(nexus);
    for (const unit of this.viewOf(nexus).units) unit.addNexus(nexus);
  }

  /** I_T nexus loss, for every unit; see {@link LogicalUnit.removeNexus}. */
  removeNexus(nexus: Nexus): void {
    this.nexuses.delete(nexus);
    for (const unit of this.units) unit.removeNexus(nexus);
  }

  /** What is at `lun` comes or goes: no news to those who cannot see it. */
  #reportedLunsChanged(lun: number): void {
    for (const nexus of this.nexuses) {
      const view = this.viewOf(nexus);
      if (!view.shows(lun)) continue;
      for (const unit of view.units) {
        unit.unitAttentions.establish(nexus, Sense.REPORTED_LUNS_DATA_HAS_CHANGED);
      }
    }
  }
}

/** A part of an inventory under LUNs of its own: LUN mapping and masking. */
export class MappedUnits implements LogicalUnitView {
  readonly #inventory: LogicalUnitInventory;
  readonly #map: ReadonlyMap<number, number>;
  readonly #shown: ReadonlySet<number>;

  /** `map`: the LUN that is seen, and the inventory's own; a unit that is not there may come later. */
  constructor(inventory: LogicalUnitInventory, map: ReadonlyMap<number, number>) {
    this.#inventory = inventory;
    this.#map = map;
    this.#shown = new Set(map.values());
  }

  get luns(): number[] {
    return [...this.#map.keys()].filter((lun) => this.get(lun) !== undefined).sort((a, b) => a - b);
  }

  get units(): Iterable<LogicalUnit> {
    return [...this.#shown].flatMap((lun) => this.#inventory.get(lun) ?? []);
  }

  get(lun: number): LogicalUnit | undefined {
    const own = this.#map.get(lun);
    return own === undefined ? undefined : this.#inventory.get(own);
  }

  route(lun: number): TaskRouter {
    return this.get(lun) ?? this.#inventory.absent;
  }

  shows(lun: number): boolean {
    return this.#shown.has(lun);
  }
}

/** SELECT REPORT of REPORT LUNS (SPC-4 table 284). */
const SelectReport = { ADDRESSABLE: 0, WELL_KNOWN: 1, ALL: 2 } as const;

/** REPORT LUNS parameter data (SPC-4 6.33), or null when `selectReport` is not supported. */
export function reportLuns(luns: readonly number[], selectReport: number): Buffer | null {
  if (selectReport > SelectReport.ALL) return null;
  const listed = selectReport === SelectReport.WELL_KNOWN ? [] : luns;
  const data = Buffer.alloc(8 + 8 * listed.length);
  putU32(data, 0, 8 * listed.length);
  listed.forEach((lun, i) => encodeLun(lun, data, 8 + 8 * i));
  return data;
}

/** Write `lun` as an 8-byte LUN: peripheral device addressing below 256, else flat space (SAM-5 4.7.7). */
export function encodeLun(lun: number, bytes: Uint8Array, offset: number): void {
  bytes.fill(0, offset, offset + 8);
  bytes[offset] = lun < 0x100 ? 0 : 0x40 | (lun >>> 8);
  bytes[offset + 1] = lun;
}

/** The number in an 8-byte LUN, or -1 when it is of a kind that no logical unit here has. */
export function decodeLun(bytes: Uint8Array, offset: number): number {
  const first = getU16(bytes, offset);
  if (getU16(bytes, offset + 2) !== 0 || getU32(bytes, offset + 4) !== 0) return -1;
  const method = first >>> 14;
  if (method === 1) return first & MAX_LUN;
  return method === 0 && first < 0x100 ? first : -1;
}

/**
 * The device server behind an incorrect LUN (SPC-4 5.11): it answers INQUIRY, REPORT LUNS and REQUEST
 * SENSE, and ends everything else with LOGICAL UNIT NOT SUPPORTED.
 */
class AbsentUnit implements TaskRouter {
  readonly #inventory: LogicalUnitInventory;

  constructor(inventory: LogicalUnitInventory) {
    this.#inventory = inventory;
  }

  submit(task: Task): void {
    const { cdb } = task;
    switch (cdb[0]) {
      case 0x12: // INQUIRY; there are no pages, and no CMDDT
        if (cdb[1] !== 0 || cdb[2] !== 0) fail(task, Sense.INVALID_FIELD_IN_CDB);
        else reply(task, absentInquiry(DEFAULT_CONFIGURATION), getU16(cdb, 3));
        break;
      case 0xa0: {
        // REPORT LUNS
        const data = reportLuns(this.#inventory.viewOf(task.nexus).luns, cdb[2]!);
        const allocationLength = getU32(cdb, 6);
        if (data === null || allocationLength < 16) fail(task, Sense.INVALID_FIELD_IN_CDB);
        else reply(task, data, allocationLength);
        break;
      }
      case 0x03: {
        // REQUEST SENSE
        const sense = new SenseData();
        sense.set(Sense.LOGICAL_UNIT_NOT_SUPPORTED, (cdb[1]! & 1) !== 0);
        reply(task, sense.bytes.subarray(0, sense.length), cdb[4]!);
        break;
      }
      default:
        fail(task, Sense.LOGICAL_UNIT_NOT_SUPPORTED);
    }
  }
}

function fail(task: Task, sense: SenseCode): void {
  task.sense.set(sense, false);
  end(task, Status.CHECK_CONDITION);
}

function reply(task: Task, bytes: Uint8Array, allocationLength: number): void {
  const length = Math.min(bytes.length, allocationLength);
  if (length > 0 && !task.allocate(length)) {
    end(task, Status.BUSY);
    return;
  }
  task.data.write(0, bytes, 0, length);
  task.dataInLength = length;
  task.transferLength = length;
  end(task, Status.GOOD);
}

function end(task: Task, status: Status): void {
  task.scsiStatus = status;
  task.state = TaskState.ENDED;
  task.finished();
}
