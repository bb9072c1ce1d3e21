/** Where registrations and a persistent reservation outlive the loss of power (APTPL; SPC-4 5.13.5). */

/** As JSON holds it. */
export interface SavedReservations {
  /** A persistent reservation's type (SPC-4 table 62); 0: there is none. */
  readonly type: number;
  readonly registrations: readonly SavedRegistration[];
}

export interface SavedRegistration {
  readonly initiatorPort: string;
  /** Null: every target port. */
  readonly relativeTargetPort: number | null;
  /** 16 hexadecimal digits. */
  readonly key: string;
  /** Whether it alone holds the reservation. */
  readonly isHolder: boolean;
}

export interface ReservationStore {
  /** What was kept when the store was opened; null: nothing. */
  readonly kept: SavedReservations | null;
  /**
   * Keep `reservations` in place of what was kept before, null: nothing. In the order of the calls; `kept` is called
   * later, when it is on stable storage, or with the reason why it cannot be: then what was kept before is still there.
   */
  keep(reservations: SavedReservations | null, kept: (cause: Error | null) => void): void;
}
