/** A connection that a peer asks for. */

import { RiserError } from '../../util/errors.js';
import { misuse } from '../misuse.js';
import type { ConnectionParameters, Established } from '../verbs.js';
import { type Making, NativeConnection, NOTHING } from './connection.js';
import { CmEvent } from './constants.js';
import type { NativeDevice } from './device.js';
import { connectionError } from './errors.js';
import type { NativeConnectionEvent, NativeIdHandle } from './library.js';

/** Milliseconds that a peer which was accepted may take to say that it is ready. */
const READY_TIMEOUT = 10_000;

export class NativeRequestedConnection extends NativeConnection {
  /** What the peer asks for, within the device's limits. */
  readonly parameters: Established;
  #isAnswered = false;
  #isPeerGone = false;
  #making: Making<void> | null = null;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number, event: NativeConnectionEvent) {
    super(device, id, key);
    const { maxResponderResources, maxInitiatorDepth } = device.attributes;
    this.parameters = {
      privateData: event.privateData,
      responderResources: Math.min(event.responderResources, maxResponderResources),
      initiatorDepth: Math.min(event.initiatorDepth, maxInitiatorDepth),
    };
  }

  override async accept(parameters: ConnectionParameters = {}): Promise<void> {
    this.#requireUnanswered();
    const queuePair = this.requireQueuePair();
    const privateData = this.privateData(parameters);
    this.#isAnswered = true;
    const asked = this.parameters;
    const responderResources = parameters.responderResources ?? asked.responderResources;
    const initiatorDepth = Math.min(parameters.initiatorDepth ?? asked.initiatorDepth, asked.initiatorDepth);
    queuePair.initiatorDepth = initiatorDepth;
    queuePair.flush();
    try {
      if (this.#isPeerGone) throw peerGone();
      await new Promise<void>((resolve, reject) => {
        this.#making = { resolve, reject };
        this.makeReady(responderResources, initiatorDepth);
        this.id.accept(queuePair.handle, privateData, responderResources, initiatorDepth);
        this.#timer = setTimeout(() => this.#fail(notReady()), READY_TIMEOUT);
      });
    } catch (cause) {
      const error = cause instanceof RiserError ? cause : peerGone(cause);
      this.#making = null;
      queuePair.end(error);
      throw error;
    } finally {
      clearTimeout(this.#timer);
    }
  }

  override reject(privateData: Uint8Array = NOTHING): void {
    this.#requireUnanswered();
    if (this.isOver) throw misuse('the connection is over');
    this.#isAnswered = true;
    try {
      this.id.reject(privateData);
    } catch {
      // The peer has not waited for it.
    }
  }

  override handle(event: NativeConnectionEvent): void {
    const making = this.#making;
    if (making === null) {
      // Maybe before it was answered.
      if (event.type !== CmEvent.ESTABLISHED) this.#isPeerGone = true;
      this.handleEnd(event);
      return;
    }
    if (event.type === CmEvent.ESTABLISHED) {
      this.#making = null;
      this.readAddresses();
      this.queuePair!.connected(this.queuePair!.initiatorDepth);
      making.resolve();
    } else if (event.type >= CmEvent.CONNECT_ERROR && event.type <= CmEvent.DEVICE_REMOVAL)
      this.#fail(peerGone());
  }

  protected override giveUp(error: Error): void {
    this.#fail(error);
  }

  #fail(error: Error): void {
    const making = this.#making;
    this.#making = null;
    making?.reject(error);
  }

  #requireUnanswered(): void {
    if (this.#isAnswered) throw misuse('the request was answered already');
  }
}

function peerGone(cause?: unknown): RiserError {
  return connectionError('RDMA_CLOSED', 'the peer has gone before the connection was made', cause);
}

function notReady(): RiserError {
  return connectionError(
    'RDMA_TIMEOUT',
    `the peer was accepted, but said nothing within ${READY_TIMEOUT / 1000} s`,
  );
}
