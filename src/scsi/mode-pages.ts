/**
 * Mode pages (SPC-4 7.5, SBC-3 6.4): the parameters that an initiator reads with MODE SENSE and, where
 * a bit is changeable, sets with MODE SELECT. Values are not saved: they last until a reset.
 */

import { putU16 } from '../util/fields.js';
import type { LogicalUnitConfiguration } from './configuration.js';
import { provisioningPageBytes, type ThresholdDescriptor } from './provisioning-thresholds.js';
import { CAPABILITIES, CAPABILITIES_LENGTH, LOCK_STATE } from './optical-disc.js';

/** One page: all values are whole pages with the header, PAGE CODE to PAGE LENGTH. */
export interface ModePage {
  readonly code: number;
  /** SUBPAGE CODE; 0 for a page in the page_0 format. */
  readonly subpage: number;
  readonly current: Buffer;
  /** A bit set for every bit that MODE SELECT may change; only the header is not a mask. */
  readonly changeable: Buffer;
  readonly default: Buffer;
}

/** PAGE CONTROL of MODE SENSE (SPC-4 table 150). */
export const PageControl = { CURRENT: 0, CHANGEABLE: 1, DEFAULT: 2, SAVED: 3 } as const;

export const ModePageCode = {
  READ_WRITE_ERROR_RECOVERY: 0x01,
  CACHING: 0x08,
  CONTROL: 0x0a,
  POWER_CONDITION: 0x1a,
  INFORMATIONAL_EXCEPTIONS_CONTROL: 0x1c,
  TIMEOUT_AND_PROTECT: 0x1d,
  CAPABILITIES: 0x2a,
  ALL: 0x3f,
} as const;

export const ModeSubpageCode = { NONE: 0x00, LOGICAL_BLOCK_PROVISIONING: 0x02, ALL: 0xff } as const;

/** SPF: the page has a subpage code. */
export const SPF = 0x40;

/** Caching page, byte 2. */
const WCE = 0x04;
/** Control page, byte 2, 3, 4 and 5. */
const D_SENSE = 0x04;
const UNRESTRICTED_REORDERING = 0x10;
const SWP = 0x08;
const TAS = 0x40;
/** Read-write error recovery page, byte 7: thresholds of logical block provisioning are notified of. */
const LBPERE = 0x80;
const LBPERE_BYTE = 7;
/** Informational exceptions control page, byte 2. */
const DEXCPT = 0x08;

export class ModePages {
  /** In ascending order of page code, as MODE SENSE returns them. */
  readonly pages: readonly ModePage[];
  /** WCE: writes may end in a volatile cache. */
  writeCacheEnabled = true;
  /** D_SENSE: sense data is in the descriptor format. */
  descriptorSense = false;
  /** SWP: the unit is write protected. */
  softwareWriteProtect = false;
  /** TAS: tasks that another nexus aborts end with TASK ABORTED. */
  taskAbortedStatus = false;
  /** LBPERE: what the thresholds of logical block provisioning are for. */
  thresholdNotification = false;
  /** The Logical Block Provisioning page, if there are thresholds. */
  readonly provisioning: ModePage | null;
  readonly #errorRecovery: ModePage;
  readonly #caching: ModePage;
  readonly #control: ModePage;
  readonly #capabilities: ModePage;

  /** `thresholds`: those of logical block provisioning that there are. */
  constructor(configuration: LogicalUnitConfiguration, thresholds: readonly ThresholdDescriptor[]) {
    this.#caching = page(ModePageCode.CACHING, 20, { 2: [configuration.writeCache ? WCE : 0, WCE] });
    this.#control = page(ModePageCode.CONTROL, 12, {
      2: [0, D_SENSE],
      3: [UNRESTRICTED_REORDERING, 0],
      4: [0, SWP],
      5: [0, TAS],
      // BUSY TIMEOUT PERIOD: unlimited.
      8: [0xff, 0],
      9: [0xff, 0],
    });
    const lbpere = thresholds.length > 0 ? LBPERE : 0;
    const errorRecovery = page(ModePageCode.READ_WRITE_ERROR_RECOVERY, 12, {
      [LBPERE_BYTE]: [lbpere, lbpere],
    });
    this.#errorRecovery = errorRecovery;
    this.provisioning = provisioningPage(thresholds);
    // Nothing predicts a failure, so no exception is ever reported.
    const exceptions = page(ModePageCode.INFORMATIONAL_EXCEPTIONS_CONTROL, 12, { 2: [DEXCPT, 0] });
    this.#capabilities = page(ModePageCode.CAPABILITIES, CAPABILITIES_LENGTH, CAPABILITIES);
    this.pages =
      configuration.type === 'disk'
        ? [
            errorRecovery,
            this.#caching,
            this.#control,
            exceptions,
            ...(this.provisioning === null ? [] : [this.provisioning]),
          ]
        : [
            errorRecovery,
            this.#control,
            // No timer runs: neither of these two pages has one.
            page(ModePageCode.POWER_CONDITION, 12, {}),
            exceptions,
            page(ModePageCode.TIMEOUT_AND_PROTECT, 10, {}),
            this.#capabilities,
          ];
    this.applied();
  }

  /** The page with this code and subpage code, or null. */
  find(code: number, subpage: number = ModeSubpageCode.NONE): ModePage | null {
    return this.pages.find((p) => p.code === code && p.subpage === subpage) ?? null;
  }

  /** What MODE SENSE asks for with these codes, each of which may be ALL (SPC-4 table 150). */
  matching(code: number, subpage: number): readonly ModePage[] {
    return this.pages.filter(
      (p) =>
        (code === ModePageCode.ALL || p.code === code) &&
        (subpage === ModeSubpageCode.ALL || p.subpage === subpage),
    );
  }

  /** A CD drive tells whether its tray is locked. */
  showLock(isLocked: boolean): void {
    const { current, default: unlocked } = this.#capabilities;
    current[6] = unlocked[6]! | (isLocked ? LOCK_STATE : 0);
  }

  /** Current values have been written: they hold from now on. */
  applied(): void {
    this.thresholdNotification = (this.#errorRecovery.current[LBPERE_BYTE]! & LBPERE) !== 0;
    this.writeCacheEnabled = (this.#caching.current[2]! & WCE) !== 0;
    this.descriptorSense = (this.#control.current[2]! & D_SENSE) !== 0;
    this.softwareWriteProtect = (this.#control.current[4]! & SWP) !== 0;
    this.taskAbortedStatus = (this.#control.current[5]! & TAS) !== 0;
  }

  /** A reset: all values are the defaults again (SPC-4 5.10). */
  reset(): void {
    for (const p of this.pages) p.default.copy(p.current);
    this.applied();
  }
}

function provisioningPage(thresholds: readonly ThresholdDescriptor[]): ModePage | null {
  if (thresholds.length === 0) return null;
  const { length, bytes } = provisioningPageBytes(thresholds);
  const { INFORMATIONAL_EXCEPTIONS_CONTROL } = ModePageCode;
  return page(INFORMATIONAL_EXCEPTIONS_CONTROL, length, bytes, ModeSubpageCode.LOGICAL_BLOCK_PROVISIONING);
}

/** A page of `length` bytes, header included, with [default, changeable] for the bytes that are not zero. */
function page(
  code: number,
  length: number,
  bytes: Record<number, [number, number]>,
  subpage: number = ModeSubpageCode.NONE,
): ModePage {
  const values = Buffer.alloc(length);
  const changeable = Buffer.alloc(length);
  for (const header of [values, changeable]) {
    header[0] = code;
    header[1] = length - 2;
    if (subpage === ModeSubpageCode.NONE) continue;
    header[0] |= SPF;
    header[1] = subpage;
    putU16(header, 2, length - 4);
  }
  for (const [at, [value, mask]] of Object.entries(bytes)) {
    values[Number(at)] = value;
    changeable[Number(at)] = mask;
  }
  return { code, subpage, current: Buffer.from(values), changeable, default: values };
}
