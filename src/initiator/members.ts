/** The connections of a session, which take turns with its tasks (RFC 7143 4.2.2.1), and their identifiers (CID, 4.4.3). */

import type { InitiatorConnection, InitiatorFullFeature } from '../iscsi/index.js';
import type { LoggedIn } from './session-login.js';

export class Members {
  /** The one that speaks for the session is the first. */
  #all: readonly LoggedIn[] = [];
  #turn = 0;
  /** The CID that was used last. */
  #lastCid = 0;

  get all(): readonly LoggedIn[] {
    return this.#all;
  }

  get count(): number {
    return this.#all.length;
  }

  /** Null: there is no connection. */
  get first(): LoggedIn | null {
    return this.#all[0] ?? null;
  }

  /** Whether there are tasks that the target has, or that wait for their turn. */
  get haveTasks(): boolean {
    return this.#all.some(({ phase }) => phase.hasTasks);
  }

  find(connection: InitiatorConnection): LoggedIn | undefined {
    return this.#all.find((member) => member.connection === connection);
  }

  /** Whose turn it is; there is at least one. */
  next(): InitiatorFullFeature {
    const all = this.#all;
    if (all.length > 1) this.#turn = (this.#turn + 1) % all.length;
    return all[this.#turn]!.phase;
  }

  /** Send what all of them have queued. */
  flush(): void {
    for (const { phase } of this.#all) phase.flush();
  }

  /** The session has these connections from now on, and no other. */
  replace(all: readonly LoggedIn[]): void {
    this.#all = all;
    this.#turn = 0;
  }

  add(member: LoggedIn): void {
    this.#all = [...this.#all, member];
  }

  /** A CID that neither side may still mean a connection by; `lost`: of connections that are gone. */
  freshCid(lost: readonly number[]): number {
    const used = [...this.#all.map(({ cid }) => cid), ...lost];
    do this.#lastCid = (this.#lastCid + 1) & 0xffff;
    while (used.includes(this.#lastCid));
    return this.#lastCid;
  }
}
