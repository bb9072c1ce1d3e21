/**
 * The names of a logical unit: the same over every restart, and different for every other one, because
 * they are derived from what stays: the target's name, the LUN, and the image behind it.
 */

import { createHash } from 'node:crypto';

/** Names that the vital product data pages report. */
export interface Identity {
  /** Unit serial number, 16 printable ASCII characters unless configured otherwise. */
  readonly serialNumber: string;
  /** 8 bytes, NAA 3h: locally assigned (SPC-4 7.8.6.6.5), as Riser owns no IEEE company identifier. */
  readonly naa: Buffer;
  /** The iSCSI name of the target that the unit belongs to. */
  readonly targetName: string;
}

export interface IdentitySource {
  targetName: string;
  lun: number;
  /**
   * What tells the medium from others, whatever LUN it is served as: for a file its path or its
   * configured identifier. Initiators take two units with the same identity for two paths to one disk.
   */
  image: string;
  /** A serial number of the user's choice, 1 to 36 printable ASCII characters; the NAA then follows from it. */
  serialNumber?: string;
}

/** Derive the names of a logical unit. */
export function deriveIdentity(source: IdentitySource): Identity {
  const { targetName, lun, image, serialNumber } = source;
  // An explicit serial number is the whole identity, so that it can follow the image to another target.
  const parts = serialNumber === undefined ? [targetName, String(lun), image] : [serialNumber];
  const digest = createHash('sha256').update(parts.join('\0')).digest();
  const naa = Buffer.from(digest.subarray(0, 8));
  naa[0] = 0x30 | (naa[0]! & 0x0f);
  return { serialNumber: serialNumber ?? digest.toString('hex', 8, 16), naa, targetName };
}
