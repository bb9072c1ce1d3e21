/** RDMA devices, their links, and whether programs reach them. */

import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import { isUp, portName, type RdmaPort } from './rdma-ports.js';

const { good, notice, problem } = findingsAbout('RDMA devices');

const KINDS = {
  adapter: 'adapter',
  siw: "in software, by the kernel's siw",
  rdma_rxe: "in software, by the kernel's rdma_rxe",
} as const;

export function inspectDevices(machine: Machine, ports: readonly RdmaPort[]): Finding[] {
  if (machine.platform !== 'linux')
    return [notice(`what adapters there are can be told on Linux only, and this is ${machine.platform}`)];
  if (ports.length === 0) {
    return [
      notice(
        'none: neither an adapter with its driver, nor one in software',
        "Riser's own iWARP needs none. For the kernel's initiator without an adapter, choose the network interface: rdma link add siw0 type siw netdev eth0",
      ),
    ];
  }
  return [...ports.map((port) => inspectLink(port, ports)), ...inspectVerbs(machine, ports)];
}

function inspectLink(port: RdmaPort, ports: readonly RdmaPort[]): Finding {
  const what = describePort(port);
  if (isUp(port)) return good(what);
  // A second port without a cable is in nobody's way.
  const report = ports.some(isUp) ? notice : problem;
  return report(what, remedyFor(port));
}

/** `mlx5_0 port 1: RoCE, adapter (mlx5_core, firmware 16.35.2000), interface enp1s0f0, ACTIVE, 100 Gb/sec (4X EDR)` */
function describePort(port: RdmaPort): string {
  const { kind, transport, driver, firmware, netdev, state, physicalState, rate } = port;
  const made = kind === 'adapter' ? [driver, firmware && `firmware ${firmware}`].filter(Boolean) : [];
  const parts = [
    transport === 'other' ? 'neither InfiniBand, RoCE nor iWARP' : transport,
    KINDS[kind] + (made.length > 0 ? ` (${made.join(', ')})` : ''),
    ...(netdev === null ? [] : [`interface ${netdev}`]),
    isUp(port) ? state : `${state} (${physicalState})`,
    ...(rate === null || !isUp(port) ? [] : [rate]),
  ];
  return `${portName(port)}: ${parts.join(', ')}`;
}

function remedyFor({ transport, netdev, state, physicalState }: RdmaPort): string {
  if (transport === 'InfiniBand' && (state === 'INIT' || state === 'ARMED'))
    return 'The cable is there, and no subnet manager has set the port up: start opensm on one machine of the fabric, or switch on the one of the switch.';
  if (physicalState === 'Disabled' && netdev !== null)
    return `Switch the interface on: ip link set ${netdev} up`;
  const up = netdev === null ? '' : `, and the interface: ip link set ${netdev} up`;
  return `Check cable, transceiver and the switch's port${up}`;
}

/** What libibverbs and librdmacm open. */
function inspectVerbs(machine: Machine, ports: readonly RdmaPort[]): Finding[] {
  const verbs = 'sys/class/infiniband_verbs';
  const reachable = new Map(
    machine
      .list(verbs)
      .filter((name) => name.startsWith('uverbs'))
      .map((name) => [machine.read(`${verbs}/${name}/ibdev`), `dev/infiniband/${name}`]),
  );
  const findings: Finding[] = [];
  const without: string[] = [];
  for (const device of new Set(ports.map(({ device }) => device))) {
    const file = reachable.get(device);
    if (file === undefined || !machine.exists(file)) without.push(device);
  }
  const inContainer = 'In a container, pass /dev/infiniband on (docker run --device=/dev/infiniband ...).';
  if (without.length > 0) {
    findings.push(
      notice(
        `programs do not reach ${without.join(', ')}: there is no /dev/infiniband/uverbs... for it; the kernel's own initiator and target do`,
        `modprobe ib_uverbs. ${inContainer}`,
      ),
    );
  }
  if (!machine.exists('dev/infiniband/rdma_cm')) {
    findings.push(
      notice(
        'programs cannot make RDMA connections: there is no /dev/infiniband/rdma_cm',
        `modprobe rdma_ucm. ${inContainer}`,
      ),
    );
  }
  if (findings.length === 0) findings.push(good('programs reach all of them through /dev/infiniband'));
  return findings;
}
