/** The kernel's initiator in the guest, as an administrator uses it. */

import type { Guest } from './guest.js';
import { type HostRiser, TARGET } from './host-riser.js';
import { initiatorStarts, type Interface } from './iser-initiator.js';

/** Names of a record, such as `node.x`, and values. */
export type Settings = Record<string, string>;

/** Start iscsid, and let it discover what `riser` serves; every node record gets `settings`. */
export async function discover(guest: Guest, riser: HostRiser, settings: Settings = {}): Promise<string> {
  return guest.sh(`${initiatorStarts('default')}
    iscsiadm -m discovery -t st -p ${riser.portal()}
    ${updates(`node -T ${TARGET}`, settings)}`);
}

/** The same, with `settings` for the discovery itself, such as `discovery.sendtargets.auth.authmethod`. */
export async function discoverWith(
  guest: Guest,
  riser: HostRiser,
  settings: Settings,
  iface: Interface = 'default',
): Promise<string> {
  const record = `discoverydb -t st -p ${riser.portal()}`;
  return guest.sh(`${initiatorStarts(iface)}
    iscsiadm -m ${record} -o show >/dev/null 2>&1 || iscsiadm -m ${record} -o new >/dev/null
    ${updates(record, settings)}
    iscsiadm -m ${record} -I ${iface} --discover`);
}

/** Change the node record of the target. */
export async function configure(guest: Guest, settings: Settings): Promise<void> {
  await guest.sh(updates(`node -T ${TARGET}`, settings));
}

function updates(record: string, settings: Settings): string {
  const pairs = Object.entries(settings).map(([name, value]) => `-n '${name}' -v '${value}'`);
  return pairs.length === 0 ? '' : `iscsiadm -m ${record} -o update ${pairs.join(' ')}`;
}

/**
 * Log in at every portal that was discovered, and wait for the disks.
 *
 * @returns the disk of each LUN in order, such as `/dev/sda`, through the portal behind the first network card
 */
export async function login(guest: Guest, riser: HostRiser, luns = 1): Promise<string[]> {
  await guest.sh(`iscsiadm -m node -T ${TARGET} --login >/dev/null`);
  return findDisks(guest, riser, luns);
}

/** The disks of a session through the portal behind a network card. */
export async function findDisks(
  guest: Guest,
  riser: HostRiser,
  luns = 1,
  link: 0 | 1 = 0,
): Promise<string[]> {
  const path = `/dev/disk/by-path/ip-${riser.portal(link)}-iscsi-${TARGET}-lun-`;
  const names = Array.from({ length: luns }, (_, lun) => `${path}${lun}`);
  // udev makes the names a moment after iscsiadm returns.
  const found = await guest.sh(`
    udevadm wait --timeout=60 ${names.join(' ')}
    readlink -e ${names.join(' ')}`);
  return found.split('\n');
}

/** End the sessions. */
export async function logout(guest: Guest): Promise<void> {
  // udev looks at a disk anew whenever a program that wrote to it has closed it, and may not find it gone.
  await guest.sh(`
    udevadm settle
    iscsiadm -m node -T ${TARGET} --logout >/dev/null`);
}
