/** A target: a name, its logical units, and the sessions that use it. */

import type { BlockDevice } from '../block/index.js';
import {
  deriveIdentity,
  LogicalUnit,
  type LogicalUnitEvents,
  LogicalUnitInventory,
  MAX_LUN,
  type ReservationStore,
} from '../scsi/index.js';
import type { RecoveryOffer } from '../iscsi/index.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import { AccessList, type AccessRule } from './access.js';
import { type Authentication, ChapUsers } from './authentication.js';

/** Who may use a target, and how it is made sure of. */
export interface TargetSecurity {
  /** Rules, of which the first that fits decides; whom none fits sees no such target. Absent: everybody may. */
  access?: readonly AccessRule[];
  /** Absent: initiators need not prove who they are. */
  authentication?: Authentication;
}

export interface TargetOptions extends TargetSecurity {
  /** iSCSI name (RFC 7143 4.2.7), normalised. */
  name: string;
  /** Shown to initiators (TargetAlias), at most 255 bytes of UTF-8. */
  alias?: string;
  /** What initiators that ask for it may agree on; nothing but new sessions by default. */
  recovery?: Partial<RecoveryOffer>;
}

export interface LunOptions {
  /** The medium. Closing it stays with the caller, after the LUN or the target has been removed. */
  device: BlockDevice;
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

const PHYSICAL_BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

export class Target {
  readonly name: string;
  readonly alias: string | null;
  readonly inventory: LogicalUnitInventory;
  readonly recovery: Partial<RecoveryOffer>;
  readonly #log: Logger;
  #security: CompiledSecurity;

  /** @throws RiserError `ACCESS_RULE`, `AUTHENTICATION` */
  constructor(options: TargetOptions, log: Logger) {
    this.name = options.name;
    this.alias = options.alias ?? null;
    this.inventory = new LogicalUnitInventory();
    this.recovery = options.recovery ?? {};
    this.#log = log;
    this.#security = compile(options);
  }

  /**
   * Admit others from now on. Sessions that there are go on; a login under way ends by the rules it began with.
   *
   * @throws RiserError `ACCESS_RULE`, `AUTHENTICATION`; then nothing has changed
   */
  secure(security: TargetSecurity): void {
    this.#security = compile(security);
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
    const { device } = options;
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
      image: device.description,
      ...(options.serial !== undefined && { serialNumber: options.serial }),
    });
    const unit = new LogicalUnit(device, {
      identity,
      provisioning: options.provisioning ?? (device.unmapGranularity > 0 ? 'thin' : 'full'),
      readOnly: options.readOnly ?? false,
      removable: options.removable ?? false,
      physicalBlockSize: options.physicalBlockSize ?? null,
      reservationStore: options.reservations ?? null,
    });
    unit.events = this.#unitEvents(lun);
    this.inventory.add(lun, unit);
  }

  /** Stop serving logical unit `lun`; its tasks are aborted. */
  removeLun(lun: number): void {
    this.inventory.remove(lun);
  }

  #unitEvents(lun: number): LogicalUnitEvents {
    return {
      deviceFailed: (unit, task) => {
        this.#log.error(
          `${this.name} LUN ${lun}: ${unit.device.description} failed at byte ${task.errorOffset}: ` +
            (task.cause?.message ?? 'no reason given'),
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
