/**
 * What a session at ErrorRecoveryLevel 2 keeps of connections that are gone (RFC 7143 7.1.4.3, 7.2.2): active commands, suspended, and
 * responses that the initiator has not acknowledged. Both wait for a new allegiance until DefaultTime2Wait and DefaultTime2Retain are
 * over. There are no more active commands than the window has room for; of the rest only so much is kept, the newest.
 */

import type { FullFeature } from './full-feature.js';
import { type KeptResponse, MOST_BYTES, MOST_RESPONSES, releaseKept } from './retention.js';
import { serialLess } from '../../util/serial.js';

/** Connections that are kept in mind; the oldest goes first, with its tasks. */
const MOST_CONNECTIONS = 16;

interface LostConnection {
  readonly phase: FullFeature;
  /** Its tasks may be reassigned: it was logged out for recovery (RFC 7143 7.2.2). */
  isLoggedOut: boolean;
  /** Of SCSI commands, the oldest first. */
  responses: KeptResponse[];
  /** Tags of other requests, whose answers are not acknowledged. */
  readonly otherTags: ReadonlySet<number>;
  /** When all of it is given up, on the clock of `tick`; null until the next tick. */
  end: number | null;
}

export class LostConnections {
  #all: LostConnection[] = [];

  get isEmpty(): boolean {
    return this.#all.length === 0;
  }

  /** `phase` is gone, and its commands are suspended. */
  add(
    phase: FullFeature,
    isLoggedOut: boolean,
    responses: KeptResponse[],
    otherTags: ReadonlySet<number>,
  ): void {
    this.#all.push({ phase, isLoggedOut, responses, otherTags, end: null });
    if (this.#all.length > MOST_CONNECTIONS) this.#discard(this.#all[0]!);
    this.#limitResponses();
  }

  #limitResponses(): void {
    const all = this.#all.flatMap((lost) => lost.responses);
    let count = all.length;
    let bytes = all.reduce((sum, kept) => sum + kept.bytes, 0);
    for (const { responses } of this.#all) {
      while (responses.length > 0 && count > 1 && (count > MOST_RESPONSES || bytes > MOST_BYTES)) {
        const oldest = responses.splice(0, 1);
        count--;
        bytes -= oldest[0]!.bytes;
        releaseKept(oldest);
      }
    }
  }

  /**
   * The connection is logged out for recovery (RFC 7143 11.14): explicitly, where all responses below `expStatSN` are acknowledged, or by a
   * login in its place, which says nothing. False: it is not known.
   */
  logOut(connectionId: number, expStatSN: number | null): boolean {
    let isKnown = false;
    for (const lost of this.#all) {
      if (lost.phase.connectionId !== connectionId) continue;
      isKnown = true;
      if (lost.isLoggedOut) continue;
      lost.isLoggedOut = true;
      lost.end = null;
      if (expStatSN === null || serialLess(lost.phase.responses.peekStatSN(), expStatSN)) continue;
      const gone = lost.responses.filter(({ statSN }) => serialLess(statSN, expStatSN));
      lost.responses = lost.responses.filter(({ statSN }) => !serialLess(statSN, expStatSN));
      releaseKept(gone);
    }
    return isKnown;
  }

  /** The connection is closed for good, and its tasks end (RFC 7143 11.14). False: it is not known. */
  close(connectionId: number): boolean {
    const closed = this.#all.filter(({ phase }) => phase.connectionId === connectionId);
    for (const lost of closed) this.#discard(lost);
    return closed.length > 0;
  }

  /** The session has ended. */
  discardAll(): void {
    for (const lost of [...this.#all]) this.#discard(lost);
  }

  /** Let time pass: what was kept for `seconds` ends (RFC 7143 11.14.5). */
  tick(now: number, seconds: number): void {
    for (const lost of [...this.#all]) {
      lost.end ??= now + seconds * 1000;
      if (now >= lost.end) this.#discard(lost);
    }
  }

  #discard(lost: LostConnection): void {
    this.#all = this.#all.filter((other) => other !== lost);
    releaseKept(lost.responses.splice(0));
    for (const command of lost.phase.commands.of(lost.phase)) command.terminate();
  }

  // ---- tasks ----

  /** Whether the commands of `phase` may be reassigned. */
  isLoggedOut(phase: FullFeature): boolean {
    return this.#all.some((lost) => lost.phase === phase && lost.isLoggedOut);
  }

  /** The response of this task, which may be sent by another connection now; `allegiant`: not yet. */
  takeResponse(initiatorTaskTag: number): KeptResponse | 'allegiant' | null {
    for (const lost of this.#all) {
      const index = lost.responses.findIndex((kept) => kept.initiatorTaskTag === initiatorTaskTag);
      if (index < 0) continue;
      return lost.isLoggedOut ? lost.responses.splice(index, 1)[0]! : 'allegiant';
    }
    return null;
  }

  /** Whether this is the tag of a request that is no SCSI command. */
  isOther(initiatorTaskTag: number): boolean {
    return this.#all.some(
      ({ phase, otherTags }) => otherTags.has(initiatorTaskTag) || phase.isOtherTask(initiatorTaskTag),
    );
  }

  /** The initiator uses the tag anew: it has the response. */
  forget(initiatorTaskTag: number): void {
    for (const lost of this.#all) {
      const index = lost.responses.findIndex((kept) => kept.initiatorTaskTag === initiatorTaskTag);
      if (index >= 0) releaseKept(lost.responses.splice(index, 1));
    }
  }
}
