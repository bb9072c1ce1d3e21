/** {@link Grants} without memory windows: a task's data is copied through pieces of the session's pool. */

import { AccessFlag } from '../../rdma/verbs.js';
import type { InitiatorTransfer } from '../datamover.js';
import { Grant, type TaskGrants } from './grants.js';
import type { SessionPool } from './session-pool.js';

export class PoolGrants implements TaskGrants {
  readonly #pool: SessionPool;
  readonly #free: Grant[] = [];
  readonly #open = new Set<Grant>();

  constructor(pool: SessionPool) {
    this.#pool = pool;
  }

  open(transfer: InitiatorTransfer): Grant {
    const { buffer, unsolicitedLength, isRead, isWrite } = transfer;
    const isFetched = isWrite && unsolicitedLength < buffer.length;
    const access = (isRead ? AccessFlag.REMOTE_WRITE : 0) | (isFetched ? AccessFlag.REMOTE_READ : 0);
    const { memory, remoteKey, address } = this.#pool.take(buffer.length, access);
    // At the end of the piece, so that what is too long is refused, as if the key were for this part only.
    const offset = memory.length - buffer.length;
    const at = address + offset;
    const grant = this.#free.pop() ?? new Grant();
    this.#open.add(grant);
    grant.transfer = transfer;
    transfer.grant = grant;
    grant.memory = memory;
    grant.offset = offset;
    grant.isCopy = true;
    if (isWrite) buffer.readTo(0, memory, offset, buffer.length);
    const { remote } = grant;
    remote.setRead(isRead ? remoteKey : 0, isRead ? at : 0);
    remote.setWrite(isFetched ? remoteKey : 0, isFetched ? at + unsolicitedLength : 0);
    return grant;
  }

  /** No key may be invalidated: that was not offered. */
  close(grant: Grant, invalidatedKey: number): boolean {
    this.#pool.release(grant.memory);
    grant.transfer!.grant = null;
    grant.transfer = null;
    this.#open.delete(grant);
    this.#free.push(grant);
    return invalidatedKey === 0;
  }

  closeAll(): void {
    for (const grant of this.#open) this.close(grant, 0);
  }
}
