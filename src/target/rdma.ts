/** What a server needs to be an iSER target: a device, and the memory that is registered with it. */

import { RegisteredMemory } from '../datamover/index.js';
import type { RdmaDevice } from '../rdma/index.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';

export class TargetRdma<Device extends RdmaDevice = RdmaDevice> {
  readonly device: Device;
  readonly registered: RegisteredMemory;

  /** `limit`: bytes that stay registered although nobody moves data of them. */
  constructor(device: Device, limit: number) {
    this.device = device;
    this.registered = new RegisteredMemory(device, limit);
  }

  /** All connections are gone. */
  async close(): Promise<void> {
    this.registered.close();
    await this.device.close();
  }
}

/**
 * Software iWARP, on the same ports as TCP. What stays registered needs no limit: it is the buffer pool, which has one, and memory
 * that block devices have lent and not retired. No page is locked by it.
 */
export function softwareRdma(): TargetRdma<IwarpDevice> {
  return new TargetRdma(new IwarpDevice(), Infinity);
}
