/** How much memory a process may lock: adapters need it to stay where it is. */

import { lockedMemoryLimit, mayLockAll } from '../../util/locked-memory.js';
import { formatSize } from '../size.js';
import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import type { RdmaPort } from './rdma-ports.js';

const { good, notice } = findingsAbout('locked memory');

export function inspectLockedMemory(machine: Machine, ports: readonly RdmaPort[]): Finding[] {
  const bytes = lockedMemoryLimit(machine.read('proc/self/limits') ?? '');
  if (bytes === Infinity) return [good('no limit')];
  if (bytes === null) return [];
  const limit = `the limit is ${formatSize(bytes)}`;
  if (mayLockAll(machine.read('proc/self/status') ?? ''))
    return [good(`${limit}, which does not hold for this user (CAP_IPC_LOCK)`)];
  if (ports.length === 0)
    return [good(`${limit}; nothing here locks memory, for iWARP in software needs not to`)];
  return [
    notice(
      `${limit}: programs that use ${ports[0]!.device} cannot register more; Riser's own iWARP locks none`,
      remedyFor(machine),
    ),
  ];
}

function remedyFor(machine: Machine): string {
  if (isContainer(machine))
    return 'Start the container with docker run --ulimit memlock=-1 (or podman run); of Kubernetes, the limit is that of the container runtime.';
  return 'In a service: LimitMEMLOCK=infinity. For a user: "* - memlock unlimited" in /etc/security/limits.d/rdma.conf, and log in anew.';
}

/** Docker and podman each leave a file, others a word in the control group. */
function isContainer(machine: Machine): boolean {
  if (machine.exists('.dockerenv') || machine.exists('run/.containerenv')) return true;
  return /docker|kubepods|containerd|lxc/.test(machine.read('proc/1/cgroup') ?? '');
}
