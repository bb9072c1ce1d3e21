/** The kernel's iSER initiator in the guest, as an administrator uses it. */

import type { Guest } from './guest.js';
import type { RdmaDevice } from './rdma.js';

/** Where a LUN is. */
export interface IserLun {
  readonly portal: string;
  readonly target: string;
  readonly lun: number;
}

/** By what open-iscsi reaches a portal: its names of iSER and of TCP. */
export type Interface = 'iser' | 'default';

/** A script that loads the modules of `iface`, and starts iscsid. */
export function initiatorStarts(iface: Interface = 'iser'): string {
  return `
    modprobe ${iface === 'iser' ? 'ib_iser' : 'iscsi_tcp'}
    pidof -q iscsid || iscsid`;
}

/**
 * Take away udev's rules for multipath and the device mapper: in a scenario without both, their programs take seconds for
 * every disk, and more where the guest is slow.
 */
export async function withoutMultipath(guest: Guest): Promise<void> {
  await guest.sh('rm /lib/udev/rules.d/*multipath* /lib/udev/rules.d/*dm*.rules; udevadm control --reload');
}

/** Start iscsid, and discover over iSER what is at `portal`; a line for each portal of each target. */
export async function discoverOverIser(guest: Guest, portal: string): Promise<string> {
  return guest.sh(`${initiatorStarts()}
    iscsiadm -m discovery -t st -p ${portal} -I iser`);
}

/** Log in at the portal of `lun`, which was discovered, and wait for its disk, such as `/dev/sda`. */
export async function loginOverIser(guest: Guest, { portal, target, lun }: IserLun): Promise<string> {
  // udev writes IPv6 addresses without brackets.
  const path = `ip-${portal.replace(/[[\]]/g, '')}-iscsi-${target}-lun-${lun}`;
  return guest.sh(`
    iscsiadm -m node -T ${target} -p ${portal} -I iser --login >/dev/null
    disk=/dev/disk/by-path/${path}
    udevadm wait --timeout=60 $disk
    readlink -e $disk`);
}

/**
 * The disk that the session through `iface` has for `lun`. With two sessions to one portal that is the way to tell
 * them apart: both have the same name in /dev/disk/by-path.
 */
export async function diskThrough(guest: Guest, iface: Interface, lun = 0): Promise<string> {
  return guest.sh(`
    session=$(dirname $(grep -lx ${iface} /sys/class/iscsi_session/session*/ifacename))
    until disk=$(ls -d $session/device/target*/*:${lun}/block/*/size 2>/dev/null); do sleep 0.1; done
    disk=/dev/$(basename $(dirname $disk))
    udevadm wait --timeout=60 $disk
    udevadm settle
    echo $disk`);
}

/** The initiator's connections through `device`, a line for each with their state and addresses. */
export async function connectionsOf(guest: Guest, device: RdmaDevice): Promise<string> {
  return guest.sh(`rdma resource show cm_id link ${device.name} | grep -F '[ib_iser]' || true`);
}

/** End the session at the portal of `lun`. */
export async function logoutOverIser(guest: Guest, { portal, target }: IserLun): Promise<void> {
  // udev looks at a disk anew whenever a program that wrote to it has closed it, and may not find it gone.
  await guest.sh(`
    udevadm settle
    iscsiadm -m node -T ${target} -p ${portal} -I iser --logout >/dev/null`);
}

/** Know a portal of `target` that discovery does not tell, since its machine knows it by another address. */
export async function addPortal(
  guest: Guest,
  portal: string,
  target: string,
  iface: Interface = 'iser',
): Promise<void> {
  await guest.sh(`iscsiadm -m node -o new -T ${target} -p ${portal} -I ${iface} >/dev/null`);
}

/** Log in at the portal of `lun`, read, and log out, `count` times. */
export async function loginRounds(guest: Guest, { portal, target }: IserLun, count: number): Promise<void> {
  await guest.sh(
    `
    # udev would look at every new disk for longer than it is there.
    udevadm control --stop-exec-queue
    node="iscsiadm -m node -T ${target} -p ${portal} -I iser"
    for _ in $(seq ${count}); do
      $node --login >/dev/null
      until disk=$(ls -d /sys/class/iscsi_session/session*/device/target*/*/block/* 2>/dev/null); do sleep 0.05; done
      dd if=/dev/$(basename $disk) of=/dev/null bs=64k count=1 iflag=direct status=none
      $node --logout >/dev/null
    done
    udevadm control --start-exec-queue`,
    { limit: 300 },
  );
}
