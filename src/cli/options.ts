/** The options of `riser serve` as a {@link Configuration}. */

import { basename, resolve } from 'node:path';
import type { Configuration, LunConfiguration, Medium, Provisioning } from './configuration.js';
import { usageError } from './failure.js';
import { defaultName } from './name.js';
import { DEFAULT_PORTAL, type Portal } from './portal.js';

/** What the command line gives, parsed option by option. */
export interface ServeOptions {
  create?: number;
  readOnly?: boolean;
  portal?: Portal[];
  name?: string;
  blockSize?: 512 | 4096;
  removable?: boolean;
  thin?: boolean;
  full?: boolean;
  memory?: number[];
}

/**
 * One target: the images in the order given as LUN 0, 1, ..., then the RAM disks.
 *
 * @param images paths, relative to the working folder
 * @param host the machine's name, for the default target name
 * @throws RiserError `USAGE`
 */
export function configurationFromOptions(
  images: string[],
  options: ServeOptions,
  host: string,
): Configuration {
  const memory = options.memory ?? [];
  if (images.length === 0 && memory.length === 0) {
    throw usageError(
      'nothing to serve',
      'Name a disk image (riser serve disk.img --create 10G), a RAM disk (--memory 1G) or a file (--config riser.yaml).',
    );
  }
  if (options.create !== undefined && images.length === 0)
    throw usageError('--create needs an image to create');
  if (options.readOnly && memory.length > 0)
    throw usageError('a read-only RAM disk would stay empty for ever');

  const blockSize = options.blockSize ?? 512;
  const provisioning: Provisioning = options.full ? 'full' : 'thin';
  const media: Medium[] = [
    ...images.map((image) => ({
      image: resolve(image),
      ...(options.create !== undefined && { create: options.create }),
    })),
    ...memory.map((size) => ({ memory: size })),
  ];
  const luns = media.map((medium, lun): LunConfiguration => {
    checkSize(medium, blockSize);
    return {
      lun,
      medium,
      readOnly: options.readOnly ?? false,
      removable: options.removable ?? false,
      provisioning,
      blockSize,
    };
  });
  const twice = images.find((image, i) => images.findIndex((other) => resolve(other) === resolve(image)) < i);
  if (twice !== undefined) throw usageError(`${twice} is named twice`);

  const name = options.name ?? defaultName(host, images[0] === undefined ? 'memory' : basename(images[0]));
  return { portals: options.portal ?? [DEFAULT_PORTAL], targets: [{ name, luns }] };
}

/** @throws RiserError `USAGE` when the size to create is no whole number of blocks */
export function checkSize(medium: Medium, blockSize: number): void {
  const size = 'memory' in medium ? medium.memory : medium.create;
  if (size !== undefined && size % blockSize !== 0) {
    throw usageError(`a size of ${size} bytes is no whole number of ${blockSize}-byte blocks`);
  }
}
