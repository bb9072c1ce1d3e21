/** What the network interfaces under RDMA can do for it: long packets, and no lost ones. */

import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import { isUp, type RdmaPort } from './rdma-ports.js';

const { good, notice } = findingsAbout('network');

/** What of an Ethernet packet headers may take with RoCE (iboe_get_mtu in the kernel's ib_addr.h). */
const ROCE_OVERHEAD = 40 + 8 + 12 + 4 + 28 + 4;
/** Payloads that packets of InfiniBand and RoCE may have (IBA 9.4). */
const ROCE_PAYLOADS = [4096, 2048, 1024, 512, 256] as const;
/** The usual length of jumbo frames. */
const JUMBO = 9000;
const NETDEVS = 'sys/class/net';

/** Of all interfaces that RDMA devices use. */
export function inspectNetwork(machine: Machine, ports: readonly RdmaPort[]): Finding[] {
  const findings: Finding[] = [];
  const seen = new Set<string>();
  for (const port of ports) {
    const { netdev, transport, kind } = port;
    if (netdev === null || !isUp(port) || seen.has(netdev)) continue;
    if (transport === 'InfiniBand') continue;
    seen.add(netdev);
    findings.push(...inspectMtu(machine, netdev, transport === 'RoCE'));
    // In software there is no queue of its own that could be kept free of losses.
    if (transport === 'RoCE' && kind === 'adapter') findings.push(...inspectLosses(machine, netdev));
  }
  return findings;
}

/** Of one interface; `carriesRoce`: else TCP, as iWARP does. */
export function inspectMtu(machine: Machine, netdev: string, carriesRoce: boolean): Finding[] {
  const mtu = Number(machine.read(`${NETDEVS}/${netdev}/mtu`));
  if (!(mtu > 0)) return [];
  if (carriesRoce) {
    const payload = ROCE_PAYLOADS.find((bytes) => bytes + ROCE_OVERHEAD <= mtu) ?? 0;
    if (payload === ROCE_PAYLOADS[0])
      return [good(`${netdev}: MTU ${mtu}, so RoCE's packets carry ${payload} bytes`)];
    return [
      notice(
        `${netdev}: MTU ${mtu}, so RoCE's packets carry ${payload} bytes, and could 4096`,
        `ip link set ${netdev} mtu 4200, or 9000, on both machines and on the switches between them.`,
      ),
    ];
  }
  if (mtu >= JUMBO) return [good(`${netdev}: MTU ${mtu}`)];
  return [
    notice(
      `${netdev}: MTU ${mtu}: longer packets (jumbo frames) cost less processor time for each byte`,
      `ip link set ${netdev} mtu ${JUMBO}, if both machines and all switches between them take that.`,
    ),
  ];
}

/** RoCE recovers from lost packets slowly: either switches pause the sender (PFC), or tell it in time (ECN). */
function inspectLosses(machine: Machine, netdev: string): Finding[] {
  const flowControl = flowControlOf(machine, netdev);
  const ecn = ecnOf(machine, netdev);
  const isGuarded = [flowControl, ecn].some((priorities) => priorities !== null && priorities.length > 0);
  return [
    describe(
      `${netdev}: priority flow control (PFC)`,
      flowControl,
      isGuarded,
      machine.hasProgram('dcb')
        ? 'its driver does not tell (no DCB)'
        : 'cannot be told without the program dcb (package iproute2)',
      `For the priority of RoCE, say 3, on both machines and the switches: dcb pfc set dev ${netdev} prio-pfc 3:on (mlnx_qos -i ${netdev} --pfc 0,0,0,1,0,0,0,0)`,
    ),
    describe(
      `${netdev}: explicit congestion notification (ECN) of RoCE`,
      ecn,
      isGuarded,
      `cannot be told: there is no /sys/class/net/${netdev}/ecn, which only NVIDIA's own driver makes`,
      `echo 1 > /sys/class/net/${netdev}/ecn/roce_np/enable/3, the same of roce_rp, and ECN marking on the switches.`,
    ),
  ];
}

function describe(
  what: string,
  priorities: readonly number[] | null,
  isGuarded: boolean,
  unknown: string,
  remedy: string,
): Finding {
  if (priorities === null) return notice(`${what} ${unknown}`);
  if (priorities.length > 0)
    return good(
      `${what} is on for ${priorities.length === 1 ? 'priority' : 'priorities'} ${priorities.join(', ')}`,
    );
  if (isGuarded) return good(`${what} is off`);
  return notice(`${what} is off: a full switch drops packets, and RoCE recovers slowly`, remedy);
}

/** Priorities with PFC, as the kernel's DCB interface has them: netlink, which Node cannot speak, but `dcb` does. */
function flowControlOf(machine: Machine, netdev: string): number[] | null {
  const text = machine.run('dcb', '-j', 'pfc', 'show', 'dev', netdev);
  if (text === null) return null;
  try {
    const { prio_pfc: isOn } = JSON.parse(text) as { prio_pfc?: unknown };
    if (!Array.isArray(isOn)) return null;
    return isOn.flatMap((value, priority) => (value === true ? [priority] : []));
  } catch {
    return null;
  }
}

/** Priorities for which it takes part at both ends: as who is told (RP), and who tells (NP). */
function ecnOf(machine: Machine, netdev: string): number[] | null {
  const folder = `${NETDEVS}/${netdev}/ecn`;
  const enabled = (role: string): number[] =>
    machine
      .list(`${folder}/${role}/enable`)
      .filter((priority) => machine.read(`${folder}/${role}/enable/${priority}`) === '1')
      .map(Number);
  if (!machine.exists(folder)) return null;
  const notifying = enabled('roce_np');
  return enabled('roce_rp').filter((priority) => notifying.includes(priority));
}
