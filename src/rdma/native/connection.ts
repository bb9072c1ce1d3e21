/** What the connections of a device have in common, made by librdmacm. The queue pair is not its own: this leads it through its states. */

import { misuse } from '../misuse.js';
import { ConnectionRole } from '../roles.js';
import {
  AccessFlag,
  type ConnectionEvents,
  type ConnectionParameters,
  type ProtectionDomain,
  type QueuePairOptions,
  QueuePairState,
  type RdmaConnection,
} from '../verbs.js';
import { CmEvent, QpState } from './constants.js';
import type { NativeDevice } from './device.js';
import { connectionError, deviceError, messageOf } from './errors.js';
import type { NativeConnectionEvent, NativeIdHandle } from './library.js';
import type { NativeProtectionDomain } from './memory.js';
import { NativeQueuePair, type QueuePairHost } from './queue-pair.js';

/** Milliseconds without any progress before an end in good order. */
const END_TIMEOUT = 5000;

const PEER_RIGHTS = AccessFlag.REMOTE_READ | AccessFlag.REMOTE_WRITE;
export const NOTHING = new Uint8Array(0);

/** The making of a connection that somebody waits for. */
export interface Making<T> {
  resolve(value: T): void;
  reject(error: unknown): void;
}

export abstract class NativeConnection extends ConnectionRole implements RdmaConnection, QueuePairHost {
  readonly device: NativeDevice;
  localAddress = '';
  remoteAddress = '';
  pathMtu: number | null = null;
  queuePair: NativeQueuePair | null = null;
  protected readonly id: NativeIdHandle;
  protected isOver = false;
  /** Whose event channel the identifier is of. */
  idOwner: NativeDevice;
  readonly #key: number;
  #isIdOpen = true;
  #endWatch: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number) {
    super();
    this.device = device;
    this.idOwner = device;
    this.id = id;
    this.#key = key;
    this.readAddresses();
    device.users++;
    device.connections.add(this);
  }

  protected get isIdOpen(): boolean {
    return this.#isIdOpen;
  }

  createQueuePair(
    domain: ProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ): NativeQueuePair {
    if (this.queuePair !== null) throw misuse('the connection has a queue pair already');
    if (!this.#isIdOpen) throw misuse('the connection is over');
    this.device.checkQueuePair(options);
    if ((domain as NativeProtectionDomain).device !== this.device)
      throw misuse('the protection domain is of another device than the connection');
    const queuePair = new NativeQueuePair(this, domain as NativeProtectionDomain, options, events);
    this.queuePair = queuePair;
    try {
      this.transition(QpState.INIT, 0, 0);
    } catch (cause) {
      this.queuePair = null;
      queuePair.discard();
      throw deviceError(`a queue pair cannot be used: ${messageOf(cause)}`);
    }
    queuePair.communicationEstablished = () => {
      if (this.#isIdOpen) this.id.communicationEstablished();
    };
    return queuePair;
  }

  /** By the connection manager. */
  abstract handle(event: NativeConnectionEvent): void;

  /** Who waits for its making is told that there will be none. */
  protected abstract giveUp(error: Error): void;

  disconnect(): void {
    const { queuePair } = this;
    if (queuePair === null || this.isOver) return;
    this.isOver = true;
    if (queuePair.state === QueuePairState.RTS) {
      queuePair.disconnect();
      this.#watchEnd(queuePair);
    } else if (queuePair.state === QueuePairState.INIT) {
      this.giveUp(misuse('the connection was ended while it was being made'));
      queuePair.end(null);
      this.closeId();
    }
  }

  /** A peer that takes nothing any more is not waited for. */
  #watchEnd(queuePair: NativeQueuePair): void {
    let before = queuePair.sendsAtDevice;
    this.#endWatch = setInterval(() => {
      const now = queuePair.sendsAtDevice;
      if (queuePair.state === QueuePairState.ERROR) clearInterval(this.#endWatch);
      else if (now === before)
        queuePair.end(
          connectionError(
            'RDMA_TIMEOUT',
            `the peer took nothing for ${END_TIMEOUT / 1000} s of what was to be sent before the end`,
          ),
        );
      before = now;
    }, END_TIMEOUT).unref();
  }

  queuePairEnded(): void {
    this.isOver = true;
    if (this.#isIdOpen) this.id.disconnect();
  }

  close(): void {
    this.isOver = true;
    clearInterval(this.#endWatch);
    this.giveUp(misuse('the connection was closed while it was being made'));
    if (this.#isIdOpen && this.queuePair?.state === QueuePairState.RTS) this.id.disconnect();
    this.queuePair?.close();
    this.closeId();
  }

  protected closeId(): void {
    if (!this.#isIdOpen) return;
    this.#isIdOpen = false;
    this.id.close();
    this.idOwner.removeId(this.#key);
    this.device.users--;
    this.device.connections.delete(this);
  }

  /** Its own address is not the device's any more. */
  addressLost(why: string): void {
    if (!this.isOver) this.queuePair?.end(deviceError(`the address ${this.localAddress} ${why}`));
  }

  protected readAddresses(): void {
    [this.localAddress, this.remoteAddress] = this.id.addresses();
  }

  protected requireQueuePair(): NativeQueuePair {
    if (this.isOver) throw misuse('the connection is over');
    if (this.queuePair === null) throw misuse('make a queue pair first');
    return this.queuePair;
  }

  protected transition(state: number, responderResources: number, initiatorDepth: number): void {
    const rights = PEER_RIGHTS | (this.device.attributes.hasAtomics ? AccessFlag.REMOTE_ATOMIC : 0);
    const handle = this.queuePair!.handle;
    const pathMtu = this.id.transition(handle, state, rights, responderResources, initiatorDepth);
    if (pathMtu > 0) this.pathMtu = pathMtu;
  }

  /** To RTS; iWARP's connection manager does that by itself. */
  protected makeReady(responderResources: number, initiatorDepth: number): void {
    if (this.device.isIwarp) return;
    this.transition(QpState.RTR, responderResources, initiatorDepth);
    this.transition(QpState.RTS, responderResources, initiatorDepth);
  }

  protected privateData({ privateData }: ConnectionParameters): Uint8Array {
    const most = this.device.attributes.maxPrivateData;
    if (privateData !== undefined && privateData.length > most)
      throw misuse(`${privateData.length} bytes of private data, where ${most} are possible`);
    return privateData ?? NOTHING;
  }

  /** What comes once it stands. */
  protected handleEnd(event: NativeConnectionEvent): void {
    const { queuePair } = this;
    if (queuePair === null) return;
    if (event.type === CmEvent.DISCONNECTED) {
      queuePair.peerEnded(null);
    } else if (event.type === CmEvent.DEVICE_REMOVAL) this.device.lost('is gone');
    else if (event.type === CmEvent.UNREACHABLE)
      // The kernel has seen the peer's address move to another interface of the network.
      queuePair.end(
        connectionError('RDMA_UNREACHABLE', `${this.remoteAddress} is not where it was any more`),
      );
    else if (event.type === CmEvent.ADDR_CHANGE)
      queuePair.end(deviceError(`the address ${this.localAddress} is at another device now: connect again`));
  }
}
