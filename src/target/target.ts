/** A target: a name, its logical units, and the sessions that use it. */

import type { BlockDevice } from '../block/index.js';
import {
  ACCESS_STATES,
  AccessState,
  type AccessStateName,
  AccessStatus,
  type CopyManager,
  deriveIdentity,
  DISC_BLOCK_SIZE,
  LogicalUnit,
  type LogicalUnitEvents,
  LogicalUnitInventory,
  MAX_LUN,
  type ReservationStore,
  Sense,
  TargetPortGroups,
  type SanitizeStore,
} from '../scsi/index.js';
import type { RecoveryOffer } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { AccessList, type AccessRule } from './access.js';
import { type Authentication, ChapUsers } from './authentication.js';
import { parseRedirect, type Redirect, type RedirectOptions } from './redirect.js';

/** Who may use a target, and how it is made sure of. */
export interface TargetSecurity {
  /** Rules, of which the first that fits decides; whom none fits sees no such target. Absent: everybody may. */
  access?: readonly AccessRule[];
  /** Absent: initiators need not prove who they are. */
  authentication?: Authentication;
}

/** A target port group: the portals that share one access state. */
export interface PortGroupOptions {
  /** TARGET PORT GROUP, 1 to 65535. */
  group: number;
  /** Portal group tags, as given to `listen`; each in one group only. */
  portals: readonly number[];
  /** Active/optimized by default. */
  state?: AccessStateName;
  preferred?: boolean;
}

/** Asymmetric logical unit access (SPC-4 5.15). Portals that are in no group do not lead to the target. */
export interface AluaOptions {
  groups: readonly PortGroupOptions[];
  /** Whether initiators may change states (SET TARGET PORT GROUPS); no by default. */
  explicit?: boolean;
  /** IMPLICIT TRANSITION TIME: how long initiators wait for the end of `transitioning`, seconds, 0 to 255; 0, the default: not told. */
  transitionTime?: number;
}

export interface TargetOptions extends TargetSecurity {
  /** iSCSI name (RFC 7143 4.2.7), normalised. */
  name: string;
  /** Shown to initiators (TargetAlias), at most 255 bytes of UTF-8. */
  alias?: string;
  /** Absent: all portals give the same access. */
  alua?: AluaOptions;
  /** What initiators that ask for it may agree on; nothing but new sessions by default. */
  recovery?: Partial<RecoveryOffer>;
  /** It is served elsewhere. Absent: here. */
  redirect?: RedirectOptions;
}

export interface LunOptions {
  /** The medium. Closing it stays with the caller, after the LUN or the target has been removed. */
  device: BlockDevice;
  /** `cdrom`: a CD or DVD drive with the device, of 2048-byte blocks, as its disc. It has no choice about the rest but `serial`. Default: disk. */
  type?: 'disk' | 'cdrom';
  /** Default: thin, if the device can give space back. */
  provisioning?: 'thin' | 'full';
  readOnly?: boolean;
  removable?: boolean;
  /** Bytes, 512 to 65536, a power of two no smaller than a logical block. Default: the logical block's. */
  physicalBlockSize?: number;
  /** Unit serial number; default: derived from the target's name, the LUN and the device's description. */
  serial?: string;
  /** Keeps persistent reservations over restarts and the loss of power; default: nothing does. */
  reservations?: ReservationStore;
  /** Keeps a sanitize operation over restarts and the loss of power; default: nothing does. */
  sanitize?: SanitizeStore;
}

/** {@link TargetSecurity}, checked. */
interface CompiledSecurity {
  readonly access: AccessList;
  /** Null: nobody is authenticated. */
  readonly users: ChapUsers | null;
}

function compile({ access, authentication }: TargetSecurity): CompiledSecurity {
  const users = authentication === undefined ? null : new ChapUsers(authentication);
  return { access: new AccessList(access ?? null, users?.names ?? null), users };
}

function notADisc({ description, blockSize }: BlockDevice): RiserError {
  const message = `${description} has blocks of ${blockSize} bytes, and a disc has ${DISC_BLOCK_SIZE}`;
  return new RiserError('BLOCK_SIZE_INVALID', message, { by: 'local', costs: 'task' });
}

/** DefaultTime2Retain where nothing is said of it and there is something to retain, seconds (RFC 7143 13.16). */
const TIME2RETAIN = 20;

function withTime2Retain(recovery: Partial<RecoveryOffer>): Partial<RecoveryOffer> {
  return recovery.errorRecoveryLevel === 2 ? { defaultTime2Retain: TIME2RETAIN, ...recovery } : recovery;
}

const PHYSICAL_BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

export class Target {
  readonly name: string;
  readonly alias: string | null;
  readonly inventory: LogicalUnitInventory;
  readonly portGroups: TargetPortGroups;
  readonly recovery: Partial<RecoveryOffer>;
  readonly #log: Logger;
  /** Ends the sessions that came by portals of these tags; null: by any. */
  readonly #endSessions: (portals: readonly number[] | null) => void;
  readonly #copyManager: CopyManager;
  #security: CompiledSecurity;
  #redirect: Redirect | null;

  /** @throws RiserError `ACCESS_RULE`, `AUTHENTICATION`, `REDIRECT` */
  constructor(
    options: TargetOptions,
    copyManager: CopyManager,
    log: Logger,
    endSessions: (portals: readonly number[] | null) => void,
  ) {
    this.name = options.name;
    this.alias = options.alias ?? null;
    this.inventory = new LogicalUnitInventory();
    this.#copyManager = copyManager;
    this.recovery = withTime2Retain(options.recovery ?? {});
    this.#log = log;
    this.#endSessions = endSessions;
    this.#security = compile(options);
    this.#redirect = options.redirect === undefined ? null : parseRedirect(options.redirect);
    const { groups = [], ...rest } = options.alua ?? {};
    this.portGroups = new TargetPortGroups({
      ...rest,
      groups: groups.map(({ group, portals, state = 'active/optimized', preferred = false }) => ({
        id: group,
        ports: portals,
        state: ACCESS_STATES[state],
        preferred,
      })),
    });
  }

  /**
   * Admit others from now on. Sessions that there are go on; a login under way ends by the rules it began with.
   *
   * @throws RiserError `ACCESS_RULE`, `AUTHENTICATION`; then nothing has changed
   */
  secure(security: TargetSecurity): void {
    this.#security = compile(security);
  }

  /** Whether a portal leads to the target. */
  hasPortal(portalGroupTag: number): boolean {
    return this.portGroups.groups.length === 0 || this.portGroups.groupOf(portalGroupTag) !== null;
  }

  /** Whether it is in a group that is offline. */
  isOffline(portalGroupTag: number): boolean {
    return this.portGroups.groupOf(portalGroupTag)?.state === AccessState.OFFLINE;
  }

  /** Bring a target port group into another state: initiators hear of it by a unit attention. Going offline ends its sessions. */
  setPortGroup(group: number, { state, preferred }: { state?: AccessStateName; preferred?: boolean }): void {
    const { portGroups } = this;
    if (preferred !== undefined) portGroups.prefer(group, preferred);
    if (state === undefined) return;
    if (!portGroups.change(new Map([[group, ACCESS_STATES[state]]]), AccessStatus.IMPLICIT)) return;
    for (const { unitAttentions } of this.inventory.units)
      unitAttentions.establishForAll(Sense.ASYMMETRIC_ACCESS_STATE_CHANGED);
    if (state === 'offline') this.#endSessions(portGroups.groups.find(({ id }) => id === group)!.ports);
  }

  /**
   * Send initiators elsewhere from now on; null: serve them here again. Sessions that there are end, so that their initiators follow.
   *
   * @throws RiserError `REDIRECT`; then nothing has changed
   */
  redirectTo(redirect: RedirectOptions | null): void {
    this.#redirect = redirect === null ? null : parseRedirect(redirect);
    if (redirect !== null) this.#endSessions(null);
  }

  /** Where initiators are sent; null: nowhere else. */
  get redirect(): Redirect | null {
    return this.#redirect;
  }

  /** What a login is checked against. */
  get security(): CompiledSecurity {
    return this.#security;
  }

  /**
   * Serve a device as logical unit `lun`, 0 to 16383.
   *
   * @throws RiserError `LUN_TAKEN`, `LUN_INVALID`, `BLOCK_SIZE_INVALID`
   */
  addLun(lun: number, options: LunOptions): void {
    const { device, type = 'disk' } = options;
    if (!Number.isInteger(lun) || lun < 0 || lun > MAX_LUN) {
      throw new RiserError('LUN_INVALID', `${lun} is no LUN: give a number from 0 to ${MAX_LUN}`, {
        by: 'local',
        costs: 'task',
      });
    }
    if (this.inventory.get(lun) !== undefined) {
      throw new RiserError('LUN_TAKEN', `target ${this.name} has a LUN ${lun} already`, {
        by: 'local',
        costs: 'task',
      });
    }
    const { physicalBlockSize = device.blockSize } = options;
    if (type === 'cdrom' && device.blockSize !== DISC_BLOCK_SIZE) throw notADisc(device);
    if (!PHYSICAL_BLOCK_SIZES.includes(physicalBlockSize) || physicalBlockSize < device.blockSize) {
      throw new RiserError('BLOCK_SIZE_INVALID', `a physical block cannot have ${physicalBlockSize} bytes`, {
        by: 'local',
        costs: 'task',
        remedy: `Give one of ${PHYSICAL_BLOCK_SIZES.join(', ')}, not less than the logical block of ${device.blockSize}.`,
      });
    }
    const identity = deriveIdentity({
      targetName: this.name,
      lun,
      // A drive stays the same one with another disc.
      image: type === 'cdrom' ? 'cdrom' : device.description,
      ...(options.serial !== undefined && { serialNumber: options.serial }),
    });
    const ofDisk = {
      provisioning: options.provisioning ?? (device.unmapGranularity > 0 ? 'thin' : 'full'),
      readOnly: options.readOnly ?? false,
      removable: options.removable ?? false,
      physicalBlockSize: options.physicalBlockSize ?? null,
      reservationStore: options.reservations ?? null,
      targetPortGroups: this.portGroups,
      copyManager: this.#copyManager,
      sanitizeStore: options.sanitize ?? null,
      runLater,
      now: () => performance.now(),
    } as const;
    const unit = new LogicalUnit(device, { identity, type, ...(type === 'disk' && ofDisk) });
    unit.events = this.#unitEvents(lun);
    if (unit.sanitizer.state === 'running')
      this.#log.warn(`${this.name} LUN ${lun}: sanitizing ${device.description} begins anew after a restart`);
    unit.sanitizer.carryOn();
    this.inventory.add(lun, unit);
  }

  /**
   * Put another disc into the drive that is logical unit `lun`; its tray is closed then, and initiators are told. The disc that was in it
   * is no longer used by new commands; closing it, which waits for the others, stays with the caller.
   *
   * @throws RiserError `LUN_INVALID` where there is no drive, `BLOCK_SIZE_INVALID`
   */
  changeDisc(lun: number, device: BlockDevice): void {
    const unit = this.inventory.get(lun);
    if (unit?.configuration.type !== 'cdrom') {
      const message = `target ${this.name} has no CD drive as LUN ${lun}`;
      throw new RiserError('LUN_INVALID', message, { by: 'local', costs: 'task' });
    }
    if (device.blockSize !== DISC_BLOCK_SIZE) throw notADisc(device);
    unit.changeDisc(device);
  }

  /** Stop serving logical unit `lun`; its tasks are aborted. */
  removeLun(lun: number): void {
    this.inventory.remove(lun);
  }

  #unitEvents(lun: number): LogicalUnitEvents {
    return {
      deviceFailed: (unit, io) => {
        this.#log.error(
          `${this.name} LUN ${lun}: ${unit.device.description} failed at byte ${io.errorOffset}: ` +
            (io.cause?.message ?? 'no reason given'),
        );
      },
      accessStatesSet: (unit, by) => {
        this.#log.info(
          `${this.name} LUN ${lun}: ${by.initiatorName} has set the target port groups: ${String(unit.targetPortGroups)}`,
        );
      },
      sanitized: (unit, cause) => {
        const what = `${this.name} LUN ${lun}: sanitizing ${unit.device.description}`;
        if (cause === null) this.#log.info(`${what} is done`);
        else this.#log.error(`${what} failed: ${cause.message}`);
      },
      sanitizeNotKept: (unit, cause) => {
        this.#log.error(
          `${this.name} LUN ${lun}: the sanitize operation of ${unit.device.description} is not kept: ${cause.message}`,
        );
      },
      reservationsNotKept: (unit, cause) => {
        this.#log.error(
          `${this.name} LUN ${lun}: a change of the persistent reservations of ${unit.device.description} is not kept: ` +
            cause.message,
        );
      },
    };
  }
}

/** For what goes on in the background; it keeps no process from ending. */
function runLater(call: () => void, delay = 0): void {
  if (delay === 0) setImmediate(call);
  else setTimeout(call, delay).unref();
}
