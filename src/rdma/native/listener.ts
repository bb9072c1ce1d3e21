/** Waits for peers that want to connect by a device, or by any of this machine's if its address is that of all. */

import type { ListenerEvents, RdmaListener } from '../verbs.js';
import { NativeRequestedConnection } from './requested-connection.js';
import { CmEvent } from './constants.js';
import type { NativeDevice } from './device.js';
import type { NativeConnectionEvent, NativeIdHandle } from './library.js';

export class NativeListener implements RdmaListener {
  readonly address: string;
  readonly port: number;
  readonly #device: NativeDevice;
  readonly #id: NativeIdHandle;
  readonly #key: number;
  readonly #events: ListenerEvents;
  #isOpen = true;

  constructor(device: NativeDevice, id: NativeIdHandle, key: number, events: ListenerEvents) {
    this.#device = device;
    this.#id = id;
    this.#key = key;
    this.#events = events;
    [this.address, , this.port] = id.addresses();
  }

  /** By the connection manager. */
  handle(event: NativeConnectionEvent): void {
    if (event.type === CmEvent.DEVICE_REMOVAL) this.#device.lost('is gone');
    const { request } = event;
    if (request === null) return;
    const device = this.#device.withName(request.device());
    if (device === null) {
      // Not rejected by words: closing it says as much.
      request.close();
      return;
    }
    const key = this.#device.newKey();
    request.setKey(key);
    const connection = new NativeRequestedConnection(device, request, key, event);
    // Its events come by this listener's device.
    this.#device.addId(key, connection);
    connection.idOwner = this.#device;
    this.#events.requested(connection, connection.parameters);
  }

  close(): Promise<void> {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#id.close();
      this.#device.removeId(this.#key);
      this.#device.listenerClosed(this);
    }
    return Promise.resolve();
  }
}
