/**
 * The commands of a session: those that are active, found by Initiator Task Tag, and the pool they come
 * from. The CmdSN window is what the table has room for (RFC 7143 4.2.2.1).
 */

import { serialAdd, serialLess } from '../../util/serial.js';
import type { Command } from './command.js';
import type { FullFeature } from './full-feature.js';
import { type HeldRequest, HeldRequests } from './held-requests.js';
import { LostConnections } from './lost-connections.js';

const BUCKETS = 256;

/** Immediate commands are not flow controlled by CmdSN: so many are taken beyond the window (RFC 7143 4.2.2.1). */
export const IMMEDIATE_RESERVE = 16;

/** What a request's CmdSN means. */
export const Turn = {
  /** It is the one expected, or an immediate request: carry it out. */
  NOW: 0,
  /** Outside of the window, or a duplicate: to be ignored silently (RFC 7143 4.2.2.1). */
  NEVER: 1,
  /** Inside of the window, but requests before it are missing: they were damaged on the way, or come by another connection. */
  GAP: 2,
} as const;
export type Turn = (typeof Turn)[keyof typeof Turn];

export class CommandTable {
  readonly #create: () => Command;
  readonly #depth: number;
  readonly #pool: Command[] = [];
  readonly #buckets = new Array<Command | null>(BUCKETS).fill(null);
  active = 0;
  #activeImmediate = 0;
  expCmdSN: number;
  /** MaxCmdSN as the initiator knows it. */
  toldMaxCmdSN: number;
  /** Requests whose turn has not come, when there may be such. */
  readonly held = new HeldRequests();
  /** At ErrorRecoveryLevel 2: what waits for a new allegiance. */
  readonly lost = new LostConnections();

  /** `depth`: commands that may be active at a time, besides immediate ones. */
  constructor(expCmdSN: number, depth: number, create: () => Command) {
    this.expCmdSN = expCmdSN;
    this.#depth = depth;
    this.#create = create;
    this.toldMaxCmdSN = this.maxCmdSN;
  }

  /** MaxCmdSN: the window shrinks with each active command and never moves backwards. */
  get maxCmdSN(): number {
    return serialAdd(
      this.expCmdSN,
      this.#depth - 1 - (this.active - this.#activeImmediate - this.held.commands),
    );
  }

  /** Whether the initiator believes that it may send nothing, though it may: commands have ended without a response. */
  get isOpenUnknown(): boolean {
    return serialLess(this.toldMaxCmdSN, this.expCmdSN) && serialLess(this.toldMaxCmdSN, this.maxCmdSN);
  }

  /** Look at a request's CmdSN, and advance ExpCmdSN if it is its turn. */
  arrive(cmdSN: number, isImmediate: boolean): Turn {
    if (isImmediate) return Turn.NOW;
    if (cmdSN === this.expCmdSN) {
      if (serialLess(this.maxCmdSN, cmdSN)) return Turn.NEVER;
      this.expCmdSN = serialAdd(cmdSN, 1);
      return Turn.NOW;
    }
    return serialLess(cmdSN, this.expCmdSN) || serialLess(this.maxCmdSN, cmdSN) ? Turn.NEVER : Turn.GAP;
  }

  /** Whether requests before an immediate one with this CmdSN are still on their way. */
  isOvertaking(cmdSN: number): boolean {
    return serialLess(this.expCmdSN, cmdSN) && serialLess(cmdSN, serialAdd(this.maxCmdSN, 2));
  }

  /** Whether one more immediate command can be taken. */
  get hasRoomForImmediate(): boolean {
    return this.#activeImmediate < IMMEDIATE_RESERVE;
  }

  /** The active command with this Initiator Task Tag, or null. */
  find(initiatorTaskTag: number): Command | null {
    let command = this.#buckets[bucketOf(initiatorTaskTag)] ?? null;
    while (command !== null && command.initiatorTaskTag !== initiatorTaskTag) command = command.nextInBucket;
    return command;
  }

  /** The request that was held until now, whose turn it is; null if there is none. */
  takeHeld(): HeldRequest | null {
    for (;;) {
      const overtaking = this.held.takeOvertaking(this.expCmdSN);
      if (overtaking !== null) return overtaking;
      const next = this.held.take(this.expCmdSN);
      if (next === null) return null;
      this.expCmdSN = serialAdd(this.expCmdSN, 1);
      if (next !== 'skipped') return next;
    }
  }

  /** End a command whose turn has not come; false if it has. */
  abortHeld(command: Command): boolean {
    if (!this.held.skipCommand(command)) return false;
    command.end();
    return true;
  }

  /** A request inside of the window that never came counts as received (RFC 7143 11.6.1). */
  consider(cmdSN: number): void {
    if (!this.held.has(cmdSN)) this.held.skip(cmdSN);
  }

  /** A command from the pool, made active under `initiatorTaskTag`. */
  begin(initiatorTaskTag: number, isImmediate: boolean, phase: FullFeature): Command {
    const command = this.#pool.pop() ?? this.#create();
    command.phase = phase;
    const bucket = bucketOf(initiatorTaskTag);
    command.initiatorTaskTag = initiatorTaskTag;
    command.isImmediate = isImmediate;
    command.isActive = true;
    command.nextInBucket = this.#buckets[bucket] ?? null;
    this.#buckets[bucket] = command;
    this.active++;
    if (isImmediate) this.#activeImmediate++;
    return command;
  }

  /** The command gets its response, or none ever: its tag and its place in the window are free. */
  finish(command: Command): void {
    const bucket = bucketOf(command.initiatorTaskTag);
    let before: Command | null = null;
    let at = this.#buckets[bucket] ?? null;
    while (at !== null && at !== command) {
      before = at;
      at = at.nextInBucket;
    }
    if (at === null) return;
    if (before === null) this.#buckets[bucket] = command.nextInBucket;
    else before.nextInBucket = command.nextInBucket;
    command.nextInBucket = null;
    command.isActive = false;
    this.active--;
    if (command.isImmediate) this.#activeImmediate--;
  }

  /** The active commands that came by `phase`; for control paths. */
  of(phase: FullFeature): Command[] {
    const found: Command[] = [];
    for (const first of this.#buckets) {
      for (let command = first; command !== null; command = command.nextInBucket) {
        if (command.phase === phase) found.push(command);
      }
    }
    return found;
  }

  /** The command's buffers are free as well: it can be used again. */
  recycle(command: Command): void {
    this.#pool.push(command);
  }
}

function bucketOf(tag: number): number {
  return (tag ^ (tag >>> 8)) & (BUCKETS - 1);
}
