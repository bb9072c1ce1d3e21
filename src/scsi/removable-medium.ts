/**
 * The removable medium of a logical unit: whether it is in, and who forbids to take it out
 * (SPC-4 6.15 PREVENT ALLOW MEDIUM REMOVAL, SBC-3 5.25 START STOP UNIT). A disk that is not removable always has
 * its medium.
 */

import type { Nexus } from './nexus.js';

export class RemovableMedium {
  readonly isRemovable: boolean;
  /** Whether it is in the drive. */
  isPresent = true;
  readonly #preventing = new Set<Nexus>();

  constructor(isRemovable: boolean) {
    this.isRemovable = isRemovable;
  }

  /** Whether any nexus forbids to move the medium. */
  get isRemovalPrevented(): boolean {
    return this.#preventing.size > 0;
  }

  prevent(nexus: Nexus): void {
    this.#preventing.add(nexus);
  }

  allow(nexus: Nexus): void {
    this.#preventing.delete(nexus);
  }

  /** A reset: every nexus allows again (SBC-3 4.13). */
  allowAll(): void {
    this.#preventing.clear();
  }
}
