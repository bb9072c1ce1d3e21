/**
 * Connections of a session that are lost while the session goes on (RFC 7143 7.1.4.3): each is logged out by another one, then its tasks
 * go on by that, as the session's ErrorRecoveryLevel permits.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { type InitiatorFullFeature, type LogoutAnswer, recoverTasks } from '../iscsi/index.js';
import { LogoutReason, LogoutResponse } from '../iscsi/wire/opcodes.js';
import { RiserError } from '../util/errors.js';
import type { LoggedIn } from './session-login.js';

/** The session. */
export interface RecoveringSession {
  /** A connection that is there; null if there is none. */
  anyPhase(): InitiatorFullFeature | null;
  /** The target does not let go of a connection: the session is to be made anew. */
  recoveryFailed(error: RiserError): void;
}

interface Lost {
  readonly member: LoggedIn;
  readonly error: RiserError;
  /** On the clock `performance`. */
  readonly since: number;
}

export class ConnectionRecovery {
  readonly #session: RecoveringSession;
  readonly #signal: AbortSignal;
  #lost: Lost[] = [];
  #running: Promise<void> | null = null;

  /** `signal`: the session has ended. */
  constructor(session: RecoveringSession, signal: AbortSignal) {
    this.#session = session;
    this.#signal = signal;
  }

  get isEmpty(): boolean {
    return this.#lost.length === 0;
  }

  /** The connection is about to end; its tasks wait. */
  add(member: LoggedIn, error: RiserError): void {
    member.phase.keepTasks();
    this.#lost.push({ member, error, since: performance.now() });
  }

  /** The connection that was lost last. */
  get latest(): LoggedIn | null {
    return this.#lost.at(-1)?.member ?? null;
  }

  /** CIDs that the target may still have. */
  get cids(): number[] {
    return this.#lost.map(({ member }) => member.cid);
  }

  /** When the target has forgotten all tasks (RFC 7143 13.16), on the clock `performance`. */
  get deadline(): number {
    return Math.max(...this.#lost.map((lost) => lost.since + retainMs(lost.member)));
  }

  /** No task goes on: the session is made anew, or has ended. */
  giveUp(): void {
    for (const { member, error } of this.#lost.splice(0)) endTasks(member.phase, error);
  }

  /** Recover what is lost, as long as the session has a connection. */
  run(): Promise<void> {
    this.#running ??= this.#recoverAll().finally(() => {
      this.#running = null;
    });
    return this.#running;
  }

  async #recoverAll(): Promise<void> {
    try {
      for (let lost = this.#lost[0]; lost !== undefined; lost = this.#lost[0]) {
        if (!(await this.#recover(lost))) break;
      }
    } catch (error) {
      if (!this.#signal.aborted) throw error;
    }
  }

  /** False: there is no connection. */
  async #recover(lost: Lost): Promise<boolean> {
    const { cid, phase, login } = lost.member;
    const { defaultTime2Wait, errorRecoveryLevel } = login.parameters;
    await this.#waitUntil(lost.since + defaultTime2Wait * 1000);
    const isForRecovery = errorRecoveryLevel === 2;
    const reason = isForRecovery ? LogoutReason.REMOVE_FOR_RECOVERY : LogoutReason.CLOSE_CONNECTION;
    const heir = this.#session.anyPhase();
    if (heir === null) return false;
    const answer = await new Promise<LogoutAnswer | RiserError>((resolve) => {
      heir.control.logoutOther(cid, reason, phase.expectedStatSN(), resolve);
    });
    // Lost as well: another one may be there.
    if (answer instanceof RiserError) return true;
    const isOut = answer.response === LogoutResponse.SUCCESS;
    if (!isOut && answer.response !== LogoutResponse.CID_NOT_FOUND) {
      this.#session.recoveryFailed(lost.error);
      return false;
    }
    if (isOut && isForRecovery) await this.#waitUntil(performance.now() + answer.time2Wait * 1000);
    if (heir.isOver || !this.#lost.includes(lost)) return true;
    this.#lost = this.#lost.filter((other) => other !== lost);
    recoverTasks(phase, heir, lost.error);
    return true;
  }

  async #waitUntil(time: number): Promise<void> {
    const left = time - performance.now();
    if (left > 0) await delay(left, undefined, { signal: this.#signal });
  }
}

function retainMs({ login: { parameters } }: LoggedIn): number {
  return (parameters.defaultTime2Wait + parameters.defaultTime2Retain) * 1000;
}

function endTasks(phase: InitiatorFullFeature, error: RiserError): void {
  for (const task of phase.suspendedTasks()) phase.fail(task, error);
}
