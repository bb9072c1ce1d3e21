/** RDMA in software in the guest: RoCEv2 and iWARP, each of which reaches the guest itself. */

import type { Guest } from './guest.js';

export interface RdmaDevice {
  readonly name: string;
  readonly protocol: 'RoCEv2' | 'iWARP';
  /** The address at which the guest reaches itself through the device. */
  readonly address: string;
}

/** On an interface without a wire: rdma_rxe passes packets to the own address on without sending them. */
export const RXE: RdmaDevice = { name: 'rxe0', protocol: 'RoCEv2', address: '10.9.0.1' };

/** On eth0, so it reaches the host as well; packets to the own address are seen on `lo`. */
export const SIW: RdmaDevice = { name: 'siw0', protocol: 'iWARP', address: '10.0.2.15' };

/** Make {@link RXE} and {@link SIW}. */
export async function addRdmaDevices(guest: Guest): Promise<void> {
  await guest.sh(`
    modprobe -a rdma_ucm rdma_rxe siw
    ip link add roce0 type dummy
    ip address add ${RXE.address}/24 dev roce0
    ip link set roce0 up
    rdma link add ${RXE.name} type rxe netdev roce0
    rdma link add ${SIW.name} type siw netdev eth0`);
}

/** A script that waits until an RDMA device of the guest listens on `port`. */
export function listening(port: number): string {
  return `until rdma resource show cm_id | grep -q 'state LISTEN.*:${port}'; do sleep 0.1; done`;
}
