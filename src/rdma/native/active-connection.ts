/** A connection that is asked for here. */

import type { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import { RdmaRejected } from '../rejected.js';
import type { ConnectionParameters, Established } from '../verbs.js';
import { type Making, NativeConnection } from './connection.js';
import { CmEvent, REJECTED_NOBODY_LISTENS } from './constants.js';
import type { NativeDevice } from './device.js';
import { connectionError, errnoName, messageOf } from './errors.js';
import {
  addon,
  type NativeConnectionEvent,
  type NativeIdHandle,
  type NativePollerHandle,
} from './library.js';
import type { Limits } from './resolving.js';

export class NativeActiveConnection extends NativeConnection {
  readonly #deadline: number;
  readonly #timeout: number;
  readonly #signal: AbortSignal | null;
  #asked: { responderResources: number; initiatorDepth: number } | null = null;
  #making: Making<Established> | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number, { deadline, timeout, signal }: Limits) {
    super(device, id, key);
    this.#deadline = deadline;
    this.#timeout = timeout;
    this.#signal = signal;
  }

  override async connect(parameters: ConnectionParameters = {}): Promise<Established> {
    if (this.#asked !== null) throw misuse('a connection is connected once');
    const queuePair = this.requireQueuePair();
    const { maxResponderResources, maxInitiatorDepth } = this.device.attributes;
    const { responderResources = maxResponderResources, initiatorDepth = maxInitiatorDepth } = parameters;
    const privateData = this.privateData(parameters);
    this.#asked = { responderResources, initiatorDepth };
    queuePair.flush();
    const abort = (): void => this.#fail(this.#signal!.reason as Error);
    let attempt: NativePollerHandle | undefined;
    try {
      this.#signal?.throwIfAborted();
      this.#signal?.addEventListener('abort', abort, { once: true });
      return await new Promise<Established>((resolve, reject) => {
        this.#making = { resolve, reject };
        const left = Math.max(1, this.#deadline - performance.now());
        this.#timer = setTimeout(() => this.#fail(timedOut(this.#timeout)), left);
        const told = this.id.connect(queuePair.handle, privateData, responderResources, initiatorDepth);
        attempt = new (addon().Poller)(told, () => {
          attempt?.close();
          const errno = this.isIdOpen ? this.id.connectError() : 0;
          if (errno !== 0) this.#fail(this.#unreachable({ errno }));
        });
      });
    } finally {
      attempt?.close();
      clearTimeout(this.#timer);
      this.#signal?.removeEventListener('abort', abort);
    }
  }

  override handle(event: NativeConnectionEvent): void {
    if (this.#making === null) {
      this.handleEnd(event);
      return;
    }
    switch (event.type) {
      case CmEvent.CONNECT_RESPONSE:
      case CmEvent.ESTABLISHED:
        this.#established(event);
        return;
      case CmEvent.REJECTED:
        this.#fail(
          !this.device.isIwarp && event.status === REJECTED_NOBODY_LISTENS
            ? this.#unreachable('nobody listens there')
            : new RdmaRejected(event.privateData),
        );
        return;
      case CmEvent.UNREACHABLE:
      case CmEvent.CONNECT_ERROR:
      case CmEvent.DEVICE_REMOVAL:
      case CmEvent.ADDR_CHANGE:
        this.#fail(this.#unreachable(event.status < 0 ? { errno: -event.status } : 'it does not answer'));
        return;
      case CmEvent.DISCONNECTED:
        this.#fail(connectionError('RDMA_CLOSED', 'the peer ended the connection while it was being made'));
    }
  }

  #established(event: NativeConnectionEvent): void {
    const queuePair = this.queuePair!;
    const asked = this.#asked!;
    const { isSiw } = this.device;
    const served = isSiw ? event.initiatorDepth : event.responderResources;
    const granted = isSiw ? event.responderResources : event.initiatorDepth;
    const responderResources = Math.min(asked.responderResources, served);
    const initiatorDepth = Math.min(asked.initiatorDepth, granted);
    try {
      if (event.type === CmEvent.CONNECT_RESPONSE) {
        this.makeReady(responderResources, initiatorDepth);
        this.id.establish();
      }
    } catch (error) {
      this.#fail(connectionError('RDMA_CLOSED', `the connection cannot be made: ${messageOf(error)}`, error));
      return;
    }
    this.readAddresses();
    queuePair.connected(initiatorDepth);
    const making = this.#making!;
    this.#making = null;
    making.resolve({ privateData: event.privateData, responderResources, initiatorDepth });
  }

  #unreachable(why: { errno: number } | string): RiserError {
    const reason = typeof why === 'string' ? why : (errnoName(why) ?? `error ${why.errno}`);
    const code = reason === 'ETIMEDOUT' ? 'RDMA_TIMEOUT' : 'RDMA_UNREACHABLE';
    return connectionError(code, `${this.remoteAddress} cannot be reached: ${reason}`);
  }

  protected override giveUp(error: Error): void {
    // siw destroys no queue pair that connects.
    if (this.#making !== null && this.isIdOpen) this.id.giveUp();
    this.#making?.reject(error);
    this.#making = null;
  }

  #fail(error: Error): void {
    if (this.#making === null) return;
    this.giveUp(error);
    this.queuePair?.end(error);
    this.closeId();
  }
}

function timedOut(timeout: number): RiserError {
  return connectionError('RDMA_TIMEOUT', `the peer has not answered within ${timeout / 1000} s`);
}
