/**
 * The persistent reservation of one logical unit, and who is registered for it (SPC-4 5.13). It outlives the loss of
 * nexuses, and resets.
 */

import type { Nexus } from './nexus.js';
import type { ReservationStore, SavedReservations } from './reservation-store.js';
import { Sense, type SenseCode } from './sense.js';
import { Status } from './status.js';

/** Types of a persistent reservation (SPC-4 table 62). */
export const ReservationType = {
  NONE: 0,
  WRITE_EXCLUSIVE: 1,
  EXCLUSIVE_ACCESS: 3,
  WRITE_EXCLUSIVE_REGISTRANTS_ONLY: 5,
  EXCLUSIVE_ACCESS_REGISTRANTS_ONLY: 6,
  WRITE_EXCLUSIVE_ALL_REGISTRANTS: 7,
  EXCLUSIVE_ACCESS_ALL_REGISTRANTS: 8,
} as const;
export type ReservationType = (typeof ReservationType)[keyof typeof ReservationType];

const { NONE, WRITE_EXCLUSIVE, EXCLUSIVE_ACCESS } = ReservationType;
const { WRITE_EXCLUSIVE_REGISTRANTS_ONLY, WRITE_EXCLUSIVE_ALL_REGISTRANTS } = ReservationType;

/** Null for what is no type. */
export function reservationTypeOf(value: number): ReservationType | null {
  const types: readonly number[] = Object.values(ReservationType);
  return value !== NONE && types.includes(value) ? (value as ReservationType) : null;
}

/** Whether others may read. */
function isWriteExclusive(type: ReservationType): boolean {
  return (
    type === WRITE_EXCLUSIVE ||
    type === WRITE_EXCLUSIVE_REGISTRANTS_ONLY ||
    type === WRITE_EXCLUSIVE_ALL_REGISTRANTS
  );
}

/** Whether everybody who is registered has access. */
function admitsRegistrants(type: ReservationType): boolean {
  return type !== NONE && type !== WRITE_EXCLUSIVE && type !== EXCLUSIVE_ACCESS;
}

/** Whether everybody who is registered holds it. */
export function isOfAllRegistrants(type: ReservationType): boolean {
  return type >= WRITE_EXCLUSIVE_ALL_REGISTRANTS;
}

/** One I_T nexus that is registered, or all those of an initiator port. */
export interface Registration {
  readonly initiatorPort: string;
  /** Null: every target port (ALL_TG_PT). */
  readonly relativeTargetPort: number | null;
  /** 64 bits, not 0. */
  key: bigint;
}

export function isRegistrationOf(registration: Registration, nexus: Nexus): boolean {
  const { initiatorPort, relativeTargetPort } = registration;
  return (
    initiatorPort === nexus.initiatorPort &&
    (relativeTargetPort === null || relativeTargetPort === nexus.relativeTargetPort)
  );
}

/** GOOD, RESERVATION CONFLICT, or what is wrong. Unless it is GOOD nothing has changed. */
export type ReservationOutcome = Status | SenseCode;

const { GOOD, RESERVATION_CONFLICT } = Status;

export interface RegisterOptions {
  allTargetPorts: boolean;
  others: readonly string[];
  persists: boolean;
}

/** Has whom a registration stands for hear of something by unit attention. */
export type TellRegistrant = (registration: Registration, condition: SenseCode) => void;

export class PersistentReservation {
  /** PRGENERATION: counts changes of the registrations, from 0 at power on (SPC-4 5.13.5.2). */
  generation = 0;
  type: ReservationType = NONE;
  readonly #registrations: Registration[] = [];
  /** Null where there is no reservation, and where everybody holds it. */
  #holder: Registration | null = null;
  readonly #tell: TellRegistrant;
  readonly #store: ReservationStore | null;
  #persists = false;
  /** There may be something in it. */
  #isStoreUsed = false;

  /** Takes up what `store` has kept; without one nothing outlives the loss of power. */
  constructor(tell: TellRegistrant, store: ReservationStore | null) {
    this.#tell = tell;
    this.#store = store;
    if (store !== null && store.kept !== null) this.#restore(store.kept);
  }

  /** Whether it can be kept over the loss of power (PTPL_C). */
  get mayPersist(): boolean {
    return this.#store !== null;
  }

  /** Whether it is (PTPL_A): the last registration asked for it (APTPL). */
  get persists(): boolean {
    return this.#persists;
  }

  /** In the order in which they came. */
  get registrations(): readonly Registration[] {
    return this.#registrations;
  }

  find(nexus: Nexus): Registration | null {
    for (const registration of this.#registrations)
      if (isRegistrationOf(registration, nexus)) return registration;
    return null;
  }

  holds(registration: Registration): boolean {
    return registration === this.#holder || isOfAllRegistrants(this.type);
  }

  /** READ RESERVATION's key: 0 where everybody holds it (SPC-4 6.15.3). */
  get holderKey(): bigint {
    return this.#holder?.key ?? 0n;
  }

  /** Whether a command of `nexus` meets a conflict; `reads`: it only reads the medium (SPC-4 tables 60 and 61, SBC-3 table 13). */
  excludes(nexus: Nexus, reads: boolean): boolean {
    if (this.type === NONE || (reads && isWriteExclusive(this.type))) return false;
    const registration = this.find(nexus);
    return registration === null || !(registration === this.#holder || admitsRegistrants(this.type));
  }

  // ---- PERSISTENT RESERVE OUT ----

  /**
   * REGISTER, and REGISTER AND IGNORE EXISTING KEY where `key` is null (SPC-4 5.13.7): a `newKey` of 0 unregisters.
   * `others`: initiator ports that are registered, too (SPEC_I_PT). `persists`: APTPL.
   */
  register(
    nexus: Nexus,
    key: bigint | null,
    newKey: bigint,
    { allTargetPorts, others, persists }: RegisterOptions,
  ): ReservationOutcome {
    const own = this.find(nexus);
    if (key !== null && key !== (own?.key ?? 0n)) return RESERVATION_CONFLICT;
    if (own !== null && others.length > 0) return Sense.INVALID_FIELD_IN_PARAMETER_LIST;
    if (own === null && newKey === 0n) return GOOD;
    const ports = [nexus.initiatorPort, ...others];
    const isTwice = new Set(ports).size < ports.length;
    if (isTwice || others.some((initiatorPort) => this.find({ ...nexus, initiatorPort }) !== null))
      return Sense.INVALID_FIELD_IN_PARAMETER_LIST;
    this.#changed();
    this.#persists = persists;
    if (own === null) {
      for (const port of ports) this.#add(port, allTargetPorts ? null : nexus.relativeTargetPort, newKey);
    } else if (newKey === 0n) {
      this.#unregister(own);
    } else {
      own.key = newKey;
    }
    return GOOD;
  }

  /** SPC-4 5.13.9 */
  reserve(nexus: Nexus, key: bigint, type: ReservationType): ReservationOutcome {
    const own = this.find(nexus);
    if (own?.key !== key) return RESERVATION_CONFLICT;
    if (this.type !== NONE) return this.holds(own) && this.type === type ? GOOD : RESERVATION_CONFLICT;
    this.#hold(own, type);
    return GOOD;
  }

  /** SPC-4 5.13.11.2.2: who holds nothing may release it all the same. */
  release(nexus: Nexus, key: bigint, type: ReservationType | null): ReservationOutcome {
    const own = this.find(nexus);
    if (own?.key !== key) return RESERVATION_CONFLICT;
    if (this.type === NONE || !this.holds(own)) return GOOD;
    if (this.type !== type) return Sense.INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
    const isNews = admitsRegistrants(this.type);
    this.#hold(null, NONE);
    if (isNews) this.#tellAll(Sense.RESERVATIONS_RELEASED, own);
    return GOOD;
  }

  /** SPC-4 5.13.11.2.6 */
  clear(nexus: Nexus, key: bigint): ReservationOutcome {
    const own = this.find(nexus);
    if (own?.key !== key) return RESERVATION_CONFLICT;
    this.#changed();
    this.#tellAll(Sense.RESERVATIONS_PREEMPTED, own);
    this.#registrations.length = 0;
    this.#hold(null, NONE);
    return GOOD;
  }

  /**
   * PREEMPT, and the first half of PREEMPT AND ABORT (SPC-4 5.13.11.2.4): those registered with `otherKey` are no more, and
   * their reservation is the caller's with the new `type`. `removed` takes whom it was about, the caller among them if
   * the key is its own; the caller stays registered.
   */
  preempt(
    nexus: Nexus,
    key: bigint,
    otherKey: bigint,
    type: ReservationType | null,
    removed: Registration[],
  ): ReservationOutcome {
    const own = this.find(nexus);
    if (own?.key !== key) return RESERVATION_CONFLICT;
    const ofAll = isOfAllRegistrants(this.type);
    const takesOver = this.type !== NONE && (ofAll ? otherKey === 0n : otherKey === this.#holder!.key);
    if (otherKey === 0n && !ofAll) return Sense.INVALID_FIELD_IN_PARAMETER_LIST;
    if (takesOver && type === null) return Sense.INVALID_FIELD_IN_CDB;
    for (const registration of this.#registrations)
      if (takesOver && ofAll ? registration !== own : registration.key === otherKey)
        removed.push(registration);
    if (removed.length === 0 && !takesOver) return RESERVATION_CONFLICT;
    this.#changed();
    const hadType = this.type;
    for (const registration of removed) {
      if (registration === own) continue;
      this.#remove(registration);
      this.#tell(registration, Sense.REGISTRATIONS_PREEMPTED);
    }
    if (!takesOver) return GOOD;
    this.#hold(own, type!);
    if (type !== hadType) this.#tellAll(Sense.RESERVATIONS_RELEASED, own);
    return GOOD;
  }

  /**
   * REGISTER AND MOVE (SPC-4 5.13.8): the reservation goes on to another nexus, which gets `newKey`, not 0. `unregisters`:
   * the caller's registration ends.
   */
  move(
    nexus: Nexus,
    key: bigint,
    newKey: bigint,
    to: { initiatorPort: string; relativeTargetPort: number },
    { unregisters, persists }: { unregisters: boolean; persists: boolean },
  ): ReservationOutcome {
    const own = this.find(nexus);
    if (own?.key !== key) return RESERVATION_CONFLICT;
    if (this.type === NONE) return Sense.INVALID_FIELD_IN_CDB;
    if (this.#holder !== own) return RESERVATION_CONFLICT;
    const target = { ...nexus, ...to };
    if (isRegistrationOf(own, target)) return Sense.INVALID_FIELD_IN_PARAMETER_LIST;
    this.#changed();
    this.#persists = persists;
    const other = this.find(target);
    if (other !== null) other.key = newKey;
    this.#holder = other ?? this.#add(to.initiatorPort, to.relativeTargetPort, newKey);
    if (unregisters) this.#remove(own);
    return GOOD;
  }

  // ---- over the loss of power ----

  /** Keep what there is now, where the initiators want that; true when there is nothing to do, else `kept` tells. */
  save(kept: (cause: Error | null) => void): boolean {
    this.#isStoreUsed ||= this.#persists;
    if (this.#store === null || !this.#isStoreUsed) return true;
    this.#store.keep(this.#persists ? this.#saved() : null, kept);
    return false;
  }

  #saved(): SavedReservations {
    const registrations = this.#registrations.map((registration) => ({
      initiatorPort: registration.initiatorPort,
      relativeTargetPort: registration.relativeTargetPort,
      key: registration.key.toString(16).padStart(16, '0'),
      isHolder: registration === this.#holder,
    }));
    return { type: this.type, registrations };
  }

  #restore({ type, registrations }: SavedReservations): void {
    for (const { initiatorPort, relativeTargetPort, key, isHolder } of registrations) {
      const registration = { initiatorPort, relativeTargetPort, key: BigInt(`0x${key}`) };
      this.#registrations.push(registration);
      if (isHolder) this.#holder = registration;
    }
    this.type = reservationTypeOf(type) ?? NONE;
    this.#persists = true;
    this.#isStoreUsed = true;
  }

  // ---- changes ----

  #changed(): void {
    this.generation = (this.generation + 1) >>> 0;
  }

  #hold(holder: Registration | null, type: ReservationType): void {
    this.type = type;
    this.#holder = isOfAllRegistrants(type) ? null : holder;
  }

  /** One for all target ports takes the place of those for some. */
  #add(initiatorPort: string, relativeTargetPort: number | null, key: bigint): Registration {
    const added = { initiatorPort, relativeTargetPort, key };
    for (const old of [...this.#registrations]) {
      if (relativeTargetPort !== null || old.initiatorPort !== initiatorPort) continue;
      this.#remove(old);
      if (old === this.#holder) this.#holder = added;
    }
    this.#registrations.push(added);
    return added;
  }

  #remove(registration: Registration): void {
    this.#registrations.splice(this.#registrations.indexOf(registration), 1);
  }

  /** A reservation goes with its holder, or with the last of all that hold it (SPC-4 5.13.11.2.3). */
  #unregister(own: Registration): void {
    this.#remove(own);
    const isReleased = isOfAllRegistrants(this.type)
      ? this.#registrations.length === 0
      : own === this.#holder;
    if (!isReleased) return;
    const isNews = admitsRegistrants(this.type);
    this.#hold(null, NONE);
    if (isNews) this.#tellAll(Sense.RESERVATIONS_RELEASED, own);
  }

  #tellAll(condition: SenseCode, except: Registration): void {
    for (const registration of this.#registrations)
      if (registration !== except) this.#tell(registration, condition);
  }
}
