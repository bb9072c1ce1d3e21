/** An RDMA connection of software iWARP over a network in memory, for tests that want to know when all has arrived. */

import { IwarpDevice } from '../../src/rdma/iwarp/device.js';
import type { Established, RdmaConnection } from '../../src/rdma/verbs.js';
import { Wire } from './memory-wire.js';
import { randomFrom } from './random.js';

const INFO = { localAddress: '192.0.2.1', remoteAddress: '192.0.2.1', isLocal: true };

/** Other devices than software iWARP as it is. */
export interface WireDevices {
  active?: IwarpDevice;
  passive?: IwarpDevice;
}

export class RdmaWire {
  /** Of the side that connects, and of the one that accepts, which may send first. */
  readonly active: IwarpDevice;
  readonly passive: IwarpDevice;
  readonly #wire: Wire<object>;

  private constructor(seed: number, { active = new IwarpDevice(), passive }: WireDevices) {
    this.active = active;
    this.passive = passive ?? new IwarpDevice({ mayAnswerFirst: true });
    this.#wire = new Wire(randomFrom(seed));
  }

  /**
   * `connect` and `accept` do what the two sides do with a connection that was resolved, and with one that was asked for, until it
   * stands. Bytes travel in portions that hang on `seed`.
   */
  static async connect(
    seed: number,
    connect: (connection: RdmaConnection, wire: RdmaWire) => Promise<unknown>,
    accept: (request: RdmaConnection, asked: Established, wire: RdmaWire) => void,
    devices: WireDevices = {},
  ): Promise<RdmaWire> {
    const wire = new RdmaWire(seed, devices);
    const [near, far] = wire.#wire.ends;
    wire.passive.acceptStream(far, INFO, {
      requested: (request, asked) => {
        accept(request, asked, wire);
      },
    });
    const connected = connect(wire.active.connectStream(near, INFO), wire);
    await wire.settle();
    await connected;
    return wire;
  }

  /** Everything that was sent has arrived, and whoever is to be told has been told. */
  async settle(): Promise<void> {
    for (let idle = 0; idle < 3;) {
      await new Promise((resolve) => setImmediate(resolve));
      idle++;
      while (this.#wire.step()) idle = 0;
    }
  }
}
