/**
 * The reservation of one logical unit by RESERVE(6) and RELEASE(6) (SPC-2 5.5.1, 7.21, 7.16): at most
 * one I_T nexus holds it, and it is gone when that nexus releases it, is lost, or anything is reset.
 */

import type { Nexus } from './nexus.js';

export class Reservations {
  /** Who holds the logical unit, or null. */
  holder: Nexus | null = null;

  /** Whether commands of `nexus` meet a conflict. */
  conflicts(nexus: Nexus): boolean {
    return this.holder !== null && this.holder !== nexus;
  }

  /** Reserve for `nexus`, which may hold the reservation already. False on conflict. */
  reserve(nexus: Nexus): boolean {
    if (this.conflicts(nexus)) return false;
    this.holder = nexus;
    return true;
  }

  /** Release what `nexus` holds; nothing happens when it holds nothing. */
  release(nexus: Nexus): void {
    if (this.holder === nexus) this.holder = null;
  }

  /** A reset. */
  clear(): void {
    this.holder = null;
  }
}
