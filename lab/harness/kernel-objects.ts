/** For programs in the guest: what its kernel has of RDMA objects. */

import { execFileSync } from 'node:child_process';

/** How many there are of a device's, by kind; undefined if there is no such device. */
export function kernelObjects(device: string): unknown {
  const all = JSON.parse(execFileSync('rdma', ['-j', 'resource', 'show'], { encoding: 'utf8' })) as {
    ifname: string;
  }[];
  return all.find(({ ifname }) => ifname === device);
}
