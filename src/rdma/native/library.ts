/** The addon in `native/`: where it is, what it has, and whether libibverbs and librdmacm can be used by it. */

import { accessSync, constants, existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import type { Probe } from '../verbs.js';

/** Handles of the addon, which checks what they are. */
export interface NativeHandle {
  close(): void;
}

export interface NativeAttributes {
  readonly isIwarp: boolean;
  readonly maxRequests: number;
  readonly maxSges: number;
  readonly maxReadSges: number;
  readonly maxCompletions: number;
  readonly maxSharedRequests: number;
  readonly maxSharedReceiveQueues: number;
  readonly maxResponderResources: number;
  readonly maxInitiatorDepth: number;
  readonly maxWindows: number;
  readonly hasWindows: boolean;
  readonly hasInvalidate: boolean;
  readonly hasAtomics: boolean;
  /** IEEE's number of who has made it. */
  readonly vendor: number;
  readonly ports: number;
}

export interface NativePort {
  /** Of {@link PortState}. */
  readonly state: number;
  readonly isEthernet: boolean;
  readonly maxMessage: number;
  readonly activeMtu: number;
}

export interface NativeDeviceHandle extends NativeHandle {
  attributes(): NativeAttributes;
  port(number: number): NativePort;
  /** Of asynchronous events, and of completions. */
  descriptors(): [number, number];
  asyncEvent(): { readonly type: number; readonly key: number } | null;
  completionEvents(keys: Uint32Array): number;
}

export interface NativeRegionHandle {
  /** Address, local key, remote key. */
  keys(): [number, number, number];
  deregister(): void;
}

export interface NativeWindowHandle extends NativeHandle {
  key(): number;
}

export interface NativeQueueHandle extends NativeHandle {
  poll(most: number): number;
  arm(solicitedOnly: boolean): void;
}

export interface NativeReceiver {
  /** How many of `count` were posted, and 65536 times the errno of the one behind. */
  postReceives(count: number): number;
}

export type NativeSharedQueueHandle = NativeHandle & NativeReceiver;

export interface NativePairHandle extends NativeHandle, NativeReceiver {
  number(): number;
  /** As `postReceives`. `objects`: a window and its region for each binding. */
  postSends(count: number, objects: readonly object[]): number;
  fail(): void;
}

export interface NativeConnectionEvent {
  /** Of {@link CmEvent}. */
  readonly type: number;
  readonly key: number;
  readonly status: number;
  readonly privateData: Buffer;
  readonly responderResources: number;
  readonly initiatorDepth: number;
  readonly request: NativeIdHandle | null;
}

export interface NativeChannelHandle extends NativeHandle {
  descriptor(): number;
  event(): NativeConnectionEvent | null;
}

export interface NativeIdHandle extends NativeHandle {
  setKey(key: number): void;
  bind(address: string, port: number): void;
  listen(backlog: number): void;
  resolveAddress(address: string, port: number, timeout: number): void;
  resolveRoute(timeout: number): void;
  device(): string | null;
  /** Local address, remote address, local port. */
  addresses(): [string, string, number];
  transition(
    queuePair: NativePairHandle,
    state: number,
    access: number,
    responderResources: number,
    initiatorDepth: number,
  ): void;
  connect(
    queuePair: NativePairHandle,
    privateData: Uint8Array,
    responderResources: number,
    initiatorDepth: number,
    done: (errno: number) => void,
  ): void;
  establish(): void;
  accept(
    queuePair: NativePairHandle,
    privateData: Uint8Array,
    responderResources: number,
    initiatorDepth: number,
  ): void;
  reject(privateData: Uint8Array): void;
  disconnect(): void;
  communicationEstablished(): void;
}

export interface NativePollerHandle extends NativeHandle {
  keepAlive(isNeeded: boolean): void;
}

/** What the addon exports; its errors of the system have an `errno`. */
export interface Addon {
  /** Hash of the sources that it was built from. */
  readonly sources: string;
  missing(): string;
  deviceNames(): string[];
  allocate(bytes: number, isHuge: boolean): ArrayBuffer;
  readonly Device: new (name: string) => NativeDeviceHandle;
  readonly ProtectionDomain: new (device: NativeDeviceHandle) => NativeHandle;
  readonly MemoryRegion: new (domain: NativeHandle, bytes: Uint8Array, access: number) => NativeRegionHandle;
  readonly MemoryWindow: new (domain: NativeHandle) => NativeWindowHandle;
  readonly CompletionQueue: new (
    device: NativeDeviceHandle,
    capacity: number,
    key: number,
    records: ArrayBuffer,
  ) => NativeQueueHandle;
  readonly SharedReceiveQueue: new (
    domain: NativeHandle,
    maxRequests: number,
    maxSges: number,
    records: ArrayBuffer,
  ) => NativeSharedQueueHandle;
  readonly QueuePair: new (
    domain: NativeHandle,
    sendQueue: NativeQueueHandle,
    receiveQueue: NativeQueueHandle,
    shared: NativeSharedQueueHandle | null,
    maxSends: number,
    maxReceives: number,
    maxSges: number,
    key: number,
    sendRecords: ArrayBuffer,
    receiveRecords: ArrayBuffer,
  ) => NativePairHandle;
  readonly EventChannel: new () => NativeChannelHandle;
  readonly ConnectionId: new (channel: NativeChannelHandle, key: number) => NativeIdHandle;
  readonly Poller: new (descriptor: number, readable: () => void) => NativePollerHandle;
}

const FILE = 'riser-verbs.node';
/** Below the package's root, the best first: what was built here, then what the package brings. */
const PLACES = ['native/build/', `prebuilds/${process.platform}-${process.arch}/`];
const CM_DEVICE = '/dev/infiniband/rdma_cm';

let loaded: Addon | string | null = null;

/** The addon, or why there is none. It is looked for once. */
function load(): Addon | string {
  const built = process.env['RISER_VERBS_ADDON'];
  const paths = built === undefined ? PLACES.map((place) => pathOf(place + FILE)) : [built];
  const path = paths.find((candidate) => existsSync(candidate));
  if (path === undefined)
    return `Riser brings no addon for ${process.platform} on ${process.arch}; "npm run build:native" builds one`;
  try {
    return createRequire(import.meta.url)(path) as Addon;
  } catch (error) {
    return `the addon cannot be loaded: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** From the package's root: this file is three folders below it, as a source and as it is built. */
function pathOf(file: string): string {
  return fileURLToPath(new URL(`../../../${file}`, import.meta.url));
}

/** The addon. @throws Error when it is not there, or cannot be loaded; {@link probe} says so, too */
export function addon(): Addon {
  loaded ??= load();
  if (typeof loaded === 'string') throw new Error(loaded);
  return loaded;
}

/** Whether devices can be used; never throws. */
export function probe(): Probe {
  const unusable = (reason: string): Probe => ({ isUsable: false, reason });
  let names: string[];
  try {
    const missing = addon().missing();
    if (missing !== '')
      return unusable(`${missing}: Debian's packages libibverbs1, librdmacm1 and ibverbs-providers bring it`);
    names = addon().deviceNames();
  } catch (error) {
    return unusable(error instanceof Error ? error.message : String(error));
  }
  if (names.length === 0)
    return unusable(
      'there is no RDMA device: neither an adapter nor one in software ("rdma link add" makes one)',
    );
  try {
    accessSync(CM_DEVICE, constants.R_OK | constants.W_OK);
  } catch {
    return unusable(
      `${CM_DEVICE} cannot be opened: "modprobe rdma_ucm" makes it, and the user needs the right to read and write it`,
    );
  }
  return { isUsable: true, reason: `by libibverbs, on ${names.join(', ')}` };
}
