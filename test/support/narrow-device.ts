/**
 * Software iWARP that can do no more than some adapters: it tells so, and refuses what goes beyond it, so that whoever goes by
 * assumptions instead of attributes fails.
 */

import assert from 'node:assert/strict';
import type { IwarpProtectionDomain } from '../../src/rdma/iwarp/protection-domain.js';
import { IwarpDevice, type IwarpOptions } from '../../src/rdma/iwarp/device.js';
import type { IwarpQueuePair } from '../../src/rdma/iwarp/queue-pair.js';
import {
  AccessFlag,
  type ConnectionEvents,
  type DeviceAttributes,
  type QueuePairOptions,
} from '../../src/rdma/verbs.js';
import { SendOpcode } from '../../src/rdma/work.js';
import { RiserError } from '../../src/util/errors.js';

/** The kernel's siw, and adapters with few entries in a list. */
export const NARROW: Partial<DeviceAttributes> = {
  hasMemoryWindows: false,
  hasSendWithInvalidate: false,
  readNeedsRemoteWrite: true,
  maxReadSges: 1,
  maxInlineData: 0,
  maxSges: 3,
  maxSendRequests: 512,
  maxReceiveRequests: 512,
};

export class NarrowDevice extends IwarpDevice {
  override readonly attributes: DeviceAttributes;
  /** Regions that are registered now. */
  registrations = 0;
  /** Registering fails, as it does when no more may be pinned. */
  isFull = false;
  readonly #posted = new Map<SendOpcode, number>();

  constructor(narrow: Partial<DeviceAttributes> = NARROW, options: IwarpOptions = {}) {
    super(options);
    this.attributes = { ...new IwarpDevice().attributes, ...narrow };
  }

  /** Send requests with this code that were posted. */
  posted(opcode: SendOpcode): number {
    return this.#posted.get(opcode) ?? 0;
  }

  override allocateProtectionDomain(): IwarpProtectionDomain {
    const domain = super.allocateProtectionDomain();
    const registerMemory = domain.registerMemory.bind(domain);
    domain.registerMemory = (memory, access) => {
      if (this.isFull) throw noMoreMemory();
      const region = registerMemory(memory, access);
      this.registrations++;
      const deregister = region.deregister.bind(region);
      region.deregister = () => {
        if (region.isRegistered) this.registrations--;
        deregister();
      };
      return region;
    };
    if (!this.attributes.hasMemoryWindows)
      domain.allocateWindow = () => assert.fail('there are no memory windows');
    return domain;
  }

  override createQueuePair(
    domain: IwarpProtectionDomain,
    options: QueuePairOptions,
    events: ConnectionEvents,
  ): IwarpQueuePair {
    const { attributes } = this;
    assert.ok(options.maxSendRequests <= attributes.maxSendRequests);
    assert.ok(options.maxReceiveRequests <= attributes.maxReceiveRequests);
    assert.ok((options.maxSges ?? 1) <= attributes.maxSges);
    const queuePair = super.createQueuePair(domain, options, events);
    const postSend = queuePair.postSend.bind(queuePair);
    queuePair.postSend = (request) => {
      const { opcode, sges } = request;
      const isRead = opcode === SendOpcode.RDMA_READ;
      assert.ok(sges.count <= (isRead ? attributes.maxReadSges : attributes.maxSges), 'too long a list');
      assert.ok(attributes.hasSendWithInvalidate || opcode !== SendOpcode.SEND_WITH_INVALIDATE);
      assert.ok(attributes.hasMemoryWindows || opcode !== SendOpcode.BIND_WINDOW);
      if (isRead && attributes.readNeedsRemoteWrite) {
        for (const { access } of sges.regions.slice(0, sges.count))
          assert.ok((access & AccessFlag.REMOTE_WRITE) !== 0, 'a read to where no peer may write');
      }
      this.#posted.set(opcode, this.posted(opcode) + 1);
      postSend(request);
    };
    return queuePair;
  }
}

function noMoreMemory(): RiserError {
  return new RiserError('OUT_OF_MEMORY', 'the device cannot register: Cannot allocate memory', {
    by: 'local',
    costs: 'task',
    remedy: 'Raise the limit of locked memory.',
  });
}
