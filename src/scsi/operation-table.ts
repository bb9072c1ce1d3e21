/** The device server's dispatch: from a CDB's operation code, and service action where it has one, to the operation. */

import { SERVICE_ACTION_MASK, serviceActionOf } from './cdb.js';
import type { LogicalUnit } from './logical-unit.js';
import type { Operation } from './operation.js';
import { Sense } from './sense.js';
import { Counted } from './statistics.js';
import { AccessState } from './target-port-groups.js';
import type { Task } from './task.js';

export class OperationTable {
  /** In ascending order of operation code and service action. */
  readonly operations: readonly Operation[];
  /** By operation code; null where there is none, or where service actions share it. */
  readonly #byOpcode: (Operation | null)[] = new Array<Operation | null>(256).fill(null);
  /** By operation code and service action; null where the operation code is not shared. */
  readonly #byServiceAction: ((Operation | null)[] | null)[] = new Array<null>(256).fill(null);

  /** Throws when two operations claim the same CDB: a mistake in the program. */
  constructor(operations: readonly Operation[]) {
    this.operations = operations
      .map(uniform)
      .sort((a, b) => a.opcode - b.opcode || (a.serviceAction ?? 0) - (b.serviceAction ?? 0));
    for (const operation of this.operations) this.#add(operation);
  }

  /** The operation that `cdb` asks for, or null. */
  find(cdb: Uint8Array): Operation | null {
    const opcode = cdb[0]!;
    const operation = this.#byOpcode[opcode] ?? null;
    if (operation !== null) return operation;
    const shared = this.#byServiceAction[opcode] ?? null;
    return shared === null ? null : (shared[serviceActionOf(cdb)] ?? null);
  }

  /** Whether `task` runs alone: by its operation, or since it reads and writes the block that it has only a part of. */
  isExclusive(task: Task, blockSize: number): boolean {
    const operation = this.find(task.cdb);
    if (operation === null) return false;
    return (
      operation.exclusive === true ||
      (operation.counted === Counted.WRITE && task.dataOutLimit % blockSize !== 0)
    );
  }

  /** Whether `opcode` is there, and with service actions. */
  kind(opcode: number): 'absent' | 'alone' | 'shared' {
    if (this.#byOpcode[opcode] !== null) return 'alone';
    return this.#byServiceAction[opcode] === null ? 'absent' : 'shared';
  }

  /** One operation by number, or null; `serviceAction` is not looked at for an operation code without any. */
  lookUp(opcode: number, serviceAction: number): Operation | null {
    return this.#byOpcode[opcode] ?? this.#byServiceAction[opcode]?.[serviceAction] ?? null;
  }

  #add(operation: Operation): void {
    const { opcode, serviceAction } = operation;
    const kind = this.kind(opcode);
    if (serviceAction === undefined) {
      if (kind !== 'absent') throw new TypeError(`${operation.name}: operation code taken`);
      this.#byOpcode[opcode] = operation;
      return;
    }
    const shared = (this.#byServiceAction[opcode] ??= new Array<null>(SERVICE_ACTION_MASK + 1).fill(null));
    if (kind === 'alone' || shared[serviceAction] !== null) {
      throw new TypeError(`${operation.name}: service action taken`);
    }
    shared[serviceAction] = operation;
  }
}

/** A copy with the same members in the same order for every operation, so that the I/O path meets one shape of object. */
function uniform(operation: Operation): Operation {
  const row = {
    name: operation.name,
    opcode: operation.opcode,
    usage: [...operation.usage],
    ignoresUnitAttention: operation.ignoresUnitAttention ?? false,
    ignoresReservation: operation.ignoresReservation ?? false,
    ignoresPersistentReservation: operation.ignoresPersistentReservation ?? false,
    readsMedium: operation.readsMedium ?? false,
    runsUpTo: operation.runsUpTo ?? AccessState.ACTIVE_NON_OPTIMIZED,
    ignoresMedium: operation.ignoresMedium ?? false,
    ignoresSanitize: operation.ignoresSanitize ?? false,
    counted: operation.counted ?? Counted.NOT,
    writesMedium: operation.writesMedium ?? false,
    exclusive: operation.exclusive ?? false,
    start: operation.start,
    received: operation.received ?? unexpected,
    deviceDone: operation.deviceDone ?? unexpected,
  };
  return operation.serviceAction === undefined ? row : { ...row, serviceAction: operation.serviceAction };
}

/** An operation that asked for something has no function to go on with: a mistake in the program. */
function unexpected(task: Task, unit: LogicalUnit): void {
  unit.fail(task, Sense.INTERNAL_TARGET_FAILURE);
}
