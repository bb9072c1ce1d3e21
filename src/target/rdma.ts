/** What a server needs to be an iSER target: a device, and the memory that is registered with it. */

import { RegisteredMemory } from '../datamover/index.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';

/**
 * Bytes that stay registered although nobody moves data of them. There need be no limit: what is registered is the buffer
 * pool, which has one, and memory that devices have lent and not retired. In software no page is locked by it.
 */
const KEPT_REGISTERED = Infinity;

/** Software iWARP, on the same ports as TCP. */
export class TargetRdma {
  readonly device = new IwarpDevice();
  readonly registered = new RegisteredMemory(this.device, KEPT_REGISTERED);

  /** All connections are gone. */
  async close(): Promise<void> {
    this.registered.close();
    await this.device.close();
  }
}
