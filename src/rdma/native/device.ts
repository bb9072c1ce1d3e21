/** An open device: its objects by the keys that their events come with, and the event loop's watch on its descriptors. */

import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';

import { RiserError } from '../../util/errors.js';
import { checkSize, misuse } from '../misuse.js';
import { Notifier } from '../notifier.js';
import type {
  CompletionEvents,
  DeviceAttributes,
  DeviceEvents,
  ListenerEvents,
  ListenOptions,
  QueuePairOptions,
  RdmaDevice,
  ResolveOptions,
} from '../verbs.js';
import { NativeActiveConnection } from './active-connection.js';
import { goneAddresses } from './addresses.js';
import { attributesOf } from './attributes.js';
import { NativeCompletionQueue } from './completion-queue.js';
import type { NativeConnection } from './connection.js';
import { AsyncEvent } from './constants.js';
import { deviceError, errnoName, messageOf } from './errors.js';
import {
  addon,
  type NativeChannelHandle,
  type NativeConnectionEvent,
  type NativeDeviceHandle,
  type NativePollerHandle,
} from './library.js';
import { NativeListener } from './listener.js';
import { type NativeMemoryWindow, NativeProtectionDomain } from './memory.js';
import type { NativeQueuePair } from './queue-pair.js';
import { findWay } from './resolving.js';

const BACKLOG = 128;
/**
 * Milliseconds after which is looked whether sends that nobody asks about have failed: such work ends the connection whoever looks,
 * and not all devices tell of it.
 */
const LOOK_INTERVAL = 50;
/** Milliseconds after which is looked whether the device, and its connections' addresses, are there: the kernel tells of its end only if its driver can take it from programs. */
const PRESENCE_INTERVAL = 1000;
/** Events of completion queues that are read at a time. */
const MAX_EVENTS = 64;

/** SIW_VENDOR_ID of the kernel's siw. */
const SIW_VENDOR = 0x62_6d74;

/** Who gets events of the connection manager. */
export interface IdUser {
  handle(event: NativeConnectionEvent): void;
}

export class NativeDevice implements RdmaDevice {
  readonly name: string;
  readonly attributes: DeviceAttributes;
  readonly isIwarp: boolean;
  /** It tells the depths of a connection that it has made the other way round, and no reason why a peer ended it. */
  readonly isSiw: boolean;
  readonly handle: NativeDeviceHandle;
  readonly notifier = new Notifier(queueMicrotask);
  readonly queues = new Map<number, NativeCompletionQueue>();
  readonly queuePairs = new Map<number, NativeQueuePair>();
  readonly queuePairsByNumber = new Map<number, NativeQueuePair>();
  /** Those that are bound, by their keys. */
  readonly windows = new Map<number, NativeMemoryWindow>();
  readonly connections = new Set<NativeConnection>();
  /** Domains, queues and connections that are not closed. */
  users = 0;
  readonly #events: DeviceEvents;
  readonly #channel: NativeChannelHandle;
  readonly #pollers: {
    readonly async: NativePollerHandle;
    readonly completions: NativePollerHandle;
    readonly connections: NativePollerHandle;
  };
  readonly #ids = new Map<number, IdUser>();
  readonly #listeners = new Set<NativeListener>();
  /** Other devices, by which peers have come to a listener on all addresses. */
  readonly #others = new Map<string, NativeDevice>();
  #completedKeys = new Uint32Array(1);
  #lastKey = 0;
  #looker: NodeJS.Timeout | undefined;
  readonly #presence: NodeJS.Timeout;
  readonly #lastAtDevice = new Map<NativeQueuePair, number>();
  #isLost = false;
  #isOpen = true;

  /** @throws Error with an errno when it cannot be opened */
  constructor(name: string, events: DeviceEvents) {
    const { Device, EventChannel, Poller } = addon();
    this.name = name;
    this.#events = events;
    this.handle = new Device(name);
    const attributes = this.handle.attributes();
    this.isIwarp = attributes.isIwarp;
    this.isSiw = attributes.vendor === SIW_VENDOR;
    this.attributes = attributesOf(attributes, this.handle.port(1));
    this.#channel = new EventChannel();
    const [asyncEvents, completions] = this.handle.descriptors();
    this.#pollers = {
      async: new Poller(asyncEvents, () => this.#readAsyncEvents()),
      completions: new Poller(completions, () => this.#readCompletionEvents()),
      connections: new Poller(this.#channel.descriptor(), () => this.#readConnectionEvents()),
    };
    this.#presence = setInterval(() => {
      if (isThere(name, attributes.node)) this.#endAddressless();
      else this.lost('is gone');
    }, PRESENCE_INTERVAL).unref();
  }

  // ---- what users make ----

  allocateProtectionDomain(): NativeProtectionDomain {
    return new NativeProtectionDomain(this);
  }

  createCompletionQueue(capacity: number, events?: CompletionEvents): NativeCompletionQueue {
    checkSize('a completion queue', capacity, this.attributes.maxCompletions);
    return new NativeCompletionQueue(this, capacity, events ?? { completed: () => undefined });
  }

  checkQueuePair({
    maxSendRequests,
    maxReceiveRequests,
    maxSges = 1,
    maxInlineData = 0,
  }: QueuePairOptions): void {
    checkSize('a send queue', maxSendRequests, this.attributes.maxSendRequests);
    checkSize('a receive queue', maxReceiveRequests, this.attributes.maxReceiveRequests);
    checkSize('a scatter/gather list', maxSges, this.attributes.maxSges);
    if (maxInlineData > 0) checkSize('inline data', maxInlineData, this.attributes.maxInlineData);
  }

  async listen({ address, port }: ListenOptions, events: ListenerEvents): Promise<NativeListener> {
    const key = this.newKey();
    const host = isIP(address) === 0 ? (await lookup(address)).address : address;
    const id = new (addon().ConnectionId)(this.#channel, key);
    try {
      id.bind(host, port);
      const bound = id.device();
      if (bound !== null && bound !== this.name)
        throw new RiserError(
          'LISTEN',
          `${address} is an address of the RDMA device ${bound}, not of ${this.name}`,
          {
            by: 'local',
            costs: 'process',
          },
        );
      id.listen(BACKLOG);
    } catch (cause) {
      id.close();
      throw cause instanceof RiserError ? cause : listenError(address, port, cause);
    }
    const listener = new NativeListener(this, id, key, events);
    this.#listeners.add(listener);
    this.addId(key, listener);
    return listener;
  }

  async resolve(options: ResolveOptions): Promise<NativeActiveConnection> {
    const key = this.newKey();
    const id = new (addon().ConnectionId)(this.#channel, key);
    try {
      const limits = await findWay(this, id, key, options);
      const connection = new NativeActiveConnection(this, id, key, limits);
      this.#ids.set(key, connection);
      return connection;
    } catch (error) {
      id.close();
      this.removeId(key);
      throw error;
    }
  }

  // eslint-disable-next-line @typescript-eslint/require-await -- synchronous, but what is misuse rejects
  async close(): Promise<void> {
    this.#close();
  }

  #close(): void {
    if (!this.#isOpen) return;
    if (this.users > 0 || [...this.#others.values()].some(({ users }) => users > 0))
      throw misuse('a device is closed while something of it is in use');
    for (const listener of this.#listeners) void listener.close();
    this.#isOpen = false;
    clearInterval(this.#looker);
    clearInterval(this.#presence);
    for (const poller of Object.values(this.#pollers)) poller.close();
    this.#channel.close();
    this.handle.close();
    if (this.#isLost) addon().forgetGoneDevices();
    for (const other of this.#others.values()) other.#close();
  }

  // ---- what its objects use ----

  newKey(): number {
    // 31 bits: the requests of a queue pair are numbered below it.
    do this.#lastKey = (this.#lastKey % 0x7fff_ffff) + 1;
    while (
      this.#ids.has(this.#lastKey) ||
      this.queuePairs.has(this.#lastKey) ||
      this.queues.has(this.#lastKey)
    );
    return this.#lastKey;
  }

  addId(key: number, user: IdUser): void {
    this.#ids.set(key, user);
    this.#pollers.connections.keepAlive(true);
  }

  removeId(key: number): void {
    this.#ids.delete(key);
    if (this.#ids.size === 0 && this.#isOpen) this.#pollers.connections.keepAlive(false);
  }

  listenerClosed(listener: NativeListener): void {
    this.#listeners.delete(listener);
  }

  addQueuePair(queuePair: NativeQueuePair): void {
    this.queuePairs.set(queuePair.key, queuePair);
    this.queuePairsByNumber.set(queuePair.number, queuePair);
    this.#pollers.completions.keepAlive(true);
  }

  removeQueuePair(queuePair: NativeQueuePair): void {
    this.queuePairs.delete(queuePair.key);
    this.queuePairsByNumber.delete(queuePair.number);
    this.#lastAtDevice.delete(queuePair);
    if (this.queuePairs.size === 0 && this.#isOpen) this.#pollers.completions.keepAlive(false);
  }

  /** This device or another one, opened for a listener of this one's; null if that cannot be. */
  withName(name: string | null): NativeDevice | null {
    if (name === null || name === this.name) return this;
    let other = this.#others.get(name);
    if (other === undefined) {
      try {
        other = new NativeDevice(name, {});
      } catch {
        return null;
      }
      this.#others.set(name, other);
    }
    return other;
  }

  /** Some queue pair has sends under way: look after them as long as any has. */
  sendsPosted(): void {
    this.#looker ??= setInterval(() => this.#look(), LOOK_INTERVAL).unref();
  }

  #look(): void {
    let isNeeded = false;
    for (const queuePair of this.queuePairs.values()) {
      const count = queuePair.sendsAtDevice;
      if (count === 0) continue;
      isNeeded = true;
      if (this.#lastAtDevice.get(queuePair) === count) queuePair.look();
      this.#lastAtDevice.set(queuePair, count);
    }
    if (isNeeded) return;
    clearInterval(this.#looker);
    this.#looker = undefined;
  }

  /**
   * No more can be done by it; told once, whoever tells first: its own events, the connection manager's, or a look. rdma_rxe and siw
   * have no events of that until all who have them open have closed them.
   */
  lost(how: string): void {
    if (this.#isLost) return;
    this.#isLost = true;
    const error = deviceError(`the device ${this.name} ${how}`);
    for (const queuePair of this.queuePairs.values()) queuePair.end(error);
    this.#events.deviceFatal?.(error);
  }

  /** An address that was taken away: the kernel tells of those only that go to another device. */
  #endAddressless(): void {
    if (this.connections.size === 0) return;
    const used = new Set([...this.connections].map(({ localAddress }) => localAddress));
    used.delete('');
    const gone = goneAddresses(used);
    for (const connection of this.connections)
      if (gone.has(connection.localAddress)) connection.addressLost('is not there any more');
  }

  // ---- events ----

  #readCompletionEvents(): void {
    this.notifier.enter();
    // A queue tells once for each arming: to look for more than there are queues is a call of the system for nothing.
    const most = Math.min(Math.max(this.queues.size, 1), MAX_EVENTS);
    if (this.#completedKeys.length !== most) this.#completedKeys = new Uint32Array(most);
    const count = this.handle.completionEvents(this.#completedKeys);
    for (let i = 0; i < count; i++) this.queues.get(this.#completedKeys[i]!)?.deviceCompleted();
    this.notifier.leave();
  }

  #readConnectionEvents(): void {
    this.notifier.enter();
    try {
      for (let event; this.#isOpen && (event = this.#channel.event()) !== null;)
        this.#ids.get(event.key)?.handle(event);
    } finally {
      this.notifier.leave();
    }
  }

  #readAsyncEvents(): void {
    this.notifier.enter();
    try {
      for (let event; this.#isOpen && (event = this.handle.asyncEvent()) !== null;)
        this.#handleAsyncEvent(event);
    } finally {
      this.notifier.leave();
    }
  }

  #handleAsyncEvent({ type, key }: { type: number; key: number }): void {
    switch (type) {
      case AsyncEvent.CQ_ERR:
        this.queues.get(key)?.overrun();
        return;
      case AsyncEvent.QP_FATAL:
      case AsyncEvent.QP_REQ_ERR:
      case AsyncEvent.QP_ACCESS_ERR:
        this.queuePairs.get(key)?.faulted();
        return;
      case AsyncEvent.COMM_EST:
        this.queuePairs.get(key)?.communicationEstablished?.();
        return;
      case AsyncEvent.PORT_ACTIVE:
      case AsyncEvent.PORT_ERR:
        this.#events.portChanged?.(type === AsyncEvent.PORT_ACTIVE);
        return;
      case AsyncEvent.DEVICE_FATAL:
        this.lost('has failed');
    }
  }
}

/** A device whose end has begun has lost its character device, and another one may have got that name since. */
function isThere(name: string, node: string): boolean {
  try {
    return readFileSync(`/sys/class/infiniband_verbs/${node}/ibdev`, 'utf8').trim() === name;
  } catch {
    return false;
  }
}

function listenError(address: string, port: number, cause: unknown): RiserError {
  const isTaken = errnoName(cause) === 'EADDRINUSE';
  return new RiserError(
    isTaken ? 'ADDRESS_IN_USE' : 'LISTEN',
    `cannot listen on ${address} port ${port} by RDMA: ${messageOf(cause)}`,
    {
      by: 'local',
      costs: 'process',
      cause,
      remedy: isTaken
        ? 'Choose another port, or stop what listens there.'
        : 'Choose an address of an RDMA device: "riser rdma devices" lists them.',
    },
  );
}
