/** A target: a name, its logical units, and the sessions that use it. */

import type { BlockDevice } from '../block/index.js';
import {
  deriveIdentity,
  LogicalUnit,
  type LogicalUnitEvents,
  LogicalUnitInventory,
  MAX_LUN,
} from '../scsi/index.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';

export interface TargetOptions {
  /** iSCSI name (RFC 7143 4.2.7), normalised. */
  name: string;
  /** Shown to initiators (TargetAlias), at most 255 bytes of UTF-8. */
  alias?: string;
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
}

const PHYSICAL_BLOCK_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

export class Target {
  readonly name: string;
  readonly alias: string | null;
  readonly inventory: LogicalUnitInventory;
  readonly #log: Logger;

  constructor(options: TargetOptions, log: Logger) {
    this.name = options.name;
    this.alias = options.alias ?? null;
    this.inventory = new LogicalUnitInventory();
    this.#log = log;
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
    };
  }
}
