/** The options of `riser serve` as a {@link Configuration}. */

import { basename, resolve } from 'node:path';
import { isNbdUri, parseNbdUri } from '../nbd/uri.js';
import {
  CDROM,
  type Configuration,
  type LunConfiguration,
  type Medium,
  type Provisioning,
} from './configuration.js';
import type { ServerAddress } from '../isns/index.js';
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
  /** ISO images, each the disc of a drive. */
  cdrom?: string[];
  /** The iSNS server to tell. */
  isns?: ServerAddress;
}

/**
 * One target: the images in the order given as LUN 0, 1, ..., then the RAM disks, then the CD drives.
 *
 * @param images paths, relative to the working folder, and NBD URIs
 * @param host the machine's name, for the default target name
 * @throws RiserError `USAGE`, `NBD_URI`
 */
export function configurationFromOptions(
  images: string[],
  options: ServeOptions,
  host: string,
): Configuration {
  const { memory = [], cdrom = [] } = options;
  if (images.length === 0 && memory.length === 0 && cdrom.length === 0) {
    throw usageError(
      'nothing to serve',
      'Name a disk image (riser serve disk.img --create 10G), an NBD server (nbd://host/export), a RAM disk (--memory 1G), a CD (--cdrom debian.iso) or a file (--config riser.yaml).',
    );
  }
  if (options.create !== undefined && images.every(isNbdUri))
    throw usageError('--create needs an image to create');
  if (options.readOnly && memory.length > 0)
    throw usageError('a read-only RAM disk would stay empty for ever');

  const blockSize = options.blockSize ?? 512;
  const provisioning: Provisioning = options.full ? 'full' : 'thin';
  const media: Medium[] = [
    ...images.map((image): Medium => {
      if (isNbdUri(image)) return nbdMedium(image);
      return { image: resolve(image), ...(options.create !== undefined && { create: options.create }) };
    }),
    ...memory.map((size) => ({ memory: size })),
  ];
  const disks = media.map((medium, lun): LunConfiguration => {
    checkSize(medium, blockSize);
    return {
      lun,
      type: 'disk',
      medium,
      readOnly: options.readOnly ?? false,
      removable: options.removable ?? false,
      provisioning,
      blockSize,
    };
  });
  const placeOf = (image: string): string => (isNbdUri(image) ? image : resolve(image));
  const discs = cdrom.map((iso, i): LunConfiguration => {
    const medium = isNbdUri(iso) ? nbdMedium(iso) : { image: resolve(iso) };
    return { ...CDROM, lun: disks.length + i, medium };
  });
  const twice = [...images, ...cdrom].find(
    (image, i, all) => all.findIndex((other) => placeOf(other) === placeOf(image)) < i,
  );
  if (twice !== undefined) throw usageError(`${twice} is named twice`);

  const [first] = [...images, ...(memory.length > 0 ? [] : cdrom)];
  const name = options.name ?? defaultName(host, first === undefined ? 'memory' : nameOf(first));
  return {
    portals: options.portal ?? [DEFAULT_PORTAL],
    ...(options.isns !== undefined && { isns: options.isns }),
    targets: [{ name, luns: [...disks, ...discs] }],
  };
}

/** What a target is named after: a file's name, or that of an export. */
function nameOf(image: string): string {
  return isNbdUri(image) ? parseNbdUri(image).exportName || 'nbd' : basename(image);
}

/**
 * The medium that `uri` names; the URI is checked now rather than when it is connected to.
 *
 * @throws RiserError `NBD_URI`
 */
export function nbdMedium(uri: string): Medium {
  parseNbdUri(uri);
  return { nbd: uri };
}

/** @throws RiserError `USAGE` when the size to create is no whole number of blocks */
export function checkSize(medium: Medium, blockSize: number): void {
  if ('nbd' in medium) return;
  const size = 'memory' in medium ? medium.memory : medium.create;
  if (size !== undefined && size % blockSize !== 0) {
    throw usageError(`a size of ${size} bytes is no whole number of ${blockSize}-byte blocks`);
  }
}
