/** What a server serves: the common result of the command line and of the configuration file. */

import type {
  AccessStateName,
  Authentication,
  FailedLoginLimits,
  RecoveryOffer,
  RedirectOptions,
  TargetSecurity,
} from '../target/index.js';
import type { ServerAddress } from '../isns/index.js';
import { Secret } from '../util/secret.js';
import type { Portal } from './portal.js';

export type Provisioning = 'thin' | 'full';

/** What a logical unit's bytes are kept in. */
export type Medium =
  | {
      /** Absolute path of a disk image or a block device. */
      image: string;
      /** Bytes of the image that is made where there is none; an existing one keeps its size. */
      create?: number;
    }
  | {
      /** Bytes of a RAM disk. */
      memory: number;
    }
  | {
      /** The URI of an export of an NBD server. */
      nbd: string;
    };

export interface LunConfiguration {
  /** `cdrom`: a CD or DVD drive with the medium as its disc, which is read-only and removable. */
  type: 'disk' | 'cdrom';
  /** 0 to 255. */
  lun: number;
  medium: Medium;
  readOnly: boolean;
  removable: boolean;
  provisioning: Provisioning;
  /** Bytes; 2048 for a `cdrom` alone. */
  blockSize: 512 | 2048 | 4096;
  /** Bytes, at least blockSize; the block's own when absent. */
  physicalBlockSize?: number;
  /** Unit serial number; derived from the target's name and the LUN when absent. */
  serial?: string;
}

/** A target port group: portals that give the same access to a target. */
export interface PortGroupConfiguration {
  /** 1 to 65535. */
  group: number;
  portals: Portal[];
  state: AccessStateName;
  preferred: boolean;
}

/** Asymmetric logical unit access; see `AluaOptions` of riser/target. */
export interface AluaConfiguration {
  explicit: boolean;
  transitionTime: number;
  groups: PortGroupConfiguration[];
}

export interface TargetConfiguration extends TargetSecurity {
  /** The iSCSI name. */
  name: string;
  alias?: string;
  /** Absent: all portals give the same access. */
  alua?: AluaConfiguration;
  /** What initiators that ask for it may agree on. */
  recovery?: Partial<RecoveryOffer>;
  /** It is served elsewhere; its logical units are open here all the same. */
  redirect?: Required<RedirectOptions>;
  luns: LunConfiguration[];
}

/** Who gets in, as far as it is the same for all targets. */
export interface ServerSecurity {
  /** How those are authenticated who ask which targets there are; absent: they are not. */
  discoveryAuthentication?: Authentication;
  /** The server's own when absent. */
  failedLogins?: FailedLoginLimits;
}

export interface Configuration extends ServerSecurity {
  portals: Portal[];
  /** The iSNS server that is told of portals and targets. */
  isns?: ServerAddress;
  targets: TargetConfiguration[];
}

/** What a drive has by its nature, whatever disc is in it. */
export const CDROM = {
  type: 'cdrom',
  readOnly: true,
  removable: true,
  provisioning: 'full',
  blockSize: 2048,
} as const satisfies Partial<LunConfiguration>;

/** Whether two parts of configurations say the same. */
export function isSame(a: unknown, b: unknown): boolean {
  return canonical(a) === canonical(b);
}

/** JSON with keys in a fixed order. It has secrets in it, and goes nowhere. */
function canonical(value: unknown): string {
  return JSON.stringify(value, function (this: Record<string, unknown>, key, part: unknown) {
    // What a secret makes of itself in JSON is the same for all.
    const original = this[key];
    if (original instanceof Secret) return original.reveal().toString('hex');
    if (part === null || typeof part !== 'object' || Array.isArray(part)) return part;
    return Object.fromEntries(Object.entries(part).sort(([a], [b]) => (a < b ? -1 : 1)));
  });
}
