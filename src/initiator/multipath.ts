/**
 * Several sessions with one target as one path: tasks are spread over those that are connected, and what one
 * loses goes on by another. Where access is asymmetric (SPC-4 5.15), only those are used whose access is best at the time.
 *
 * A write that a dead path swallowed may still be carried out by the target, after the same write has gone by
 * another path: until that session's end is known to the target too, nobody can prevent it. Whoever writes a
 * place again while its first write is unacknowledged has that risk with every multipath driver.
 */

import type { ParsedSense, ReportedPortGroup } from '../scsi/client/index.js';
import { RiserError } from '../util/errors.js';
import { NO_ACCESS, rankOf } from './path-access.js';
import type { Session } from './session.js';
import type { ClientTask, TaskPath } from './task.js';
import { WaitingTasks } from './waiting-tasks.js';

/** How a path is chosen for a task. */
export const MultipathPolicy = {
  /** One after the other. */
  ROUND_ROBIN: 'round-robin',
  /** The one with the fewest tasks under way. */
  LEAST_QUEUE: 'least-queue',
  /** The first that works, in the order given. */
  FAILOVER: 'failover',
} as const;
export type MultipathPolicy = (typeof MultipathPolicy)[keyof typeof MultipathPolicy];

/** How often the target is asked for its access states while no path gives access, milliseconds. */
const ACCESS_POLL_MS = 1000;

/** Asks by one session for the access states of all target port groups; null if it does not tell. */
export type ReadAccess = (session: Session) => Promise<ReportedPortGroup[] | null>;

export class Multipath implements TaskPath {
  readonly sessions: readonly Session[];
  readonly #policy: MultipathPolicy;
  readonly #recoveryTimeoutMs: number;
  #next = 0;
  /** Those of the connected sessions whose access is best; all of them unless it is asymmetric. */
  #usable: readonly Session[] = [];
  /** Target port groups of the sessions, where access is asymmetric. */
  readonly #groups = new Map<Session, number | null>();
  readonly #ranks = new Map<Session, number>();
  readonly #readAccess: ReadAccess;
  #isReading = false;
  #isReadingDue = false;
  #poll: NodeJS.Timeout | null = null;
  readonly #waiting = new WaitingTasks();
  #end: RiserError | null = null;
  #lastReason: RiserError | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #submit = (task: ClientTask): void => {
    this.submit(task);
  };

  /** `recoveryTimeoutMs`: how long tasks wait while no session is connected, milliseconds. */
  constructor(
    sessions: readonly Session[],
    policy: MultipathPolicy,
    recoveryTimeoutMs: number,
    readAccess: ReadAccess,
  ) {
    this.sessions = sessions;
    this.#policy = policy;
    this.#recoveryTimeoutMs = recoveryTimeoutMs;
    this.#readAccess = readAccess;
    this.#rate();
    for (const session of sessions) {
      session.watchers.add({
        reconnected: () => {
          this.#pathsChanged();
        },
        disconnected: (reason) => {
          this.#lastReason = reason;
          this.#pathsChanged();
        },
        ended: (reason) => {
          this.#lastReason = reason;
          if (this.sessions.every((one) => one.hasEnded)) this.#failAll(reason);
          else this.#pathsChanged();
        },
      });
    }
  }

  submit(task: ClientTask): void {
    const session = this.#choose();
    if (session !== null) session.submit(task);
    else if (this.#end !== null || this.sessions.every((one) => one.hasEnded))
      task.fail(this.#end ?? this.#lastReason ?? closed());
    else this.#wait(task);
  }

  submitLater(task: ClientTask, delayMs: number): void {
    this.#waiting.delay(task, delayMs, this.#submit);
  }

  cancel(task: ClientTask, error: RiserError): void {
    if (!this.#waiting.cancel(task, error)) task.carrier?.cancel(task, error);
  }

  unitAttention(task: ClientTask, sense: ParsedSense): void {
    task.carrier?.unitAttention(task, sense);
  }

  accessRefused(task: ClientTask): boolean {
    const session = this.sessions.find((one) => one === task.carrier);
    if (session === undefined || !this.#groups.has(session)) return false;
    this.#ranks.set(session, NO_ACCESS);
    this.#pathsChanged();
    this.accessChanged();
    return true;
  }

  // ---- asymmetric access ----

  /** What the unit tells by `session`: the target port group that it leads to, and the states of all. */
  learnAccess(session: Session, group: number | null, groups: readonly ReportedPortGroup[]): void {
    this.#groups.set(session, group);
    this.#learn(groups);
  }

  /** Access states are others than they were: ask which. */
  accessChanged(): void {
    if (this.#groups.size === 0 || this.#end !== null) return;
    this.#isReadingDue = true;
    if (!this.#isReading) void this.#readAgain();
  }

  async #readAgain(): Promise<void> {
    this.#isReading = true;
    while (this.#isReadingDue) {
      this.#isReadingDue = false;
      // Any port tells of all; one that fails to is no reason not to ask the next.
      for (const session of this.sessions.filter((one) => one.isConnected)) {
        const groups = await this.#readAccess(session).catch(() => null);
        if (groups === null) continue;
        this.#learn(groups);
        break;
      }
    }
    this.#isReading = false;
  }

  #learn(groups: readonly ReportedPortGroup[]): void {
    for (const [session, group] of this.#groups) this.#ranks.set(session, rankOf(group, groups));
    this.#pathsChanged();
  }

  #rankOf(session: Session): number {
    return this.#ranks.get(session) ?? 0;
  }

  #pathsChanged(): void {
    this.#rate();
    if (this.#usable.length > 0) this.#goOn();
  }

  #rate(): void {
    const connected = this.sessions.filter((session) => session.isConnected);
    const best = Math.min(...connected.map((session) => this.#rankOf(session)));
    this.#usable = best === NO_ACCESS ? [] : connected.filter((session) => this.#rankOf(session) === best);
    if (this.#poll !== null) clearTimeout(this.#poll);
    this.#poll = null;
    if (this.#usable.length > 0 || connected.length === 0 || this.#end !== null) return;
    this.#poll = setTimeout(() => {
      this.#poll = null;
      this.accessChanged();
    }, ACCESS_POLL_MS);
  }

  /** Log out of everything. */
  async close(): Promise<void> {
    this.#end ??= closed();
    this.#rate();
    await Promise.all(this.sessions.map((session) => session.close()));
    this.#failAll(this.#end);
  }

  #choose(): Session | null {
    const sessions = this.#usable;
    let chosen: Session | null = null;
    for (let i = 0; i < sessions.length; i++) {
      const at = this.#policy === MultipathPolicy.FAILOVER ? i : (this.#next + i) % sessions.length;
      const session = sessions[at]!;
      if (!session.isConnected) continue;
      if (this.#policy !== MultipathPolicy.LEAST_QUEUE) {
        chosen = session;
        this.#next = at + 1;
        break;
      }
      if (chosen === null || session.tasks < chosen.tasks) chosen = session;
    }
    return chosen;
  }

  #wait(task: ClientTask): void {
    this.#waiting.add(task);
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      const came = this.sessions.some((one) => one.isConnected) ? 'gave access to the LUN' : 'came back';
      const message = `no path to the target ${came} within ${this.#recoveryTimeoutMs / 1000} s`;
      const cause = this.#lastReason;
      this.#waiting.failWaiting(
        new RiserError('UNREACHABLE', message, { by: 'peer', costs: 'session', cause }),
      );
    }, this.#recoveryTimeoutMs);
  }

  #goOn(): void {
    this.#stopTimer();
    for (const task of this.#waiting.takeAll()) this.submit(task);
  }

  #failAll(error: RiserError): void {
    this.#stopTimer();
    this.#waiting.failAll(error);
  }

  #stopTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }
}

function closed(): RiserError {
  return new RiserError('SESSION_CLOSED', 'the sessions are closed', { by: 'local', costs: 'session' });
}
