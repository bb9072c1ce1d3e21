import { RiserError } from '../util/errors.js';

/** The peer does not want the connection. */
export class RdmaRejected extends RiserError {
  /** What it says of that, in its own terms. */
  readonly privateData: Buffer;

  constructor(privateData: Buffer) {
    super('RDMA_REJECTED', 'the peer rejected the connection', { by: 'peer', costs: 'connection' });
    this.privateData = privateData;
  }
}
