/** A target: a name, its logical units, and the sessions that use it. */

import type { BlockDevice } from '../block/index.js';
import {
  deriveIdentity,
  DISC_BLOCK_SIZE,
  LogicalUnit,
  type LogicalUnitEvents,
  LogicalUnitInventory,
  MAX_LUN,
  type ReservationStore,
} from '../scsi/index.js';
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

const PHYSICAL_BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

export class Target {
  readonly name: string;
  readonly alias: string | null;
  readonly inventory: LogicalUnitInventory;
  readonly #log: Logger;
  #security: CompiledSecurity;

  /** @throws RiserError `ACCESS_RULE`, `AUTHENTICATION` */
  constructor(options: TargetOptions, log: Logger) {
    this.name = options.name;
    this.alias = options.alias ?? null;
    this.inventory = new LogicalUnitInventory();
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
    } as const;
    const unit = new LogicalUnit(device, { identity, type, ...(type === 'disk' && ofDisk) });
    unit.events = this.#unitEvents(lun);
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
