/** Opens the block devices that a configuration names. */

import { existsSync, statSync } from 'node:fs';
import { createImage, FileDevice, MemoryDevice, type BlockDevice } from '../block/index.js';
import { ReservationFile, SanitizeFile } from '../target/index.js';
import { RiserError } from '../util/errors.js';
import type { Logger } from '../util/logger.js';
import type { LunConfiguration, Medium } from './configuration.js';
import { formatSize } from './size.js';

/** What a logical unit is served from. */
export interface OpenMedium {
  readonly device: BlockDevice;
  /**
   * Where its persistent reservations outlive the server: a file beside its image. Null where they do not: memory, devices, what
   * another server has, and what is only read.
   */
  readonly reservations: ReservationFile | null;
  /** The same of a sanitize operation. */
  readonly sanitize: SanitizeFile | null;
}

/**
 * The medium of a logical unit, and what is kept with it.
 *
 * @throws RiserError as {@link openDevice}, and when what is kept is damaged
 */
export async function openMedium(configuration: LunConfiguration, log: Logger): Promise<OpenMedium> {
  const { medium, readOnly } = configuration;
  const device = await openDevice(configuration, log);
  try {
    const isKept = 'image' in medium && !readOnly && statSync(medium.image).isFile();
    const reservations = isKept ? await ReservationFile.open(`${medium.image}.reservations`) : null;
    const sanitize = isKept ? await SanitizeFile.open(`${medium.image}.sanitize`) : null;
    return { device, reservations, sanitize };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/**
 * The device of a logical unit; an image that does not exist is made when the configuration says how large.
 * What the platform lacks for it is logged as a warning.
 *
 * @throws RiserError when the image is missing, locked, or cannot be opened, or the NBD server not be used
 */
async function openDevice(configuration: LunConfiguration, log: Logger): Promise<BlockDevice> {
  const { medium, blockSize, readOnly, provisioning } = configuration;
  const thin = provisioning === 'thin';
  if ('memory' in medium) return new MemoryDevice({ size: medium.memory, blockSize, thin });
  if ('nbd' in medium) {
    const { NbdDevice } = await import('../nbd/index.js');
    return NbdDevice.open(medium.nbd, { blockSize, readOnly, thin, log });
  }
  const { image, create } = medium;
  if (configuration.type === 'cdrom') checkDisc(image, blockSize);
  if (!existsSync(image)) {
    if (create === undefined) throw missing(image);
    await createImage(image, create);
  }
  const device = await FileDevice.open(image, { blockSize, readOnly, thin });
  for (const limitation of device.limitations) log.warn(`${image}: ${limitation}`);
  return device;
}

/** A block that is not whole would be lost, and with it the end of a file in the image. */
function checkDisc(image: string, blockSize: number): void {
  const status = statSync(image, { throwIfNoEntry: false });
  if (status === undefined || !status.isFile() || status.size % blockSize === 0) return;
  const message = `${image} has ${status.size} bytes, which is no whole number of ${blockSize}-byte blocks`;
  throw new RiserError('DISC_SIZE', message, {
    by: 'local',
    costs: 'process',
    remedy: `It may be no ISO image, or not all of it. If it is whole: truncate --size=%${blockSize} ${image}`,
  });
}

/** `/srv/disk.img`, `nbd://host/export`, or `RAM disk`. */
export function describeMedium(medium: Medium): string {
  if ('memory' in medium) return 'RAM disk';
  return 'nbd' in medium ? medium.nbd : medium.image;
}

/**
 * `/srv/disk.img, 10 GiB, thin, 512-byte blocks`
 *
 * @param size what the medium has, bytes
 */
export function describeLun(configuration: LunConfiguration, size: number): string {
  const { type, medium, readOnly, removable, provisioning, blockSize } = configuration;
  if (type === 'cdrom') return `${describeMedium(medium)}, ${formatSize(size)}, CD or DVD drive`;
  const traits = [describeMedium(medium), formatSize(size), provisioning, `${blockSize}-byte blocks`];
  if (readOnly) traits.push('read-only');
  if (removable) traits.push('removable');
  return traits.join(', ');
}

function missing(image: string): RiserError {
  return new RiserError('IMAGE_MISSING', `${image} does not exist`, {
    by: 'local',
    costs: 'process',
    remedy:
      'Check the path, or say how large to make it: --create 10G, or create: 10G in a configuration file.',
  });
}
