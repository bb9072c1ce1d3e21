/**
 * A copy between logical units, piece by piece: read, then write; holes of the source become holes of the destination
 * where both are thin. One piece is under way at a time, and after each one all other work has its turn. What stands in
 * the way (reservations, protection, a medium that is gone, LUNs that are taken away) is looked at for each piece.
 */

import { BlockIo, BlockOp, BlockStatus } from '../../block/device.js';
import { ScatterList } from '../../util/memory.js';
import { senseOfDevice } from '../device-sense.js';
import type { LogicalUnit } from '../logical-unit.js';
import type { SenseCode } from '../sense.js';
import { Status } from '../status.js';
import { type CopyManager, MAXIMUM_COPIES, PIECE_LENGTH } from './copy-manager.js';
import { type CopyRecord, CopyState } from './copy-record.js';

/** A run of bytes, and where it goes. Offsets and lengths are in whole blocks of both units. */
export interface Move {
  /** Null: zeroes. */
  readonly source: LogicalUnit | null;
  readonly sourceOffset: number;
  readonly destination: LogicalUnit;
  readonly destinationOffset: number;
  readonly length: number;
}

/** Why a copy ends. */
export interface CopyFailure {
  readonly sense: SenseCode;
  /** The number of the segment descriptor that it is about. */
  readonly segment?: number;
  /** The byte of the parameter list that is wrong; only with `segment`. */
  readonly parameter?: number;
}

/** What is copied. */
export interface CopyPlan {
  /** The logical unit that was asked for it. */
  readonly own: LogicalUnit;
  /** What comes as number `index`, from 0; null behind the last. */
  step(index: number): Move | CopyFailure | null;
  /** Why the copy must not go on with these bytes of a move; null if it may. Asked before each read, between it and its write, and before zeroes. */
  objection(move: Move, offset: number, length: number): CopyFailure | null;
  /** What it comes to that the device of one side of a move failed. */
  deviceFailed(move: Move, side: 'source' | 'destination', sense: SenseCode): CopyFailure;
}

/** Bytes of zeroes that one device operation writes at most. */
const ZEROES_LENGTH = 16 << 20;

const Phase = { LOOK: 0, READ: 1, WRITE: 2, ZEROES: 3 } as const;
type Phase = (typeof Phase)[keyof typeof Phase];

export class CopyOperation extends BlockIo {
  override data = new ScatterList();
  readonly #manager: CopyManager;
  readonly #record: CopyRecord;
  readonly #plan: CopyPlan;
  readonly #isWanted: () => boolean;
  readonly #ended: () => void;
  #phase: Phase = Phase.LOOK;
  #move: Move | null = null;
  /** Bytes of the move that are done. */
  #done = 0;
  /** Bytes that the next phases are about, and where they begin in the move. */
  #piece = 0;
  #at = 0;

  /** `isWanted`: whether whoever asked for it still waits for it; `ended` is called once, maybe by {@link start}. */
  constructor(
    manager: CopyManager,
    record: CopyRecord,
    plan: CopyPlan,
    isWanted: () => boolean,
    ended: () => void,
  ) {
    super();
    this.#manager = manager;
    this.#record = record;
    this.#plan = plan;
    this.#isWanted = isWanted;
    this.#ended = ended;
  }

  /** False, and nothing has happened, when there is no memory for one more copy. */
  start(): boolean {
    if (this.#manager.running >= MAXIMUM_COPIES) return false;
    if (!this.#manager.buffers.fill(this.data, PIECE_LENGTH)) return false;
    this.#manager.running++;
    this.#run();
    return true;
  }

  override done(): void {
    if (this.#completed()) this.#run();
  }

  readonly #run = (): void => {
    for (;;) {
      if (!this.#aim()) return;
      if (!this.#unit.device.submit(this)) return;
      if (!this.#completed()) return;
    }
  };

  get #unit(): LogicalUnit {
    const { source, destination } = this.#move!;
    return this.#phase < Phase.WRITE ? source! : destination;
  }

  /** Describe the next device operation. False when the copy has ended. */
  #aim(): boolean {
    if (this.#record.isCancelled || !this.#isWanted()) return this.#end(CopyState.ABORTED);
    const move = this.#move ?? this.#nextMove();
    if (move === null) return false;
    if (this.#phase === Phase.LOOK) this.#choosePiece(move);
    const objection = this.#plan.objection(move, this.#at, this.#piece);
    if (objection !== null) return this.#fail(objection);
    const isOfSource = this.#phase < Phase.WRITE;
    this.offset = this.#at + (isOfSource ? move.sourceOffset : move.destinationOffset);
    this.length = this.#piece;
    this.status = BlockStatus.GOOD;
    this.cause = null;
    this.op = [BlockOp.EXTENTS, BlockOp.READ, BlockOp.WRITE, BlockOp.WRITE_ZEROES][this.#phase]!;
    if (this.#phase >= Phase.WRITE) {
      this.fua = !move.destination.writeCacheEnabled;
      this.mayUnmap = isThin(move.destination);
      move.destination.copies.changing(this);
    }
    return true;
  }

  /** The next move that moves anything; null when the copy has ended. */
  #nextMove(): Move | null {
    for (;;) {
      const step = this.#plan.step(this.#record.segments);
      if (step === null) {
        this.#end(CopyState.COMPLETED);
        return null;
      }
      if ('sense' in step) {
        this.#fail(step);
        return null;
      }
      if (step.length > 0) {
        this.#move = step;
        this.#done = 0;
        this.#phase = Phase.LOOK;
        return step;
      }
      this.#record.segments++;
    }
  }

  /** What is to be done first with the bytes that are left. */
  #choosePiece(move: Move): void {
    const left = move.length - this.#done;
    this.#at = this.#done;
    if (move.source === null) {
      this.#phase = Phase.ZEROES;
      this.#piece = Math.min(left, ZEROES_LENGTH);
    } else if (isOntoItself(move)) {
      // From the end, so that nothing is overwritten that has yet to be read.
      this.#phase = Phase.READ;
      this.#piece = Math.min(left, PIECE_LENGTH);
      this.#at = left - this.#piece;
    } else if (isThin(move.source) && isThin(move.destination)) {
      this.#piece = Math.min(left, ZEROES_LENGTH);
      this.extentLimit = 1;
    } else {
      this.#phase = Phase.READ;
      this.#piece = Math.min(left, PIECE_LENGTH);
    }
  }

  /** A device operation is over. True when the next one may begin at once. */
  #completed(): boolean {
    const move = this.#move!;
    if (this.status !== BlockStatus.GOOD) {
      const side = this.#phase >= Phase.WRITE ? 'destination' : 'source';
      this.#unit.events?.deviceFailed(this.#unit, this);
      return this.#fail(this.#plan.deviceFailed(move, side, senseOfDevice(this)));
    }
    this.#record.operations++;
    if (this.#phase === Phase.LOOK) {
      this.#lookedAt(move);
      return true;
    }
    if (this.#phase === Phase.READ) {
      this.#phase = Phase.WRITE;
      return true;
    }
    // A ROD token that was made while the write was under way may stand for what was there before.
    move.destination.copies.changing(this);
    this.#phase = Phase.LOOK;
    this.#done += this.#piece;
    this.#record.bytes += this.#piece;
    if (this.#done === move.length) {
      this.#record.segments++;
      this.#move = null;
    }
    this.#manager.host.defer(this.#run);
    return false;
  }

  /** The source has told of what `#piece` bytes are: go on with as many as are of one kind. */
  #lookedAt(move: Move): void {
    const { length, mapped } = this.extents[0]!;
    const block = Math.max(move.source!.blockSize, move.destination.blockSize);
    const run = Math.floor(length / block) * block;
    if (!mapped && run > 0) {
      this.#phase = Phase.ZEROES;
      this.#piece = run;
    } else {
      this.#phase = Phase.READ;
      this.#piece = Math.min(Math.max(mapped ? run : 0, block), this.#piece, PIECE_LENGTH);
    }
  }

  #fail(failure: CopyFailure): false {
    const { sense } = this.#record;
    this.#record.status = Status.CHECK_CONDITION;
    sense.set(failure.sense, this.#plan.own.modePages.descriptorSense);
    if (failure.segment !== undefined) sense.setSegment(failure.segment, failure.parameter ?? -1);
    return this.#end(CopyState.FAILED);
  }

  #end(state: CopyState): false {
    this.#manager.buffers.release(this.data);
    this.#manager.running--;
    this.#record.state = state;
    this.#ended();
    return false;
  }
}

function isThin(unit: LogicalUnit): boolean {
  return unit.configuration.provisioning === 'thin';
}

/** Whether the end of the source is where the destination begins. */
function isOntoItself({ source, destination, sourceOffset, destinationOffset, length }: Move): boolean {
  return (
    source === destination && sourceOffset < destinationOffset && destinationOffset < sourceOffset + length
  );
}
