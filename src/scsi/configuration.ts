/** What a logical unit is configured to be: its names, its kind of provisioning, its protection. */

import type { Identity } from './identity.js';
import type { ReservationStore } from './reservation-store.js';
import { SYMMETRIC_ACCESS, type TargetPortGroups } from './target-port-groups.js';
import type { CopyManager } from './third-party-copy/copy-manager.js';
import type { SanitizeStore } from './sanitize-store.js';

/** Everything about a logical unit that does not change while it is served. Limits of commands are in `limits.ts`. */
export interface LogicalUnitConfiguration {
  /** `disk`: a direct access block device. `cdrom`: a CD or DVD drive, with the device as the disc in it. */
  readonly type: 'disk' | 'cdrom';
  readonly identity: Identity;
  /** `thin`: UNMAP gives space back, and initiators are told so. `full`: no command unmaps. */
  readonly provisioning: 'thin' | 'full';
  /** Refuses writes although the device may take them. */
  readonly readOnly: boolean;
  /** Has a medium that START STOP UNIT ejects and loads. */
  readonly removable: boolean;
  /** Bytes of a physical block, a power of two times the logical block; initiators align what they write to it. Null: the logical block's. */
  readonly physicalBlockSize: number | null;
  /** T10 vendor identification, at most 8 printable ASCII characters. */
  readonly vendor: string;
  /** Product identification, at most 16 printable ASCII characters. */
  readonly product: string;
  /** Product revision level, at most 4 printable ASCII characters. */
  readonly revision: string;
  /** WCE of the caching page at the start and after a reset. */
  readonly writeCache: boolean;
  /** Commands that the task set holds; one more gets TASK SET FULL. */
  readonly taskSetLimit: number;
  /** Keeps persistent reservations over the loss of power; null: nothing does, and APTPL is refused. */
  readonly reservationStore: ReservationStore | null;
  /** Asymmetric access, the same object for all logical units of a target; by default there is none. */
  readonly targetPortGroups: TargetPortGroups;
  /** Carries out EXTENDED COPY and the commands of ROD tokens; null: there are none of them. */
  readonly copyManager: CopyManager | null;
  /** Keeps a sanitize operation over the loss of power; null: nothing does, and it ends with the server. */
  readonly sanitizeStore: SanitizeStore | null;
  /** Has a call made later, when others have had their turn, and after `delay` milliseconds: work in the background goes on by it. */
  readonly runLater: (call: () => void, delay?: number) => void;
  /** Milliseconds since some moment, only ever forward: what times are taken by. By default time stands still. */
  readonly now: () => number;
}

/** What has to be said about a logical unit, and what may be. */
export type LogicalUnitOptions = Pick<LogicalUnitConfiguration, 'identity'> &
  Partial<LogicalUnitConfiguration>;

export const DEFAULT_CONFIGURATION: Omit<LogicalUnitConfiguration, 'identity'> = {
  type: 'disk',
  provisioning: 'thin',
  readOnly: false,
  removable: false,
  physicalBlockSize: null,
  vendor: 'RISER',
  product: 'Disk',
  revision: '0.1',
  writeCache: true,
  taskSetLimit: 4096,
  reservationStore: null,
  targetPortGroups: SYMMETRIC_ACCESS,
  copyManager: null,
  sanitizeStore: null,
  runLater: (call) => call(),
  now: () => 0,
};

/** What a CD or DVD drive is by its nature. */
const CDROM: Partial<LogicalUnitConfiguration> = {
  provisioning: 'full',
  readOnly: true,
  removable: true,
  product: 'DVD-ROM',
  writeCache: false,
};

/** `options`, with the defaults of the unit's type. */
export function completeConfiguration(options: LogicalUnitOptions): LogicalUnitConfiguration {
  return { ...DEFAULT_CONFIGURATION, ...(options.type === 'cdrom' ? CDROM : {}), ...options };
}
