/** The third-party copies that a logical unit was asked for, by nexus and list identifier, and the ROD tokens that stand for its data. */

import { type BlockIo, BlockOp } from '../../block/device.js';
import type { Nexus } from '../nexus.js';
import { Sense } from '../sense.js';
import { type CopyRecord, CopyState } from './copy-record.js';
import type { RodToken } from './rod-tokens.js';

/** How many copies of a nexus that are over are remembered; then the oldest is forgotten. */
const MAXIMUM_FINISHED = 256;

export class UnitCopies {
  readonly #records = new Map<Nexus, Map<number, CopyRecord>>();
  /** Those that can be used. */
  readonly #tokens = new Set<RodToken>();
  /** Whether any change of the medium is of interest; false lets the I/O path pass. */
  watches = false;

  /** Remember a copy that begins. False when its nexus has one of the same identifier under way. */
  add(record: CopyRecord): boolean {
    const { nexus, listIdentifier } = record;
    if (listIdentifier === null) return true;
    let records = this.#records.get(nexus);
    if (records === undefined) this.#records.set(nexus, (records = new Map<number, CopyRecord>()));
    if (records.get(listIdentifier)?.state === CopyState.RUNNING) return false;
    records.delete(listIdentifier);
    const finished = [...records.values()].filter(({ state }) => state !== CopyState.RUNNING);
    if (finished.length >= MAXIMUM_FINISHED) records.delete(finished[0]!.listIdentifier!);
    records.set(listIdentifier, record);
    return true;
  }

  find(nexus: Nexus, listIdentifier: number): CopyRecord | null {
    return this.#records.get(nexus)?.get(listIdentifier) ?? null;
  }

  forget(record: CopyRecord): void {
    const records = this.#records.get(record.nexus);
    if (records?.get(record.listIdentifier!) === record) records.delete(record.listIdentifier!);
  }

  /** I_T nexus loss: nobody can ask for the copies of `nexus` any more, nor does anybody answer for its tokens. */
  lost(nexus: Nexus): void {
    for (const record of this.#records.get(nexus)?.values() ?? []) record.isCancelled = true;
    this.#records.delete(nexus);
    for (const token of this.#tokens) if (token.nexus === nexus) this.#end(token);
  }

  /** A reset ends all copies, also those in the background. ROD tokens stay: the data does. */
  reset(): void {
    for (const nexus of this.#records.keys()) {
      for (const record of this.#records.get(nexus)!.values()) record.isCancelled = true;
    }
    this.#records.clear();
  }

  addToken(token: RodToken): void {
    this.#tokens.add(token);
    this.watches = true;
  }

  removeToken(token: RodToken): void {
    this.#tokens.delete(token);
    this.watches = this.#tokens.size > 0;
  }

  /** If `io` changes the bytes that it is for, or has changed them, what stands for them as they were is no good any more. */
  changing({ op, offset, length }: BlockIo): void {
    if (op !== BlockOp.WRITE && op !== BlockOp.UNMAP && op !== BlockOp.WRITE_ZEROES) return;
    for (const token of this.#tokens)
      if (token.hasExpired() || token.covers(offset, length)) this.#end(token);
  }

  revokeAll(): void {
    for (const token of this.#tokens) this.#end(token);
  }

  #end(token: RodToken): void {
    token.end(token.hasExpired() ? Sense.TOKEN_EXPIRED : Sense.TOKEN_REVOKED);
  }
}
