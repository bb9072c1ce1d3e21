/**
 * The removable medium of a logical unit: whether it is in, and who forbids to take it out
 * (SPC-4 6.15 PREVENT ALLOW MEDIUM REMOVAL, SBC-3 5.25 START STOP UNIT). A disk that is not removable always has
 * its medium.
 */

import type { Nexus } from './nexus.js';

/** What happened to the medium, by the codes of GET EVENT STATUS NOTIFICATION of MMC-6. */
export const MediaEvent = { NONE: 0, NEW_MEDIA: 2, MEDIA_REMOVAL: 3 } as const;
export type MediaEvent = (typeof MediaEvent)[keyof typeof MediaEvent];

export class RemovableMedium {
  readonly isRemovable: boolean;
  #isPresent = true;
  readonly #preventing = new Set<Nexus>();
  /** Those whose prevention is persistent (MMC-6). */
  readonly #preventingPersistently = new Set<Nexus>();
  /** The latest event that a nexus has not asked for yet. */
  readonly #events = new Map<Nexus, MediaEvent>();
  /** Those that have not asked yet since the features of the drive became others. */
  readonly #featureChanges = new Set<Nexus>();

  constructor(isRemovable: boolean) {
    this.isRemovable = isRemovable;
  }

  /** Whether it is in the drive. */
  get isPresent(): boolean {
    return this.#isPresent;
  }

  /** It is taken out; each of `nexuses` can ask for the event. */
  eject(nexuses: Iterable<Nexus>): void {
    if (!this.#isPresent) return;
    this.#isPresent = false;
    this.#happened(MediaEvent.MEDIA_REMOVAL, nexuses);
  }

  /** It, or another one, is put in. */
  load(nexuses: Iterable<Nexus>): void {
    this.#isPresent = true;
    this.#happened(MediaEvent.NEW_MEDIA, nexuses);
  }

  /** The event that `nexus` hears next; it is over with {@link takeEvent}. */
  peekEvent(nexus: Nexus): MediaEvent {
    return this.#events.get(nexus) ?? MediaEvent.NONE;
  }

  takeEvent(nexus: Nexus): void {
    this.#events.delete(nexus);
  }

  hasFeatureChange(nexus: Nexus): boolean {
    return this.#featureChanges.has(nexus);
  }

  takeFeatureChange(nexus: Nexus): void {
    this.#featureChanges.delete(nexus);
  }

  /** Whether any nexus forbids to move the medium. */
  get isRemovalPrevented(): boolean {
    return this.#preventing.size > 0 || this.isPersistentlyPrevented;
  }

  get isPersistentlyPrevented(): boolean {
    return this.#preventingPersistently.size > 0;
  }

  prevent(nexus: Nexus, persistently = false): void {
    this.#preventers(persistently).add(nexus);
  }

  allow(nexus: Nexus, persistently = false): void {
    this.#preventers(persistently).delete(nexus);
  }

  /** A nexus is gone, with all that was its own. */
  removeNexus(nexus: Nexus): void {
    this.#preventing.delete(nexus);
    this.#preventingPersistently.delete(nexus);
    this.#events.delete(nexus);
    this.#featureChanges.delete(nexus);
  }

  /** A reset: every nexus allows again (SBC-3 4.13). */
  allowAll(): void {
    this.#preventing.clear();
    this.#preventingPersistently.clear();
  }

  #preventers(persistently: boolean): Set<Nexus> {
    return persistently ? this.#preventingPersistently : this.#preventing;
  }

  #happened(event: MediaEvent, nexuses: Iterable<Nexus>): void {
    for (const nexus of nexuses) {
      this.#events.set(nexus, event);
      this.#featureChanges.add(nexus);
    }
  }
}
