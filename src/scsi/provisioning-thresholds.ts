/**
 * Thresholds of logical block provisioning (SBC-3 4.7.3.7): when the data of a thin unit takes more room than one says, or less is
 * left for it, every I_T nexus is told by a unit attention. Initiators set them in the Logical Block Provisioning mode page.
 *
 * The device is asked once for every threshold set of bytes that was written, and after each command that changes more of the medium
 * than it transfers. What others take of the same room is seen then, too.
 */

import type { BlockDevice, Space } from '../block/device.js';
import { getU32 } from '../util/fields.js';
import type { ModePages } from './mode-pages.js';
import { Sense, type SenseCode } from './sense.js';
import { Counted } from './statistics.js';
import type { Task } from './task.js';

/** Bytes of a threshold set, in which resources are counted. */
export const THRESHOLD_SET_BYTES = 1 << 20;

/** THRESHOLD EXPONENT of page B2h for blocks of `blockSize` bytes. */
export function thresholdExponent(blockSize: number): number {
  return Math.log2(THRESHOLD_SET_BYTES / blockSize);
}

/** THRESHOLD RESOURCE, which is also the parameter code in the Logical Block Provisioning log page. */
export const ThresholdResource = { AVAILABLE: 0x01, USED: 0x02 } as const;
export type ThresholdResource = (typeof ThresholdResource)[keyof typeof ThresholdResource];

/** THRESHOLD ARMING: the notification comes as the resource decreases, or increases. */
const ARMED_INCREASING = 0x01;

/** One threshold of the mode page. */
export interface ThresholdDescriptor {
  readonly resource: ThresholdResource;
  readonly isIncreasing: boolean;
}

/** The thresholds that a unit has whose device tells `space`. */
export function thresholdsFor(space: Space | null): readonly ThresholdDescriptor[] {
  if (space === null) return [];
  const used = { resource: ThresholdResource.USED, isIncreasing: true };
  if (space.available === null) return [used];
  return [{ resource: ThresholdResource.AVAILABLE, isIncreasing: false }, used];
}

// ---- the Logical Block Provisioning mode page (SBC-3) ----

const FIRST_DESCRIPTOR = 16;
const DESCRIPTOR_LENGTH = 8;
const ENABLED = 0x80;
const COUNT = 4;

/** The page's length, and [default, changeable] for the bytes of it that are not zero: all thresholds are disabled at first. */
export function provisioningPageBytes(thresholds: readonly ThresholdDescriptor[]): {
  length: number;
  bytes: Record<number, [number, number]>;
} {
  const bytes: Record<number, [number, number]> = {};
  thresholds.forEach(({ resource, isIncreasing }, i) => {
    const at = descriptorAt(i);
    bytes[at] = [isIncreasing ? ARMED_INCREASING : 0, ENABLED];
    bytes[at + 1] = [resource, 0];
    for (let byte = 0; byte < 4; byte++) bytes[at + COUNT + byte] = [0, 0xff];
  });
  return { length: descriptorAt(thresholds.length), bytes };
}

function descriptorAt(index: number): number {
  return FIRST_DESCRIPTOR + DESCRIPTOR_LENGTH * index;
}

// ---- what watches them ----

/** A threshold that is in the page. */
interface Watched extends ThresholdDescriptor {
  /** Of its descriptor. */
  readonly offset: number;
  readonly condition: SenseCode;
  /** Whether the next crossing is news: it has not been crossed, or what it is about came back since. */
  isArmed: boolean;
}

export class ProvisioningThresholds {
  /** Whether any threshold is enabled; until then nothing is done after a write. */
  isWatching = false;
  readonly #modePages: ModePages;
  readonly #device: BlockDevice;
  readonly #reached: (condition: SenseCode) => void;
  readonly #watched: readonly Watched[];
  /** Bytes written since the device was asked. */
  #written = 0;

  /** `reached` is called with the unit attention condition when a threshold is. */
  constructor(
    thresholds: readonly ThresholdDescriptor[],
    modePages: ModePages,
    device: BlockDevice,
    reached: (condition: SenseCode) => void,
  ) {
    this.#modePages = modePages;
    this.#device = device;
    this.#reached = reached;
    this.#watched = thresholds.map((threshold, i) => {
      const offset = descriptorAt(i);
      const condition = { ...Sense.THIN_PROVISIONING_SOFT_THRESHOLD_REACHED, information: offset };
      return { ...threshold, offset, condition, isArmed: true };
    });
  }

  /** Mode pages have been set: all that is beyond its threshold now is news. */
  set(): void {
    for (const watched of this.#watched) watched.isArmed = true;
    const { provisioning, thresholdNotification } = this.#modePages;
    this.isWatching =
      thresholdNotification &&
      this.#watched.some(({ offset }) => (provisioning!.current[offset]! & ENABLED) !== 0);
    if (this.isWatching) this.#check();
  }

  /** `task`, which changes the medium, has ended well. */
  changed(task: Task): void {
    const isTransferred = task.operation!.counted === Counted.WRITE;
    this.#written += isTransferred ? task.transferLength : THRESHOLD_SET_BYTES;
    if (this.#written >= THRESHOLD_SET_BYTES) this.#check();
  }

  #check(): void {
    this.#written = 0;
    const space = this.#device.space?.() ?? null;
    if (space === null) return;
    const page = this.#modePages.provisioning!.current;
    for (const watched of this.#watched) {
      const { resource, isIncreasing, offset } = watched;
      const bytes = resource === ThresholdResource.USED ? space.used : space.available;
      if ((page[offset]! & ENABLED) === 0 || bytes === null) continue;
      const beyond = bytes / THRESHOLD_SET_BYTES - getU32(page, offset + COUNT);
      const excess = isIncreasing ? beyond : -beyond;
      // The range of a threshold is one set, with the count as its middle (SBC-3 4.7.3.7.2): back before it, it is armed again.
      if (excess < -0.5) {
        watched.isArmed = true;
      } else if (excess >= 0 && watched.isArmed) {
        watched.isArmed = false;
        this.#reached(watched.condition);
      }
    }
  }
}
