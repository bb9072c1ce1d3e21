/** Peers in the midst of MPA's startup on TCP connections that were accepted: how many, and for how long. */

import type { ByteStream } from '../../stream/index.js';
import { RiserError } from '../../util/errors.js';
import type { ListenerEvents } from '../verbs.js';
import { RequestedConnection } from './connection.js';
import type { IwarpDevice } from './device.js';
import type { Message } from './message.js';
import { MpaResponder } from './mpa/responder.js';
import { StartupExchange } from './startup-exchange.js';
import type { StreamInfo } from './tcp.js';

/** One more, and the one that has been at it longest has to go. */
const MOST_STARTING = 256;

export class Startups {
  readonly #device: IwarpDevice;
  readonly #starting = new Set<ByteStream<Message>>();

  constructor(device: IwarpDevice) {
    this.#device = device;
  }

  /** Await an MPA Request on `stream`. Of `events.requested` and `failed` one is called, once; by then a failed one is closed. */
  begin(
    stream: ByteStream<Message>,
    info: StreamInfo,
    events: ListenerEvents,
    failed: (error: Error) => void,
  ): void {
    const responder = new MpaResponder();
    this.#starting.add(stream);
    const exchange = new StartupExchange(
      stream,
      responder,
      () => responder.request !== null,
      this.#device.options.startupTimeout,
      () => {
        this.#starting.delete(stream);
        const request = new RequestedConnection(this.#device, exchange, info, responder);
        events.requested(request, request.parameters);
      },
      (error) => {
        this.#starting.delete(stream);
        failed(error);
      },
    );
    if (this.#starting.size > MOST_STARTING) {
      const [oldest] = this.#starting;
      oldest!.destroy(givenUp(`${MOST_STARTING} others that came later are in MPA's startup`));
    }
  }

  /** No more of those that have begun. */
  giveUp(): void {
    for (const stream of this.#starting) stream.destroy(givenUp('nobody waits for it any more'));
  }
}

function givenUp(why: string): RiserError {
  return new RiserError('RDMA_GIVEN_UP', `a connection is closed in MPA's startup: ${why}`, {
    by: 'local',
    costs: 'connection',
  });
}
