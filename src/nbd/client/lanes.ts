/**
 * The connections of a device, kept alive: a lane has one, and when it is lost tries again and again, with
 * growing pauses.
 */

import { BackOff } from '../../util/back-off.js';
import type { ClientConnection } from './connection.js';
import type { Part } from './part.js';

/** The pauses between attempts of one lane, milliseconds. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5000;

export interface LanesOwner {
  /** A new connection, or a rejection. */
  connect(): Promise<ClientConnection>;
  /** There is one more connection. */
  connected(connection: ClientConnection): void;
  /** An attempt failed. */
  failed(error: Error): void;
}

interface Lane {
  connection: ClientConnection | null;
  readonly backOff: BackOff;
  timer: NodeJS.Timeout | null;
}

export class Lanes {
  readonly #owner: LanesOwner;
  readonly #lanes: Lane[] = [];
  /** Connections that are in no lane any more, but still owe answers. */
  readonly #retired = new Set<ClientConnection>();
  #isClosed = false;

  constructor(owner: LanesOwner) {
    this.#owner = owner;
  }

  /** One lane more, with a connection or in search of one. */
  add(connection: ClientConnection | null): void {
    const lane: Lane = { connection, backOff: new BackOff(FIRST_PAUSE, LONGEST_PAUSE), timer: null };
    this.#lanes.push(lane);
    if (connection === null) this.#connectSoon(lane);
  }

  /** Whether there is a connection at all. */
  get isConnected(): boolean {
    return this.#lanes.some((lane) => lane.connection !== null);
  }

  /** All connections that may owe answers. */
  connections(): ClientConnection[] {
    const used = this.#lanes.map((lane) => lane.connection).filter((connection) => connection !== null);
    return [...used, ...this.#retired];
  }

  /** The connection with the fewest requests in flight that has room for one more; null if there is none. */
  pick(): ClientConnection | null {
    let best: ClientConnection | null = null;
    for (let i = 0; i < this.#lanes.length; i++) {
      const { connection } = this.#lanes[i]!;
      if (connection?.hasRoom !== true) continue;
      if (best === null || connection.inFlight < best.inFlight) best = connection;
    }
    return best;
  }

  /** `connection` is gone: look for another one. */
  lost(connection: ClientConnection): void {
    this.#retired.delete(connection);
    const lane = this.#lanes.find((each) => each.connection === connection);
    if (lane === undefined) return;
    lane.connection = null;
    // A server that takes connections only to drop them is asked less and less often.
    if (connection.hasAnswered) lane.backOff.reset();
    this.#connectSoon(lane);
  }

  /** `connection` is the only one that is used from now on; the others end, and their lanes look for new ones. */
  replaceAll(connection: ClientConnection): void {
    const its = this.#lanes.find((lane) => lane.connection === connection) ?? this.#lanes[0]!;
    for (const lane of this.#lanes) {
      const old = lane.connection;
      lane.connection = lane === its ? connection : null;
      if (old !== null && old !== connection) {
        this.#retired.add(old);
        old.retire();
      }
      if (lane !== its) this.#connectSoon(lane);
    }
  }

  /** Look for no connection any more, and part from those that there are. */
  close(part: (connection: ClientConnection) => void): void {
    this.#isClosed = true;
    for (const lane of this.#lanes) {
      if (lane.timer !== null) clearTimeout(lane.timer);
      const { connection } = lane;
      lane.connection = null;
      if (connection !== null) part(connection);
    }
    for (const connection of this.#retired) part(connection);
  }

  #connectSoon(lane: Lane): void {
    if (this.#isClosed || lane.timer !== null) return;
    lane.timer = setTimeout(() => {
      lane.timer = null;
      void this.#connect(lane);
    }, lane.backOff.next());
  }

  async #connect(lane: Lane): Promise<void> {
    let connection: ClientConnection;
    try {
      connection = await this.#owner.connect();
    } catch (error) {
      this.#owner.failed(error as Error);
      if (lane.connection === null) this.#connectSoon(lane);
      return;
    }
    if (this.#isClosed || lane.connection !== null) {
      connection.disconnect();
      return;
    }
    lane.connection = connection;
    this.#owner.connected(connection);
  }
}

/** Parts in a row, linked by themselves. */
export class PartQueue {
  #first: Part | null = null;
  #last: Part | null = null;

  push(part: Part): void {
    part.next = null;
    if (this.#last === null) this.#first = part;
    else this.#last.next = part;
    this.#last = part;
  }

  shift(): Part | null {
    const part = this.#first;
    if (part === null) return null;
    this.#first = part.next;
    if (this.#first === null) this.#last = null;
    part.next = null;
    return part;
  }

  get first(): Part | null {
    return this.#first;
  }
}
