/** What a target wants of a session by Asynchronous Messages (RFC 7143 11.9): a logout, a negotiation; and what it tells. */

import type { AsyncNotice, InitiatorConnection } from '../iscsi/index.js';
import { AsyncEvent } from '../iscsi/wire/opcodes.js';
import type { Logger } from '../util/logger.js';
import type { Members } from './members.js';

/** The longest time that commands under way get to end when the target asks for a logout, milliseconds. */
const LEAVING_MS = 10_000;
const LEAVING = Infinity;

export class TargetNotices {
  readonly #members: Members;
  readonly #log: Logger;
  /** When to log out because the target asked for it; null if it did not, LEAVING when the request is out. */
  #leaveAt: number | null = null;
  #isNegotiating = false;

  constructor(members: Members, log: Logger) {
    this.#members = members;
    this.#log = log;
  }

  /** The target has asked for a logout: what is new waits for the next connection. */
  get isLeaving(): boolean {
    return this.#leaveAt !== null;
  }

  /** Whatever the target has asked for, the session has no connection any more. */
  connectionEnded(): void {
    this.#leaveAt = null;
  }

  /** RFC 7143 11.9.1 */
  noticed(connection: InitiatorConnection, notice: AsyncNotice): void {
    switch (notice.event) {
      case AsyncEvent.LOGOUT_REQUESTED:
        if (this.#leaveAt !== null) break;
        this.#log.info('the target asks for a logout');
        // Parameter3: seconds that it gives. What is under way ends in half of it, what is new waits.
        this.#leaveAt = performance.now() + Math.min(notice.parameter3 * 500, LEAVING_MS);
        this.leave(connection, performance.now());
        break;
      case AsyncEvent.CONNECTION_WILL_DROP:
        this.#log.info('the target is about to close a connection, or has lost it');
        // Of another one: it is lost (RFC 7143 7.1.4.3).
        for (const each of this.#members.all)
          if (each.cid === notice.parameter1 && each.connection !== connection) each.connection.drop(null);
        break;
      case AsyncEvent.SESSION_WILL_DROP:
        this.#log.info('the target is about to close the connection');
        break;
      case AsyncEvent.NEGOTIATION_REQUESTED:
        // It MUST be honoured; an empty text is an answer (RFC 7143 11.9.1). One at a time is enough.
        if (this.#isNegotiating) break;
        this.#isNegotiating = true;
        connection.fullFeature!.control.text([], () => {
          this.#isNegotiating = false;
        });
        break;
      default:
        this.#log.debug(`asynchronous event ${notice.event}`);
    }
  }

  /**
   * Log out for the target's sake as soon as nothing is under way, or the time is over; then the connection ends. `now`: on the
   * clock `performance`.
   */
  leave(connection: InitiatorConnection, now: number): void {
    const phase = connection.fullFeature;
    if (this.#leaveAt === null || this.#leaveAt === LEAVING || phase === null) return;
    if ((phase.hasTasks || this.#members.haveTasks) && now < this.#leaveAt) return;
    this.#leaveAt = LEAVING;
    phase.control.logout(() => {
      connection.drop(null);
    });
  }
}
