/**
 * A logical unit: one disk or CD drive, its device server and its task set (SAM-5 4.6.19).
 *
 * A task's way: {@link LogicalUnit.submit} puts it into the task set; when its turn has come the checks
 * common to all commands are made and `operation.start` is called; the operation asks for Data-Out
 * ({@link LogicalUnit.requestData}), starts the device ({@link LogicalUnit.startDevice}), and ends the
 * task with {@link LogicalUnit.good} or one of the `fail` methods. Everything happens inside of calls from the
 * transport and the device; nothing here allocates for a READ or WRITE.
 */

import { BlockOp, BlockStatus, type BlockDevice, type BlockIo, type Space } from '../block/device.js';
import {
  completeConfiguration,
  type LogicalUnitConfiguration,
  type LogicalUnitOptions,
} from './configuration.js';
import { AbortWatches } from './abort-watches.js';
import {
  ADDITIONAL_CDB_LENGTH,
  findUnusedBit,
  serviceActionBit,
  serviceActionOffset,
  VARIABLE_LENGTH,
} from './cdb.js';
import { operationsFor } from './commands/index.js';
import { senseOfDevice } from './device-sense.js';
import type { LogicalUnitInventory } from './inventory.js';
import { ModePages } from './mode-pages.js';
import type { Nexus } from './nexus.js';
import { OperationTable } from './operation-table.js';
import type { Operation } from './operation.js';
import { isRegistrationOf } from './persistent-reservation.js';
import { ProvisioningThresholds, thresholdsFor } from './provisioning-thresholds.js';
import { RemovableMedium } from './removable-medium.js';
import { Reservations } from './reservations.js';
import type { Sanitizer } from './sanitizer.js';
import { Sense, type SenseCode, type SenseData } from './sense.js';
import { NOT_WAITED, Statistics } from './statistics.js';
import { Status } from './status.js';
import { type AccessState, AccessStatus, type TargetPortGroups } from './target-port-groups.js';
import { TaskSet } from './task-set.js';
import { TaskAttribute, TaskState, type Task } from './task.js';
import { UnitCopies } from './third-party-copy/unit-copies.js';
import { outranksReservation, UnitAttentions } from './unit-attention.js';
import { UnitSanitize } from './unit-sanitize.js';

/** What the owner of a logical unit may want to write into a log. */
export interface LogicalUnitEvents {
  /** The device failed `io`: see its `op`, `errorOffset` and `cause`. Only valid during the call. */
  deviceFailed(unit: LogicalUnit, io: BlockIo): void;
  /** A sanitize operation is over; `cause`: why it failed. */
  sanitized(unit: LogicalUnit, cause: Error | null): void;
  /** A sanitize operation cannot be kept over the loss of power, and so does not begin or end. */
  sanitizeNotKept(unit: LogicalUnit, cause: Error): void;
  /** A change of the persistent reservations could not be kept over the loss of power. */
  reservationsNotKept(unit: LogicalUnit, cause: Error): void;
  /** An initiator has brought target port groups into other states. */
  accessStatesSet(unit: LogicalUnit, by: Nexus): void;
}

export class LogicalUnit {
  /** The medium; a drive's can be changed. */
  #device: BlockDevice;
  readonly configuration: LogicalUnitConfiguration;
  /** Bytes of a logical block. */
  readonly blockSize: number;
  readonly operations: OperationTable;
  readonly taskSet = new TaskSet();
  readonly modePages: ModePages;
  readonly unitAttentions = new UnitAttentions();
  readonly statistics: Statistics;
  readonly thresholds: ProvisioningThresholds;
  readonly reservations: Reservations;
  readonly medium: RemovableMedium;
  readonly targetPortGroups: TargetPortGroups;
  readonly copies = new UnitCopies();
  readonly sanitize: UnitSanitize;
  readonly sanitizer: Sanitizer;
  readonly nexuses = new Set<Nexus>();
  /** The target's logical units, this one among them; null outside of a target. */
  inventory: LogicalUnitInventory | null = null;
  events: LogicalUnitEvents | null = null;
  #blockCount: number;
  /** The task that {@link startDevice} works for at the moment, and how often it has asked for one more round. */
  #driven: Task | null = null;
  #requests = 0;
  /** Set while tasks whose turn has come must not start. */
  #holdsTurns = false;
  readonly #abortWatches = new AbortWatches();

  /** The unit becomes the owner of `device` as far as its events go; closing it stays with the caller. */
  constructor(device: BlockDevice, options: LogicalUnitOptions) {
    this.#device = device;
    this.blockSize = device.blockSize;
    this.#blockCount = device.size / device.blockSize;
    this.configuration = completeConfiguration(options);
    this.operations = new OperationTable(operationsFor(this.configuration, device));
    const { reservationStore, targetPortGroups, now } = this.configuration;
    this.statistics = new Statistics(now);
    const thresholds = thresholdsFor(this.space);
    this.modePages = new ModePages(this.configuration, thresholds);
    this.thresholds = new ProvisioningThresholds(thresholds, this.modePages, device, (condition) =>
      this.unitAttentions.establishForAll(condition),
    );
    this.targetPortGroups = targetPortGroups;
    this.reservations = new Reservations((registration, condition) => {
      for (const nexus of this.nexuses)
        if (isRegistrationOf(registration, nexus)) this.unitAttentions.establish(nexus, condition);
    }, reservationStore);
    this.medium = new RemovableMedium(this.configuration.removable);
    this.sanitize = new UnitSanitize(this);
    this.sanitizer = this.sanitize.sanitizer;
    device.events = { resized: () => this.#resized() };
  }

  get device(): BlockDevice {
    return this.#device;
  }

  /** A drive gets another disc, and its tray is closed. Device operations that are under way go on with the one they began with. */
  changeDisc(device: BlockDevice): void {
    this.#device.events = null;
    this.#device = device;
    this.#blockCount = device.size / this.blockSize;
    device.events = { resized: () => this.#resized() };
    this.unitAttentions.establishForAll(Sense.MEDIUM_MAY_HAVE_CHANGED);
    this.medium.load(this.nexuses);
  }

  /** Logical blocks of the medium. */
  get blockCount(): number {
    return this.#blockCount;
  }

  /** What the data of a thin unit takes, if the device tells. */
  get space(): Space | null {
    return this.configuration.provisioning === 'thin' ? (this.device.space?.() ?? null) : null;
  }

  /** Logical blocks of a physical one. */
  get logicalBlocksPerPhysical(): number {
    return (this.configuration.physicalBlockSize ?? this.blockSize) / this.blockSize;
  }

  /** WCE of the caching page; without it every write is on stable storage before its status. */
  get writeCacheEnabled(): boolean {
    return this.modePages.writeCacheEnabled;
  }

  get isWriteProtected(): boolean {
    return this.device.readOnly || this.configuration.readOnly || this.modePages.softwareWriteProtect;
  }

  /** Why there is no medium: the tray of a CD drive is open then. */
  get senseWithoutMedium(): SenseCode {
    const isDrive = this.configuration.type === 'cdrom';
    return isDrive ? Sense.MEDIUM_NOT_PRESENT_TRAY_OPEN : Sense.MEDIUM_NOT_PRESENT;
  }

  // ---- I_T nexuses ----

  /**
   * A nexus has come to be. It gets no unit attention: the login itself has told the initiator that the
   * session is new and holds nothing from before, and a condition for it would only fail its first
   * command. The nexus whose loss RFC 7143 6.3.5.1 speaks of is gone, with everything it had.
   */
  addNexus(nexus: Nexus): void {
    this.nexuses.add(nexus);
    this.unitAttentions.addNexus(nexus);
  }

  /** I_T nexus loss (SAM-5 6.3.4): its tasks are aborted without a response, its prevention and what RESERVE(6) gave it end. */
  removeNexus(nexus: Nexus): void {
    this.abortTasks((task) => task.nexus === nexus, null, null);
    this.reservations.lost(nexus);
    this.medium.removeNexus(nexus);
    this.copies.lost(nexus);
    this.unitAttentions.removeNexus(nexus);
    this.nexuses.delete(nexus);
  }

  // ---- called by the transport ----

  /** Take on a command: `task` is aimed, its `cdb` and `cdbLength` are filled. */
  submit(task: Task): void {
    task.logicalUnit = this;
    task.status = BlockStatus.GOOD;
    task.cause = null;
    task.fua = false;
    task.mayUnmap = false;
    task.isAtomic = false;
    if (this.taskSet.count >= this.configuration.taskSetLimit) {
      task.scsiStatus = Status.TASK_SET_FULL;
      task.state = TaskState.ENDED;
      task.finished();
      return;
    }
    task.waitsSince = NOT_WAITED;
    // Nothing waits for a SANITIZE command's task, which ends with the operation: what may not run is told so at once.
    const isSanitizing = this.sanitizer.state === 'running';
    if (isSanitizing) task.attribute = TaskAttribute.HEAD_OF_QUEUE;
    if (this.taskSet.enter(task, !isSanitizing && this.operations.isExclusive(task, this.blockSize)))
      this.#start(task);
    if (task.state !== TaskState.ENDED) this.statistics.waits(task);
  }

  /** The Data-Out that was asked for is in `task.data`. */
  dataReceived(task: Task): void {
    if (task.state !== TaskState.AWAITING_DATA) return;
    task.operation!.received!(task, this);
  }

  /** The Data-Out that was asked for will never come, because of `sense` (RFC 7143 11.4.7.2). */
  dataFailed(task: Task, sense: SenseCode = Sense.DATA_PHASE_ERROR): void {
    if (task.state === TaskState.AWAITING_DATA) this.fail(task, sense);
  }

  /** The block operation that did not complete at once is done; called through `task.done()`. */
  deviceDone(task: Task): void {
    if (task.isAborted) this.#endAborted(task);
    else task.operation!.deviceDone!(task, this);
  }

  // ---- called by operations ----

  /**
   * Have `length` bytes of Data-Out put into `task.data`, then `operation.received` is called. An operation
   * that has aimed `task.data` at memory of the device receives there, otherwise the transport allocates.
   * `task.transferLength` becomes `length`, unless the operation has set a larger one.
   */
  requestData(task: Task, length: number): void {
    if (task.transferLength < length) task.transferLength = length;
    if (length > task.dataOutLimit) {
      // The initiator has less to give than the CDB says: nothing is transferred (SPC-4 F.2, 0E/03).
      this.fail(task, Sense.INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
      return;
    }
    if (task.data.length === 0 && length > 0 && !task.allocate(length)) {
      this.busy(task);
      return;
    }
    task.state = TaskState.AWAITING_DATA;
    if (length === 0 || task.receiveData()) task.operation!.received!(task, this);
  }

  /**
   * Carry out the block operation that `task` describes, then `operation.deviceDone` is called. The operation
   * may start the next one from there: rounds that complete at once are run in a loop, not by recursion.
   */
  startDevice(task: Task): void {
    if (!this.modePages.writeCacheEnabled && task.op !== BlockOp.READ && task.op !== BlockOp.FLUSH) {
      task.fua = true;
    }
    if (this.copies.watches) this.copies.changing(task);
    task.state = TaskState.AWAITING_DEVICE;
    if (this.#driven === task) {
      this.#requests++;
      return;
    }
    const outer = this.#driven;
    const outerRequests = this.#requests;
    this.#driven = task;
    let rounds: number;
    do {
      rounds = this.#requests;
      task.status = BlockStatus.GOOD;
      if (!this.device.submit(task)) break;
      task.operation!.deviceDone!(task, this);
    } while (this.#requests !== rounds);
    this.#driven = outer;
    this.#requests = outerRequests;
  }

  /** End with GOOD. Data-In goes along when `dataInLength` is set. */
  good(task: Task): void {
    this.#end(task, Status.GOOD);
  }

  /** End with CONDITION MET (PREFETCH). */
  conditionMet(task: Task): void {
    this.#end(task, Status.CONDITION_MET);
  }

  /** End with BUSY: there is no memory for the command now. */
  busy(task: Task): void {
    this.#end(task, Status.BUSY);
  }

  /** End with RESERVATION CONFLICT. */
  reservationConflict(task: Task): void {
    this.#end(task, Status.RESERVATION_CONFLICT);
  }

  /** End with CHECK CONDITION; `information`, when not negative, goes into the INFORMATION field. */
  fail(task: Task, sense: SenseCode, information = -1): void {
    task.sense.set(sense, this.modePages.descriptorSense);
    if (information >= 0) task.sense.setInformation(information);
    this.#end(task, Status.CHECK_CONDITION);
  }

  /** End with CHECK CONDITION and `sense`. */
  failWith(task: Task, sense: SenseData): void {
    task.sense.copyFrom(sense);
    this.#end(task, Status.CHECK_CONDITION);
  }

  /** INVALID FIELD IN CDB, with a pointer at byte `byteOffset` and the highest bit of the field in it, if given. */
  failField(task: Task, byteOffset: number, bit = -1): void {
    task.sense.set(Sense.INVALID_FIELD_IN_CDB, this.modePages.descriptorSense);
    task.sense.setFieldPointer(true, byteOffset, bit);
    this.#end(task, Status.CHECK_CONDITION);
  }

  /** INVALID FIELD IN PARAMETER LIST, with a pointer as for {@link failField}. */
  failParameter(task: Task, byteOffset: number, bit = -1): void {
    task.sense.set(Sense.INVALID_FIELD_IN_PARAMETER_LIST, this.modePages.descriptorSense);
    task.sense.setFieldPointer(false, byteOffset, bit);
    this.#end(task, Status.CHECK_CONDITION);
  }

  /** End with what `task.status` of the device means; INFORMATION is the logical block that failed. */
  failMedium(task: Task): void {
    this.events?.deviceFailed(this, task);
    this.statistics.deviceFailed(task);
    const hasBlock = task.op !== BlockOp.FLUSH;
    this.fail(task, senseOfDevice(task), hasBlock ? Math.floor(task.errorOffset / this.blockSize) : -1);
  }

  /**
   * End with GOOD and `bytes`, cut to the allocation length, as Data-In.
   * For parameter data of control commands: `bytes` is copied.
   */
  reply(task: Task, bytes: Uint8Array, allocationLength: number): void {
    const length = Math.min(bytes.length, allocationLength);
    if (length > 0 && !task.allocate(length)) {
      this.busy(task);
      return;
    }
    task.data.write(0, bytes, 0, length);
    task.dataInLength = length;
    task.transferLength = length;
    this.good(task);
  }

  /** Bring target port groups into other states because `by` asks for it, who alone does not hear of it from this unit. */
  setAccessStates(states: ReadonlyMap<number, AccessState>, by: Nexus): void {
    if (!this.targetPortGroups.change(states, AccessStatus.EXPLICIT)) return;
    this.events?.accessStatesSet(this, by);
    for (const unit of this.inventory?.units ?? [this])
      unit.unitAttentions.establishForAll(Sense.ASYMMETRIC_ACCESS_STATE_CHANGED, unit === this ? by : null);
  }

  /** `task` was an exclusive one: from now on others run beside it. */
  share(task: Task): void {
    this.taskSet.share(task);
    this.#startEnabled();
  }

  // ---- called by task management ----

  /**
   * Abort every task that `matches`. Those that `owesStatus` names end with TASK ABORTED, the others
   * without a response. True when all of them are gone; otherwise `completed` is called once they are:
   * a device may still be working on their buffers.
   *
   * Null for `completed`: nobody waits for that, as the initiator is gone. What the device is writing must not come behind what others
   * write next, or the initiator itself, which is back and sends it again: tasks that have not begun wait for it.
   */
  abortTasks(
    matches: (task: Task) => boolean,
    owesStatus: ((task: Task) => boolean) | null,
    completed: (() => void) | null,
  ): boolean {
    const remaining = new Set<Task>();
    const heldTurns = this.#holdsTurns;
    this.#holdsTurns = true;
    for (let task = this.taskSet.first, next: Task | null; task !== null; task = next) {
      next = task.next;
      if (!matches(task)) continue;
      if (!task.isAborted) task.owesTaskAborted = owesStatus?.(task) ?? false;
      if (task.state === TaskState.AWAITING_DEVICE) {
        task.isAborted = true;
        remaining.add(task);
        if (completed === null && task.operation!.writesMedium === true) this.taskSet.isolate(task);
      } else {
        this.#endAborted(task);
      }
    }
    this.#holdsTurns = heldTurns;
    this.#startEnabled();
    if (remaining.size === 0) return true;
    if (completed !== null) this.#abortWatches.add(remaining, completed);
    return false;
  }

  /** What every kind of reset does besides aborting tasks (SAM-5 6.3.2, 6.3.3). */
  reset(): void {
    this.reservations.clear();
    this.medium.allowAll();
    this.modePages.reset();
    this.thresholds.set();
    this.statistics.reset();
    this.copies.reset();
  }

  // ---- the way of a task ----

  #start(task: Task): void {
    const found = this.operations.find(task.cdb);
    if (found === null) {
      const opcode = task.cdb[0]!;
      if (this.operations.kind(opcode) === 'shared')
        this.failField(task, serviceActionOffset(opcode), serviceActionBit(opcode));
      else this.fail(task, Sense.INVALID_COMMAND_OPERATION_CODE);
      return;
    }
    task.operation = found;
    if (this.unitAttentions.pending !== 0 || this.reservations.isReserved) {
      if (this.#isStoppedForNexus(task, found)) return;
    }
    if (this.targetPortGroups.isRestricted) {
      const refusal = this.targetPortGroups.refusal(task.nexus, found.runsUpTo!);
      if (refusal !== null) {
        this.fail(task, refusal);
        return;
      }
    }
    if (!this.medium.isPresent && found.ignoresMedium !== true) {
      this.fail(task, this.senseWithoutMedium);
      return;
    }
    if (!this.#isWellFormed(task, found)) return;
    if (this.sanitizer.state !== 'idle' && found.ignoresSanitize !== true) {
      this.sanitize.fail(task);
      return;
    }
    if (found.writesMedium === true && this.isWriteProtected) {
      this.fail(
        task,
        this.modePages.softwareWriteProtect ? Sense.SOFTWARE_WRITE_PROTECTED : Sense.WRITE_PROTECTED,
      );
      return;
    }
    found.start(task, this);
  }

  /** Unit attention and reservation conflict, in the order of SAM-5 5.3.3. True when the task was ended. */
  #isStoppedForNexus(task: Task, operation: Operation): boolean {
    const condition = operation.ignoresUnitAttention === true ? null : this.unitAttentions.peek(task.nexus);
    const conflicts = this.reservations.conflicts(task.nexus, operation);
    if (conflicts && !outranksReservation(condition)) {
      this.reservationConflict(task);
      return true;
    }
    if (condition === null) return false;
    this.unitAttentions.take(task.nexus);
    this.fail(task, condition);
    return true;
  }

  /** CDB length and usage (SPC-4 6.35.3). Ends the task when a bit is set that the operation does not know. */
  #isWellFormed(task: Task, operation: Operation): boolean {
    const { usage } = operation;
    if (operation.opcode === VARIABLE_LENGTH && task.cdb[ADDITIONAL_CDB_LENGTH]! !== usage.length - 8) {
      this.failField(task, ADDITIONAL_CDB_LENGTH);
      return false;
    }
    if (task.cdbLength < usage.length) {
      this.fail(task, Sense.INVALID_FIELD_IN_CDB);
      return false;
    }
    const unused = findUnusedBit(task.cdb, usage);
    if (unused < 0) return true;
    this.failField(task, unused >>> 3, unused & 7);
    return false;
  }

  #end(task: Task, status: Status): void {
    task.scsiStatus = status;
    this.taskSet.leave(task);
    task.state = TaskState.ENDED;
    this.statistics.ended(task, this.taskSet.count === 0);
    if (this.thresholds.isWatching && status === Status.GOOD && task.operation!.writesMedium === true)
      this.thresholds.changed(task);
    task.finished();
    if (this.taskSet.hasWaiting) this.#startEnabled();
  }

  #endAborted(task: Task): void {
    this.sanitize.aborted(task);
    this.taskSet.leave(task);
    task.state = TaskState.ENDED;
    task.scsiStatus = Status.TASK_ABORTED;
    this.statistics.ended(task, this.taskSet.count === 0);
    const completed = this.#abortWatches.takeCompleted(task);
    if (task.owesTaskAborted) {
      task.dataInLength = 0;
      task.finished();
    } else {
      task.aborted();
    }
    for (const call of completed) call();
    this.#startEnabled();
  }

  /** Start the tasks whose turn has come. A task that ends at once does not recurse into here. */
  #startEnabled(): void {
    if (this.#holdsTurns) return;
    this.#holdsTurns = true;
    let task: Task | null;
    while ((task = this.taskSet.takeEnabled()) !== null) this.#start(task);
    this.#holdsTurns = false;
  }

  #resized(): void {
    this.#blockCount = this.device.size / this.blockSize;
    this.copies.revokeAll();
    this.unitAttentions.establishForAll(Sense.CAPACITY_DATA_HAS_CHANGED);
  }
}
