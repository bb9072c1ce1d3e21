/** The addon in `native/`: where it is, what it has, and whether libibverbs and librdmacm can be used by it. */

import { accessSync, constants, existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

import type { Probe } from '../verbs.js';
import { addonFault } from './addon-file.js';
import { messageOf } from './errors.js';

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
  /** The kernel's name of its character device: `uverbs0`. */
  readonly node: string;
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
  /** The path's MTU; 0 where the state has none. */
  transition(
    queuePair: NativePairHandle,
    state: number,
    access: number,
    responderResources: number,
    initiatorDepth: number,
  ): number;
  /** A descriptor that can be read when `connectError` is known. */
  connect(
    queuePair: NativePairHandle,
    privateData: Uint8Array,
    responderResources: number,
    initiatorDepth: number,
  ): number;
  connectError(): number;
  /** If it connects, that fails now. */
  giveUp(): void;
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
  /** Let librdmacm close what it has open of devices that are not there any more. */
  forgetGoneDevices(): void;
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
const KERNEL_DEVICES = '/sys/class/infiniband';
/** Without a checkout there is nothing to build from. */
const BUILD = '"npm run build:native" in a checkout of Riser builds one';
const EXPORTS = [
  ...['missing', 'deviceNames', 'allocate', 'Device', 'ProtectionDomain', 'MemoryRegion', 'MemoryWindow'],
  'forgetGoneDevices',
  ...['CompletionQueue', 'SharedReceiveQueue', 'QueuePair', 'EventChannel', 'ConnectionId', 'Poller'],
];

let loaded: Addon | string | null = null;

/** The addon, or why there is none. It is looked for once. */
function load(): Addon | string {
  if (process.platform !== 'linux') return 'adapters are used on Linux only';
  const chosen = process.env['RISER_VERBS_ADDON'];
  const paths = chosen === undefined ? PLACES.map((place) => pathOf(place + FILE)) : [chosen];
  const path = paths.find((candidate) => existsSync(candidate));
  if (path !== undefined) return loadFrom(path);
  if (chosen !== undefined) return `there is no file ${chosen}, which RISER_VERBS_ADDON names`;
  return `there is no addon for ${process.platform}-${process.arch} (${pathOf(PLACES[1]! + FILE)}): install Riser again, or ${BUILD}`;
}

function loadFrom(path: string): Addon | string {
  try {
    const fault = addonFault(path);
    if (fault !== null)
      return `the addon ${path} cannot be loaded, ${fault}: install Riser again, or ${BUILD}`;
    const addon = createRequire(import.meta.url)(path) as Addon;
    const missing = EXPORTS.find((name) => !(name in addon));
    if (missing === undefined) return addon;
    return `the addon ${path} is of another version of Riser, it has no ${missing}: remove it, or ${BUILD}`;
  } catch (error) {
    return `the addon ${path} cannot be loaded: ${messageOf(error)}${loaderHint(messageOf(error))}; ${BUILD}`;
  }
}

/** What the messages of the system's loaders mean. */
function loaderHint(message: string): string {
  if (message.includes('version `GLIBC')) return ' (this system is older than the addon)';
  if (/Error (relocating|loading shared library)/.test(message))
    return ' (it is made for glibc, and this system has another C library, such as the musl of Alpine)';
  return '';
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
  try {
    return probeBy(addon());
  } catch (error) {
    return unusable(messageOf(error));
  }
}

/** {@link probe} with this addon, on a machine whose files are below `root`. @throws Error of the addon */
export function probeBy({ missing, deviceNames }: Pick<Addon, 'missing' | 'deviceNames'>, root = ''): Probe {
  const library = missing();
  if (library !== '')
    return unusable(
      `${library}: apt install ibverbs-providers librdmacm1, or: dnf install libibverbs librdmacm, or: apk add rdma-core-libs`,
    );
  const names = deviceNames();
  if (names.length === 0) return unusable(whyNoDevice(root));
  try {
    accessSync(root + CM_DEVICE, constants.R_OK | constants.W_OK);
  } catch {
    return unusable(
      `${CM_DEVICE} cannot be opened: "modprobe rdma_ucm" makes it, and the user needs the right to read and write it`,
    );
  }
  return { isUsable: true, reason: `by libibverbs, on ${names.join(', ')}` };
}

/** The kernel may have some all the same. */
function whyNoDevice(root: string): string {
  const kernels = existsSync(root + KERNEL_DEVICES) ? readdirSync(root + KERNEL_DEVICES) : [];
  if (kernels.length === 0)
    return 'there is no RDMA device: neither an adapter nor one in software ("rdma link add" makes one)';
  return `libibverbs does not find ${kernels.join(', ')} of the kernel: "modprobe ib_uverbs" lets programs reach them, and their drivers for programs come with: apt install ibverbs-providers, or: dnf install libibverbs`;
}

function unusable(reason: string): Probe {
  return { isUsable: false, reason };
}
