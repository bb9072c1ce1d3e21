/** The kernel's iSER initiator in the guest, as an administrator uses it. */

import type { Guest } from './guest.js';
import type { RdmaDevice } from './rdma.js';

/** Where a LUN is. */
export interface IserLun {
  readonly portal: string;
  readonly target: string;
  readonly lun: number;
}

/** Start iscsid, and discover over iSER what is at `portal`; a line for each portal of each target. */
export async function discoverOverIser(guest: Guest, portal: string): Promise<string> {
  return guest.sh(`
    modprobe ib_iser
    pidof -q iscsid || iscsid
    iscsiadm -m discovery -t st -p ${portal} -I iser`);
}

/** Log in at the portal of `lun`, which was discovered, and wait for its disk, such as `/dev/sda`. */
export async function loginOverIser(guest: Guest, { portal, target, lun }: IserLun): Promise<string> {
  return guest.sh(`
    iscsiadm -m node -T ${target} -p ${portal} -I iser --login >/dev/null
    disk=/dev/disk/by-path/ip-${portal}-iscsi-${target}-lun-${lun}
    udevadm wait --timeout=60 $disk
    readlink -e $disk`);
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
    iscsiadm -m node -T ${target} -p ${portal} --logout >/dev/null`);
}

/** Know a portal of `target` that discovery does not tell, since its machine knows it by another address. */
export async function addPortal(guest: Guest, portal: string, target: string, iface = 'iser'): Promise<void> {
  await guest.sh(`
    iscsiadm -m node -o delete -T ${target} >/dev/null 2>&1 || true
    iscsiadm -m node -o new -T ${target} -p ${portal} -I ${iface} >/dev/null`);
}
