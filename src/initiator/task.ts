/**
 * A task that does not give up at the first trouble: what may be sent again is, by the rules in
 * {@link ClientTask.done}; everything else is reported as what it is.
 */

import { InitiatorTask } from '../iscsi/index.js';
import { parseSense, type ParsedSense } from '../scsi/client/index.js';
import { SenseKey, Status } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import { isAccessRefused, isTransition } from './path-access.js';

/** Where a task goes: a session, or a choice of several. */
export interface TaskPath {
  /** Send the task, now or when there is a connection; `completed` follows in any case. */
  submit(task: ClientTask): void;
  /** The same after `delayMs` milliseconds. */
  submitLater(task: ClientTask, delayMs: number): void;
  /** Give the task up: `completed` follows, with `error` unless the target was faster. */
  cancel(task: ClientTask, error: RiserError): void;
  /** A unit attention condition was reported instead of carrying a command out (SAM-5 5.14). */
  unitAttention(task: ClientTask, sense: ParsedSense): void;
  /** The target port that `task` went to gives no access now (SPC-4 5.15): whether there may be another way. */
  accessRefused(task: ClientTask): boolean;
}

/** Unit attention conditions that a command may meet before it is carried out. */
const UNIT_ATTENTIONS = 16;
/** Times that a command is sent again because it was aborted, or the unit is becoming ready. */
const RETRIES = 10;
/** Connections that a command may lose in a row, for it may be what the target dies of. */
const LOSSES = 10;
/** Times that a busy target is asked again: about a minute. */
const BUSY_RETRIES = 36;
/** Waits for a target that is busy, milliseconds: the first, and the longest. */
const FIRST_WAIT_MS = 10;
const LONGEST_WAIT_MS = 2000;
/** LOGICAL UNIT IS IN PROCESS OF BECOMING READY */
const BECOMING_READY = 0x0401;

export abstract class ClientTask extends InitiatorTask {
  /** Where it goes, and goes again. */
  readonly path: TaskPath;
  /** The session that has it now. */
  carrier: TaskPath | null = null;
  /**
   * Whether the command may be carried out twice: reads, and writes at fixed places. What was sent when a
   * connection got lost is sent again only if it is.
   */
  isIdempotent = false;
  /** Milliseconds that the target has for one attempt. */
  timeoutMs = 60_000;
  /** Set while it waits outside a connection. */
  waitTimer: NodeJS.Timeout | null = null;
  #unitAttentions = 0;
  #retries = 0;
  #losses = 0;
  #busyRetries = 0;
  #waitMs = FIRST_WAIT_MS;

  constructor(path: TaskPath) {
    super();
    this.path = path;
  }

  /** The outcome is here: `error`, or `status` and what comes with it. */
  protected abstract completed(): void;

  /** A new life: forget what the last one went through. */
  protected renew(): void {
    this.#unitAttentions = 0;
    this.#retries = 0;
    this.#losses = 0;
    this.#busyRetries = 0;
    this.#waitMs = FIRST_WAIT_MS;
  }

  override done(): void {
    if (this.error !== null) this.#lost(this.error);
    else if (this.status === Status.GOOD) this.completed();
    else if (this.#isBusy && this.#busyRetries++ < BUSY_RETRIES) this.#againLater();
    else if (this.status === Status.CHECK_CONDITION) this.#checkCondition();
    else if (this.status === Status.TASK_ABORTED && this.isIdempotent && this.#retries++ < RETRIES)
      this.#againLater();
    else this.completed();
  }

  /** End with `error`, in whatever state it was outside a connection. */
  fail(error: RiserError): void {
    this.error = error;
    this.completed();
  }

  get parsedSense(): ParsedSense | null {
    return parseSense(this.sense.subarray(0, this.senseLength));
  }

  get #isBusy(): boolean {
    return this.status === Status.BUSY || this.status === Status.TASK_SET_FULL;
  }

  #lost(error: RiserError): void {
    if (error.code !== 'CONNECTION_LOST') {
      this.completed();
    } else if (!this.wasSent || this.isIdempotent) {
      if (++this.#losses < LOSSES) this.path.submit(this);
      else this.completed();
    } else {
      this.fail(
        new RiserError(
          'OUTCOME_UNKNOWN',
          'the connection was lost while the command was under way: it may have been carried out, or not',
          { by: 'peer', costs: 'task', cause: error },
        ),
      );
    }
  }

  #checkCondition(): void {
    const sense = this.parsedSense;
    if (sense === null) {
      this.completed();
    } else if (sense.key === SenseKey.UNIT_ATTENTION && this.#unitAttentions < UNIT_ATTENTIONS) {
      // The command was not carried out (SAM-5 5.14): whatever it is, it may be sent again.
      this.#unitAttentions++;
      this.path.unitAttention(this, sense);
      this.#again(0);
    } else if (sense.key === SenseKey.ABORTED_COMMAND && this.isIdempotent && this.#retries < RETRIES) {
      this.#retries++;
      this.#againLater();
    } else if (
      sense.key === SenseKey.NOT_READY &&
      ((sense.asc << 8) | sense.ascq) === BECOMING_READY &&
      this.#retries < RETRIES
    ) {
      this.#retries++;
      this.#againLater();
    } else if (isAccessRefused(sense) && this.#mayGoElsewhere(sense) && this.#busyRetries++ < BUSY_RETRIES) {
      this.#againLater();
    } else this.completed();
  }

  /** By another path, or by the same one when it has come out of its transition. */
  #mayGoElsewhere(sense: ParsedSense): boolean {
    return this.path.accessRefused(this) || isTransition(sense);
  }

  #againLater(): void {
    const delay = this.#waitMs;
    this.#waitMs = Math.min(delay * 2, LONGEST_WAIT_MS);
    this.#again(delay);
  }

  /** What was given up meanwhile is not begun again. */
  #again(delayMs: number): void {
    if (this.abortError !== null) this.fail(this.abortError);
    else if (delayMs === 0) this.path.submit(this);
    else this.path.submitLater(this, delayMs);
  }
}
