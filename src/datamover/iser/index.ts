/** The Datamover over RDMA (iSER, RFC 7145), for either role, by whatever device the verbs contract has. */

import type { Established, RdmaConnection } from '../../rdma/verbs.js';
import type {
  DatamoverEvents,
  InitiatorDatamover,
  TargetDatamover,
  TargetDatamoverEvents,
} from '../datamover.js';
import { InitiatorIserDatamover } from './initiator-datamover.js';
import type { RegisteredMemory } from './registered-memory.js';
import { SessionPool } from './session-pool.js';
import { TargetIserDatamover } from './target-datamover.js';

export { RegisteredMemory } from './registered-memory.js';

/**
 * The private data of iSER's connections, of which the standard of the InfiniBand Trade Association (annex 12) has one byte and
 * Linux sends four: what the sender does not support.
 */
const NO_ZERO_BASED_ADDRESSES = 0x80;
const NO_SEND_WITH_INVALIDATE = 0x40;

function privateData(mayInvalidate: boolean): Buffer {
  return Buffer.from([NO_ZERO_BASED_ADDRESSES | (mayInvalidate ? 0 : NO_SEND_WITH_INVALIDATE), 0, 0, 0]);
}

/**
 * The target's Datamover for a connection that was asked for, which it accepts and owns from now on. `asked`: what came with the
 * request. That accepting failed is told as the connection's end.
 */
export function acceptIser(
  request: RdmaConnection,
  asked: Established,
  registered: RegisteredMemory,
  events: TargetDatamoverEvents,
): TargetDatamover {
  const [flags = NO_SEND_WITH_INVALIDATE] = asked.privateData;
  const mayInvalidate =
    (flags & NO_SEND_WITH_INVALIDATE) === 0 && request.device.attributes.hasSendWithInvalidate;
  const datamover = new TargetIserDatamover(request, registered, events, mayInvalidate, asked.initiatorDepth);
  request.accept({ privateData: privateData(mayInvalidate) }).catch((error: unknown) => {
    datamover.deallocateConnectionResources(error as Error);
  });
  return datamover;
}

/**
 * The initiator's Datamover on a connection that was resolved, which it owns from now on: it is connected when this
 * resolves.
 *
 * @throws those of {@link RdmaConnection.connect}; `RDMA_MEMORY`
 */
export async function connectIser(
  connection: RdmaConnection,
  registered: RegisteredMemory,
  events: DatamoverEvents,
): Promise<InitiatorDatamover> {
  const { device } = connection;
  const { hasMemoryWindows, hasSendWithInvalidate, maxResponderResources } = device.attributes;
  const memory = hasMemoryWindows ? registered : new SessionPool(device, registered.limit);
  let datamover: InitiatorIserDatamover;
  try {
    datamover = new InitiatorIserDatamover(connection, memory, events);
  } catch (error) {
    connection.close();
    if (memory !== registered) memory.close();
    throw error;
  }
  try {
    await connection.connect({
      // The keys of a pool are no command's.
      privateData: privateData(hasSendWithInvalidate && hasMemoryWindows),
      responderResources: maxResponderResources,
      initiatorDepth: 1,
    });
  } catch (error) {
    datamover.discard();
    throw error;
  }
  return datamover;
}
