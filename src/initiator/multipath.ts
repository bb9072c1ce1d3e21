/**
 * Several sessions with one target as one path: tasks are spread over those that are connected, and what one
 * loses goes on by another.
 *
 * A write that a dead path swallowed may still be carried out by the target, after the same write has gone by
 * another path: until that session's end is known to the target too, nobody can prevent it. Whoever writes a
 * place again while its first write is unacknowledged has that risk with every multipath driver.
 */

import type { ParsedSense } from '../scsi/client/index.js';
import { RiserError } from '../util/errors.js';
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

export class Multipath implements TaskPath {
  readonly sessions: readonly Session[];
  readonly #policy: MultipathPolicy;
  readonly #recoveryTimeoutMs: number;
  #next = 0;
  readonly #waiting = new WaitingTasks();
  #end: RiserError | null = null;
  #lastReason: RiserError | null = null;
  #timer: NodeJS.Timeout | null = null;
  readonly #submit = (task: ClientTask): void => {
    this.submit(task);
  };

  /** `recoveryTimeoutMs`: how long tasks wait while no session is connected, milliseconds. */
  constructor(sessions: readonly Session[], policy: MultipathPolicy, recoveryTimeoutMs: number) {
    this.sessions = sessions;
    this.#policy = policy;
    this.#recoveryTimeoutMs = recoveryTimeoutMs;
    for (const session of sessions) {
      session.watchers.add({
        reconnected: () => {
          this.#goOn();
        },
        disconnected: (reason) => {
          this.#lastReason = reason;
        },
        ended: (reason) => {
          this.#lastReason = reason;
          if (this.sessions.every((one) => one.hasEnded)) this.#failAll(reason);
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

  /** Log out of everything. */
  async close(): Promise<void> {
    this.#end ??= closed();
    await Promise.all(this.sessions.map((session) => session.close()));
    this.#failAll(this.#end);
  }

  #choose(): Session | null {
    const { sessions } = this;
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
      const message = `no path to the target came back within ${this.#recoveryTimeoutMs / 1000} s`;
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
