/** What all groups of the Verbs contract's tests stand on. */

import { after, afterEach, before } from 'node:test';
import type { RdmaDevice, RdmaProvider } from '../../../src/rdma/verbs.js';
import { pattern } from '../../support/pattern.js';
import { type End, MEMORY_BYTES, Pair } from '../../support/verbs-pair.js';

/** How the suite reaches a provider. */
export interface VerbsHarness {
  provider: RdmaProvider;
  /** The device that both ends are on. */
  deviceName: string;
  /** An address that it serves. */
  address: string;
  /** Milliseconds for all of it, where the default of two minutes is not enough. */
  timeout?: number;
  /** Why a peer may be granted more reads than this side wants to serve, if the device does that. */
  overgrants?: string;
  /** Why who is armed for what is solicited is woken by all. */
  wakesForAll?: string;
  /** Why a peer may read what is not registered for that, if the device lets it. */
  ignoresReadRight?: string;
}

/** The device, opened twice, and the pair that a test has connected on it; closed after the test. */
export class VerbsSuite {
  readonly harness: VerbsHarness;
  devices!: [RdmaDevice, RdmaDevice];
  #pair: Pair | null = null;

  /** To be called within a `describe`. */
  constructor(harness: VerbsHarness) {
    this.harness = harness;
    before(async () => {
      const open = (): Promise<RdmaDevice> => harness.provider.open(harness.deviceName);
      this.devices = [await open(), await open()];
    });
    afterEach(() => this.disconnect());
    after(async () => {
      for (const device of this.devices) await device.close();
    });
  }

  /** Both ends connected, their memory filled by different patterns. */
  async connect(options?: Parameters<typeof Pair.connect>[2]): Promise<Pair> {
    const pair = await Pair.connect(this.devices, this.harness.address, options);
    this.#pair = pair;
    pattern(MEMORY_BYTES, 1).copy(pair.active.memory.bytes);
    pattern(MEMORY_BYTES, 2).copy(pair.passive.memory.bytes);
    return pair;
  }

  /** Close what {@link connect} has made last, before the test's end. */
  async disconnect(): Promise<void> {
    await this.#pair?.close();
    this.#pair = null;
  }
}

export function statuses(end: End): number[] {
  return end.completions.map(({ status }) => status);
}
