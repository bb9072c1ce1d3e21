/** A logical unit on a small medium, and a case that is carried out on it step by step, with every invariant looked at after each. */

import assert from 'node:assert/strict';
import { BlockIo, BlockOp, type BlockStatus } from '../../../src/block/device.js';
import { MemoryDevice } from '../../../src/block/memory.js';
import { LogicalUnitInventory } from '../../../src/scsi/inventory.js';
import { MAXIMUM_TRANSFER_BYTES } from '../../../src/scsi/limits.js';
import { LogicalUnit } from '../../../src/scsi/logical-unit.js';
import type { ReservationStore } from '../../../src/scsi/reservation-store.js';
import type { SanitizeStore } from '../../../src/scsi/sanitize-store.js';
import { SenseKey } from '../../../src/scsi/sense.js';
import { Status } from '../../../src/scsi/status.js';
import {
  abortTask,
  abortTaskSet,
  clearTaskSet,
  logicalUnitReset,
} from '../../../src/scsi/task-management.js';
import { TargetPortGroups } from '../../../src/scsi/target-port-groups.js';
import type { TaskAttribute } from '../../../src/scsi/task.js';
import { FakeCopyHost } from '../../../src/scsi/testing/fake-copies.js';
import { FakeTask, fakeNexus, fakeUnit } from '../../../src/scsi/testing/fake-task.js';
import { SlowDevice } from '../../../src/scsi/testing/slow-device.js';
import { CopyManager } from '../../../src/scsi/third-party-copy/copy-manager.js';
import { Memory, ScatterList } from '../../../src/util/memory.js';
import { pattern } from '../../support/pattern.js';
import { isPiecewise, isRead, isWrite, namedBlocks, writableBlocks } from './blocks.js';
import { TOKEN_PLACE } from './parameter-lists.js';
import type { CommandStep, DataOut, ManagementStep, UnitSetup, UnitStep } from './steps.js';

export const BLOCKS = 64;
/** A whole transfer, and a piece to compare with or write from. */
const MEMORY_LIMIT = MAXIMUM_TRANSFER_BYTES + (1 << 20);
/** Turns in which everything that is under way has to end once nothing holds it up. */
const LAST_TURNS = 1000;
const RECEIVE_COPY_RESULTS = 0x84;
const INQUIRY = [0x12, 0, 0, 0, 96, 0];

/** Keeps nothing: what a file does is its own tests' matter. */
const STORE: ReservationStore & SanitizeStore = { kept: null, keep: (_, kept) => kept(null) };

/** Two groups, of which the nexuses' port is in the first. */
export const portGroups = (): TargetPortGroups =>
  new TargetPortGroups({
    groups: [
      { id: 1, ports: [1] },
      { id: 2, ports: [2] },
    ],
    explicit: true,
  });

class FuzzedTask extends FakeTask {
  /** Bytes of memory that the command has asked for. */
  asked = 0;

  override allocate(length: number): boolean {
    this.asked += length;
    return super.allocate(length);
  }

  override allocateScratch(length: number): boolean {
    this.asked += length;
    return super.allocateScratch(length);
  }
}

class MediumRead extends BlockIo {
  override data = new ScatterList();

  done(): void {
    assert.fail('memory completes at once');
  }
}

export class Scene {
  readonly outcomes = new Set<string>();
  readonly #memory: MemoryDevice;
  readonly #slow: SlowDevice | null;
  readonly #unit: LogicalUnit;
  readonly #inventory = new LogicalUnitInventory();
  readonly #nexuses = [fakeNexus('a'), fakeNexus('b')];
  readonly #host = new FakeCopyHost();
  readonly #copies = new CopyManager(this.#host);
  /** What works in the background goes on by these calls. */
  readonly #later: (() => void)[] = [];
  /** What stands for blocks, as it was told last. */
  #token: Buffer | null = null;
  /** In order of their arrival. */
  #running: FuzzedTask[] = [];
  readonly #read = new MediumRead();
  readonly #readInto: Memory;
  /** The medium after the step before this one. */
  #image: Buffer;
  #status: BlockStatus = 0;
  #worksInBackground = false;

  constructor(setup: UnitSetup) {
    const { device, keeps, isAsymmetric, blockSize, type, ...options } = setup;
    const medium = { size: BLOCKS * blockSize, blockSize, thin: setup.provisioning === 'thin' };
    this.#slow = device === 'slow' ? new SlowDevice(medium, false) : null;
    if (this.#slow !== null) this.#slow.fault = () => this.#status;
    this.#memory = this.#slow?.memory ?? new MemoryDevice(medium);
    const ofDisk = {
      ...options,
      reservationStore: keeps ? STORE : null,
      sanitizeStore: keeps ? STORE : null,
      copyManager: this.#copies,
      ...(isAsymmetric && { targetPortGroups: portGroups() }),
      runLater: (call: () => void) => void this.#later.push(call),
    };
    this.#unit = new LogicalUnit(this.#slow ?? this.#memory, {
      identity: fakeUnit().configuration.identity,
      type,
      ...(type === 'disk' && ofDisk),
    });
    this.#inventory.add(0, this.#unit);
    for (const nexus of this.#nexuses) this.#inventory.addNexus(nexus);
    this.#readInto = Memory.allocate(medium.size);
    this.#image = this.#readMedium();
  }

  take(step: UnitStep): void {
    const before = [...this.#running];
    this.#worksInBackground = this.#isAtWork;
    switch (step.kind) {
      case 'command':
        this.#command(step);
        break;
      case 'turn':
        for (let i = 0; i < step.turns; i++) this.#turn();
        this.#checkMedium(before);
        break;
      case 'device':
        this.#status = step.status as BlockStatus;
        for (let i = 0; i < step.operations; i++) this.#slow?.completeNext();
        this.#status = 0;
        this.#checkMedium(before);
        break;
      case 'defer':
        if (this.#slow !== null) this.#slow.defers = step.defers;
        break;
      case 'deliver':
        this.#deliver(step.fails);
        this.#checkMedium(before);
        break;
      case 'manage':
        this.#manage(step);
        this.#checkMedium(before);
        break;
    }
  }

  /** Everything that is under way comes to its end, and nothing is left of it. */
  finish(): void {
    const before = [...this.#running];
    this.#worksInBackground = this.#isAtWork;
    for (let turn = 0; this.#running.length > 0 || this.#isAtWork; turn++) {
      assert.ok(turn < LAST_TURNS, `never ends: ${this.#running.map(describe).join('; ')}`);
      this.#slow?.completeAll();
      this.#deliver(false);
      this.#turn();
    }
    this.#checkMedium(before);
    assert.equal(this.#unit.taskSet.count, 0, 'tasks are left in the task set');
    assert.equal(this.#slow?.pending.length ?? 0, 0);
    const judge = new FakeTask();
    judge.aim(this.#nexuses[0]!, 0, 96, 0);
    judge.cdb.set(INQUIRY);
    judge.cdbLength = INQUIRY.length;
    this.#unit.submit(judge);
    assert.equal(judge.outcome, 'GOOD', 'INQUIRY afterwards');
  }

  /** Whether a sanitize operation or a copy changes the medium, whatever tasks there are. */
  get #isAtWork(): boolean {
    return this.#unit.sanitizer.state === 'running' || this.#copies.running > 0;
  }

  #turn(): void {
    this.#host.turn();
    this.#later.shift()?.();
  }

  #command(step: CommandStep): void {
    const others = [...this.#running];
    const task = new FuzzedTask();
    const dataOut = bytesOf(step.dataOut);
    const place = dataOut.indexOf(TOKEN_PLACE);
    if (place >= 0) this.#token?.copy(dataOut, place);
    task.aim(this.#nexuses[step.nexus]!, step.attribute as TaskAttribute, step.dataInLimit, dataOut.length);
    task.cdb.fill(0);
    task.cdb.write(step.cdb, 'hex');
    task.cdbLength = Math.max(16, step.cdb.length / 2);
    task.dataOut = dataOut;
    task.holdsData = step.holdsData;
    task.onEnd = () => this.#ended(task);
    this.#running.push(task);
    this.#unit.submit(task);
    if (others.length === 0 && this.#running.length === 0 && !this.#worksInBackground) this.#checkAlone(task);
    if (task.cdb[0] === RECEIVE_COPY_RESULTS && task.dataIn.length > TOKEN_PLACE.length)
      this.#token = Buffer.from(task.dataIn.subarray(-TOKEN_PLACE.length));
    this.#checkMedium([...others, task]);
  }

  #ended(task: FuzzedTask): void {
    this.#running.splice(this.#running.indexOf(task), 1);
    assert.ok(task.dataInLength <= task.data.length, `Data-In longer than its memory: ${describe(task)}`);
    assert.ok(task.asked <= MEMORY_LIMIT, `${task.asked} bytes of memory: ${describe(task)}`);
    const isCheck = task.scsiStatus === Status.CHECK_CONDITION && task.ending === 'finished';
    if (isCheck) assert.ok(task.sense.length > 0, `no sense data: ${describe(task)}`);
    const sense = isCheck ? fieldPointer(task) : '';
    this.outcomes.add(`${task.operation?.name ?? 'none'}: ${task.outcome}${sense}`);
  }

  /** A command that nothing else could have come between. */
  #checkAlone(task: FuzzedTask): void {
    const image = this.#readMedium();
    if (task.ending === 'finished' && task.scsiStatus !== Status.GOOD && !isPiecewise(task.cdb))
      assert.ok(image.equals(this.#image), `it failed, and has changed the medium: ${describe(task)}`);
    if (task.scsiStatus !== Status.GOOD || task.cdbLength < 6) return;
    const { blockSize } = this.#unit;
    const [first, end] = namedBlocks(task.cdb);
    if (isRead(task.cdb)) {
      const right = this.#image.subarray(first * blockSize, end * blockSize).subarray(0, task.dataInLimit);
      assert.ok(task.dataIn.equals(right), `wrong data: ${describe(task)}`);
    } else if (isWrite(task.cdb)) {
      // An initiator that announces fewer whole blocks than the CDB has these written (RFC 7143 11.4.5.2).
      const length = Math.min((end - first) * blockSize, task.dataOut.length);
      const written = image.subarray(first * blockSize, first * blockSize + length);
      assert.ok(written.equals(task.dataOut.subarray(0, length)), `not written: ${describe(task)}`);
      const rest = image.subarray(first * blockSize + length);
      assert.ok(
        rest.equals(this.#image.subarray(first * blockSize + length)),
        `written too much: ${describe(task)}`,
      );
    }
  }

  /** Nothing has changed but blocks that one of `tasks`, which were under way, may write. */
  #checkMedium(tasks: readonly FuzzedTask[]): void {
    const { blockSize } = this.#unit;
    const image = this.#readMedium();
    if (image.equals(this.#image)) return;
    if (this.#worksInBackground || this.#isAtWork) {
      this.#image = image;
      return;
    }
    const ranges = tasks.map((task) => writableBlocks(task.cdb, BLOCKS));
    for (let block = 0; block < BLOCKS; block++) {
      const at = block * blockSize;
      if (image.compare(this.#image, at, at + blockSize, at, at + blockSize) === 0) continue;
      const isAllowed = ranges.some(([first, end]) => block >= first && block < end);
      assert.ok(isAllowed, `block ${block} has changed by ${tasks.map(describe).join('; ')}`);
    }
    this.#image = image;
  }

  #deliver(fails: boolean): void {
    const task = this.#running.find((running) => running.holdsData && running.requests > 0);
    if (task === undefined) return;
    task.holdsData = false;
    if (fails) this.#unit.dataFailed(task);
    else task.deliver();
  }

  #manage({ function: name, nexus: index }: ManagementStep): void {
    const unit = this.#unit;
    const nexus = this.#nexuses[index]!;
    const of = [...this.#running];
    let answers = 0;
    const completed = (): void => {
      answers++;
    };
    let isComplete = true;
    switch (name) {
      case 'abortTask':
        if (of[0] !== undefined) isComplete = abortTask(unit, of[0], completed);
        break;
      case 'abortTaskSet':
        isComplete = abortTaskSet(unit, nexus, completed);
        break;
      case 'clearTaskSet':
        isComplete = clearTaskSet(unit, nexus, completed);
        break;
      case 'logicalUnitReset':
        isComplete = logicalUnitReset(unit, nexus, completed);
        break;
      case 'leaveAndReturn':
        this.#inventory.removeNexus(nexus);
        this.#inventory.addNexus(nexus);
        break;
    }
    if (!isComplete) {
      for (let turn = 0; answers === 0 && turn < LAST_TURNS; turn++) {
        this.#slow?.completeAll();
        this.#turn();
      }
      assert.equal(answers, 1, `${name} is answered once`);
    } else {
      assert.equal(answers, 0, `${name} is answered twice`);
    }
  }

  #readMedium(): Buffer {
    const read = this.#read;
    read.op = BlockOp.READ;
    read.offset = 0;
    read.length = this.#memory.size;
    read.data.clear();
    read.data.add(this.#readInto, 0, read.length);
    read.status = 0;
    this.#memory.submit(read);
    return read.data.toBuffer();
  }
}

function bytesOf(dataOut: DataOut): Buffer {
  return typeof dataOut === 'string' ? Buffer.from(dataOut, 'hex') : pattern(dataOut.length, dataOut.pattern);
}

function describe(task: FuzzedTask): string {
  return `${task.cdb.toString('hex', 0, task.cdbLength)} (${task.outcome})`;
}

/** Which byte of the CDB or the parameter list is complained about, where the sense data tells. */
function fieldPointer({ sense }: FuzzedTask): string {
  if (sense.key !== SenseKey.ILLEGAL_REQUEST && sense.key !== SenseKey.COPY_ABORTED) return '';
  const at = sense.bytes[0] === 0x72 ? 12 : 15;
  if (at + 3 > sense.length || (sense.bytes[at]! & 0x80) === 0) return '';
  return ` at ${(sense.bytes[at]! & 0x40) === 0 ? 'list' : 'CDB'} byte ${sense.bytes.readUInt16BE(at + 1)}`;
}
