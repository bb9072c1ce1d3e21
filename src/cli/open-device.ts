/** From what a command line names, a file or a URL, to a block device. */

import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { type BlockDevice, FileDevice } from '../block/index.js';
import {
  connect,
  isIscsiUrl,
  type LunDevice,
  Multipath,
  type PortalAddress,
  Session,
} from '../initiator/index.js';
import { isNbdUri, NbdDevice } from '../nbd/index.js';
import type { ConnectionFlags } from './connection-flags.js';
import { connectOptions, parseUrl, requireLun } from './connection-options.js';
import { usageError } from './failure.js';
import { note } from './output.js';
import { formatPortal } from './portal.js';

/** What tells a device from others, and whether it is still the same later on. */
export interface DeviceIdentity {
  /** A file's path and inode, a LUN's target, number and designator. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** When a file was written to last; null where that is not told. */
  readonly modified: string | null;
}

export interface OpenedDevice {
  readonly device: BlockDevice;
  readonly identity: DeviceIdentity;
  /** Sessions that lead to a LUN; null for what is none. */
  readonly paths: number | null;
}

/** Whether `where` is a path, and not a URL. */
export function isPath(where: string): boolean {
  return !/^[a-z][a-z0-9+.-]*:\/\//i.test(where);
}

/**
 * Open a file, a LUN or an NBD export.
 *
 * @param where path, `iscsi://HOST[:PORT]/TARGET-NAME/LUN`, or `nbd://HOST[:PORT]/EXPORT` and its kin
 * @param options.readOnly a file is then not locked against other readers
 * @param options.signal gives up connecting
 * @throws RiserError `USAGE`, `URL`, `SIZE` when a file ends in the middle of a block, and what the device says; the
 * signal's reason when it is aborted
 */
export async function openDevice(
  where: string,
  flags: ConnectionFlags,
  { readOnly, signal }: { readOnly: boolean; signal: AbortSignal },
): Promise<OpenedDevice> {
  if (isIscsiUrl(where)) {
    const device = await openLunDevice(where, flags, signal);
    return { device, identity: identityOfLun(device), paths: pathsOf(device) };
  }
  if (isNbdUri(where)) {
    const device = await unlessAborted(NbdDevice.open(where, { readOnly }), signal);
    return { device, identity: { name: where, size: device.size, modified: null }, paths: null };
  }
  if (!isPath(where)) {
    const scheme = where.slice(0, where.indexOf(':'));
    throw usageError(
      `there are no ${scheme}:// devices`,
      'Name a file, a LUN as iscsi://HOST/TARGET/LUN (or iser://, auto://), or an export as nbd://HOST/EXPORT.',
    );
  }
  const device = await FileDevice.open(where, { readOnly });
  try {
    return { device, identity: await identityOfFile(where, device), paths: null };
  } catch (error) {
    await device.close();
    throw error;
  }
}

/** A LUN by its URL, in sessions of its own. */
export async function openLunDevice(
  text: string,
  flags: ConnectionFlags,
  signal: AbortSignal,
): Promise<LunDevice> {
  const url = parseUrl(text);
  requireLun(url);
  const { multipath } = flags;
  const options = { ...connectOptions(url, flags, signal), ...(multipath !== undefined && { multipath }) };
  const { device } = await connect(text, options);
  if (multipath !== undefined) note(describePaths(device, multipath));
  return device;
}

/** How many sessions lead to the LUN. */
export function pathsOf({ path }: LunDevice): number {
  return path instanceof Multipath ? path.sessions.length : 1;
}

/** The portals that its connections lead to now; null when its path does not tell. */
export function portalsOf({ path }: LunDevice): PortalAddress[] | null {
  if (path instanceof Multipath)
    return path.sessions.filter(({ isConnected }) => isConnected).map(({ portal }) => portal);
  return path instanceof Session ? [path.portal] : null;
}

/** How commands and data travel. */
export function transportOf({ path }: LunDevice): 'tcp' | 'iser' {
  const session = path instanceof Multipath ? path.sessions[0] : path;
  return session instanceof Session ? session.transport : 'tcp';
}

/** `2 paths to iqn... LUN 0, round-robin: 192.0.2.7:3260, 192.0.2.8:3260 (not connected yet)` */
function describePaths({ path, description }: LunDevice, policy: string): string {
  if (!(path instanceof Multipath)) return `1 path to ${description}: the target tells no other portal`;
  const paths = path.sessions.map(({ portal, isConnected }) => {
    const where = formatPortal({ address: portal.host, port: portal.port });
    return isConnected ? where : `${where} (not connected yet)`;
  });
  return `${paths.length} paths to ${description}, ${policy}: ${paths.join(', ')}`;
}

/** For what takes no signal: when it is aborted nobody waits any longer, and what is opened after all is closed. */
function unlessAborted<Device extends BlockDevice>(
  opening: Promise<Device>,
  signal: AbortSignal,
): Promise<Device> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
      opening.then((device) => device.close()).catch(() => undefined);
    };
    const settle = (): void => {
      signal.removeEventListener('abort', onAbort);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    opening.finally(settle).then(resolve, reject);
  });
}

async function identityOfFile(path: string, device: BlockDevice): Promise<DeviceIdentity> {
  const status = await stat(path, { bigint: true });
  const { size } = device;
  if (status.isFile() && Number(status.size) !== size) {
    throw usageError(
      `${path} has ${status.size} bytes, which is no whole number of ${device.blockSize}-byte blocks`,
      `Its end would be lost. Make it longer: truncate --size=%${device.blockSize} ${path}`,
    );
  }
  return {
    name: `${resolve(path)} (inode ${status.ino})`,
    size,
    modified: status.isFile() ? `${status.mtimeNs}` : null,
  };
}

const LOGICAL_UNIT = 0;
/** Designators that name a logical unit in the whole world, best first: NAA, EUI-64, SCSI name (SPC-4 7.8.6.1). */
const WORLD_WIDE = [3, 2, 8];

function identityOfLun(device: LunDevice): DeviceIdentity {
  const name = worldWideNameOf(device) ?? device.traits.description.serialNumber ?? '';
  return { name: `${device.description} (${name})`, size: device.size, modified: null };
}

/** What tells the LUN from all others, by whatever path it is reached; null when it tells none. */
export function worldWideNameOf({ traits }: LunDevice): string | null {
  const own = traits.description.designators.filter(({ association }) => association === LOGICAL_UNIT);
  return WORLD_WIDE.flatMap((type) => own.filter((one) => one.type === type))[0]?.value ?? null;
}
