/**
 * Who has reserved a logical unit: by RESERVE(6) and RELEASE(6), whose reservation one I_T nexus holds until it releases it, is
 * lost, or anything is reset (SPC-2 5.5.1, 7.21, 7.16); or by PERSISTENT RESERVE OUT. Never both: each refuses where the
 * other is in use.
 */

import type { Nexus } from './nexus.js';
import type { OperationTraits } from './operation.js';
import type { ReservationStore } from './reservation-store.js';
import { PersistentReservation, ReservationType, type TellRegistrant } from './persistent-reservation.js';

export class Reservations {
  /** Who has reserved by RESERVE(6), or null. */
  holder: Nexus | null = null;
  readonly persistent: PersistentReservation;

  constructor(tell: TellRegistrant, store: ReservationStore | null) {
    this.persistent = new PersistentReservation(tell, store);
  }

  /** Whether any command may meet a conflict. */
  get isReserved(): boolean {
    return this.holder !== null || this.persistent.type !== ReservationType.NONE;
  }

  /** Whether `operation` meets a conflict when it comes from `nexus`. */
  conflicts(nexus: Nexus, operation: OperationTraits): boolean {
    if (operation.ignoresReservation === true) return false;
    if (this.holder !== null) return this.holder !== nexus;
    if (operation.ignoresPersistentReservation === true) return false;
    return this.persistent.excludes(nexus, operation.readsMedium === true);
  }

  /** RESERVE(6) for `nexus`, which may hold the reservation already. False on conflict. */
  reserve(nexus: Nexus): boolean {
    if (this.persistent.registrations.length > 0) return false;
    if (this.holder !== null && this.holder !== nexus) return false;
    this.holder = nexus;
    return true;
  }

  /** Release what `nexus` has by RESERVE(6); nothing happens when that is nothing. False on conflict. */
  release(nexus: Nexus): boolean {
    if (this.persistent.registrations.length > 0) return false;
    this.lost(nexus);
    return true;
  }

  /** `nexus` is lost: what it has registered and reserved persistently stays. */
  lost(nexus: Nexus): void {
    if (this.holder === nexus) this.holder = null;
  }

  /** A reset. */
  clear(): void {
    this.holder = null;
  }
}
