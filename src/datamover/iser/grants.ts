/**
 * What the target may reach of a task's buffer, and for how long: memory windows, bound when the command is sent and gone
 * when the task is over (RFC 7145 7.3.1, 7.3.2, 8.3).
 */

import { type MemoryRegion, type MemoryWindow, AccessFlag } from '../../rdma/verbs.js';
import { Memory } from '../../util/memory.js';
import { type InitiatorTransfer, RemoteBuffers } from '../datamover.js';
import type { RegisteredMemory } from './registered-memory.js';

/** Of one task. */
export class Grant {
  transfer: InitiatorTransfer | null = null;
  readonly remote = new RemoteBuffers();
  readWindow: MemoryWindow | null = null;
  writeWindow: MemoryWindow | null = null;
  /** Where the bytes are: the buffer itself, or a copy of one that is in pieces, since a key stands for one piece. */
  memory!: Memory;
  offset = 0;
  isCopy = false;
  isInUse = false;
}

/** Binds a window to a part of a region, by posted work. */
export type Bind = (
  window: MemoryWindow,
  region: MemoryRegion,
  offset: number,
  length: number,
  access: number,
) => void;

/** What the target may reach of the tasks of one connection. */
export interface TaskGrants {
  /** Let the target reach what it needs of the transfer's buffer: for Data-In all, for Data-Out what is not sent unasked. */
  open(transfer: InitiatorTransfer): Grant;
  /**
   * The task is over. `invalidatedKey`: what the target has ended itself; false when that is none of this grant's.
   */
  close(grant: Grant, invalidatedKey: number): boolean;
  /** End all. */
  closeAll(): void;
}

export class Grants implements TaskGrants {
  readonly #registered: RegisteredMemory;
  readonly #bind: Bind;
  readonly #all: Grant[] = [];
  readonly #free: Grant[] = [];
  /** Bound to nothing. */
  readonly #windows: MemoryWindow[] = [];

  constructor(registered: RegisteredMemory, bind: Bind) {
    this.#registered = registered;
    this.#bind = bind;
  }

  open(transfer: InitiatorTransfer): Grant {
    const grant = this.#free.pop() ?? this.#make();
    const { buffer, unsolicitedLength } = transfer;
    const { length } = buffer;
    this.#locate(grant, transfer);
    const { memory, offset, remote } = grant;
    const region = this.#registered.hold(memory, !grant.isCopy);
    grant.isInUse = true;
    grant.transfer = transfer;
    transfer.grant = grant;
    remote.readKey = 0;
    remote.writeKey = 0;
    if (transfer.isRead) {
      const window = (grant.readWindow = this.#window());
      this.#bind(window, region, offset, length, AccessFlag.REMOTE_WRITE);
      remote.setRead(window.remoteKey, region.address + offset);
    }
    if (transfer.isWrite && unsolicitedLength < length) {
      const window = (grant.writeWindow = this.#window());
      const from = offset + unsolicitedLength;
      this.#bind(window, region, from, length - unsolicitedLength, AccessFlag.REMOTE_READ);
      remote.setWrite(window.remoteKey, region.address + from);
    }
    return grant;
  }

  /** From now on the target reaches nothing of it any more. */
  close(grant: Grant, invalidatedKey: number): boolean {
    const { readWindow, writeWindow, remote } = grant;
    const isOwn =
      invalidatedKey === 0 || invalidatedKey === remote.readKey || invalidatedKey === remote.writeKey;
    this.#giveBack(readWindow, invalidatedKey);
    this.#giveBack(writeWindow, invalidatedKey);
    grant.readWindow = null;
    grant.writeWindow = null;
    this.#registered.release(grant.memory);
    grant.transfer!.grant = null;
    grant.transfer = null;
    grant.isInUse = false;
    this.#free.push(grant);
    return isOwn;
  }

  closeAll(): void {
    for (const grant of this.#all) if (grant.isInUse) this.close(grant, 0);
    for (const window of this.#windows.splice(0)) window.close();
  }

  #make(): Grant {
    const grant = new Grant();
    this.#all.push(grant);
    return grant;
  }

  #window(): MemoryWindow {
    return this.#windows.pop() ?? this.#registered.domain.allocateWindow();
  }

  /** What the peer has invalidated is bound to nothing, and can be used again; anything else ends at once. */
  #giveBack(window: MemoryWindow | null, invalidatedKey: number): void {
    if (window === null) return;
    if (invalidatedKey !== 0 && window.remoteKey === invalidatedKey) this.#windows.push(window);
    else window.close();
  }

  #locate(grant: Grant, { buffer, isWrite }: InitiatorTransfer): void {
    const { regions, offsets, lengths, count, length } = buffer;
    let isOnePiece = true;
    for (let i = 1; i < count; i++) {
      if (regions[i] !== regions[0] || offsets[i] !== offsets[i - 1]! + lengths[i - 1]!) isOnePiece = false;
    }
    grant.isCopy = !isOnePiece;
    if (isOnePiece) {
      grant.memory = regions[0]!;
      grant.offset = offsets[0]!;
      return;
    }
    grant.memory = Memory.allocate(length);
    grant.offset = 0;
    if (isWrite) buffer.readTo(0, grant.memory, 0, length);
  }
}
