/**
 * Unit attention conditions: news that one I_T nexus has yet to hear about a logical unit (SAM-5 5.14).
 * Each nexus has a queue of its own; one report takes one condition out of it.
 */

import type { Nexus } from './nexus.js';
import type { SenseCode } from './sense.js';

/** ASC of power on, resets and nexus loss: they make everything that was pending before old news (SAM-5 5.14.1). */
const RESET_ASC = 0x29;

export class UnitAttentions {
  /** Conditions pending for all nexuses together; 0 lets the I/O path pass without a look-up. */
  pending = 0;
  readonly #queues = new Map<Nexus, SenseCode[]>();

  addNexus(nexus: Nexus): void {
    if (!this.#queues.has(nexus)) this.#queues.set(nexus, []);
  }

  removeNexus(nexus: Nexus): void {
    this.pending -= this.#queues.get(nexus)?.length ?? 0;
    this.#queues.delete(nexus);
  }

  /** The condition that `nexus` hears next, or null. */
  peek(nexus: Nexus): SenseCode | null {
    return this.#queues.get(nexus)?.[0] ?? null;
  }

  /** Conditions that `nexus` has yet to hear. */
  count(nexus: Nexus): number {
    return this.#queues.get(nexus)?.length ?? 0;
  }

  /** As {@link peek}, and it counts as reported. */
  take(nexus: Nexus): SenseCode | null {
    const condition = this.#queues.get(nexus)?.shift() ?? null;
    if (condition !== null) this.pending--;
    return condition;
  }

  /** Drop every pending report of `condition` for `nexus` (REPORT LUNS tells what REPORTED LUNS DATA HAS CHANGED is about). */
  drop(nexus: Nexus, condition: SenseCode): void {
    const queue = this.#queues.get(nexus);
    const at = queue?.indexOf(condition) ?? -1;
    if (at < 0) return;
    queue!.splice(at, 1);
    this.pending--;
  }

  /** Establish `condition` for one nexus. The same condition is never pending twice. */
  establish(nexus: Nexus, condition: SenseCode): void {
    const queue = this.#queues.get(nexus);
    if (queue === undefined || queue.includes(condition)) return;
    if (condition.asc === RESET_ASC) {
      this.pending -= queue.length;
      queue.length = 0;
    }
    queue.push(condition);
    this.pending++;
  }

  /** Establish `condition` for every nexus but `except`. */
  establishForAll(condition: SenseCode, except: Nexus | null = null): void {
    for (const nexus of this.#queues.keys()) {
      if (nexus !== except) this.establish(nexus, condition);
    }
  }
}

/** Whether `condition`, if there is one, is reported even to a nexus that meets a reservation conflict (SAM-5 5.3.3). */
export function outranksReservation(condition: SenseCode | null): boolean {
  return condition?.asc === RESET_ASC;
}
