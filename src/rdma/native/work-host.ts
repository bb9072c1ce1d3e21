/** What the send queue and the receive queue of a queue pair share. */

import type { CompletionStatus } from '../work.js';
import type { NativeDevice } from './device.js';
import type { NativePairHandle } from './library.js';
import type { NativeProtectionDomain } from './memory.js';

/** Requests that go to the device with one call. */
export const BATCH = 64;
/** The addon's calls that post tell how many were taken, and 65536 times an errno. */
export const ERRNO_UNIT = 65_536;

/** The queue pair, for its queues. */
export interface WorkHost {
  readonly handle: NativePairHandle;
  readonly device: NativeDevice;
  readonly domain: NativeProtectionDomain;
  readonly number: number;
  /** By which its completions are known. */
  readonly key: number;
  /** The peer has ended the connection, and no work had failed before. */
  readonly isEndOfPeer: boolean;
  /** Some work has ended so. */
  failed(status: CompletionStatus): void;
  /** Nothing more goes to the device; when it is done with what it has, the connection ends. */
  hold(): void;
  /** The device has nothing left of one queue. */
  drained(): void;
}
