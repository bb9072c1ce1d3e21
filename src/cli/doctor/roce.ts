/** Which addresses RDMA ports have: GIDs of RoCE, and those of the IP interface over InfiniBand. */

import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import { type Gid, IPOIB_TYPE, isIpAddress, isUp, portName, type RdmaPort } from './rdma-ports.js';

const { good, notice, problem } = findingsAbout('RoCE and GIDs');

/** iSER finds its peers by IP addresses, whatever moves the data (rdma_cm(7)). */
export function inspectAddresses(machine: Machine, ports: readonly RdmaPort[]): Finding[] {
  const usable = ports.filter(isUp);
  const hasAddress = (port: RdmaPort): boolean =>
    port.transport === 'RoCE'
      ? port.gids.some(isIpAddress)
      : port.transport === 'InfiniBand' &&
        ipoibOf(machine, port).some(({ addresses }) => addresses.length > 0);
  const isAnyUseful = usable.some((port) => port.transport === 'iWARP' || hasAddress(port));
  // One of several ports without address is in nobody's way.
  const lack = isAnyUseful ? notice : problem;
  return usable.flatMap((port) => {
    if (port.transport === 'RoCE')
      return [hasAddress(port) ? describeGids(port) : lacksGid(port, lack), ...inspectMode(machine, port)];
    return port.transport === 'InfiniBand' ? [inspectIpoib(machine, port, lack)] : [];
  });
}

/** `mlx5_0 port 1: RoCE v2 for 192.0.2.7 (GID 3), RoCE v1 for 192.0.2.7 (GID 2)` */
function describeGids(port: RdmaPort): Finding {
  const gids = port.gids.filter(isIpAddress);
  const newest = gids.filter(({ version }) => version === 'v2');
  const list = (all: readonly Gid[]): string =>
    all.map(({ address, index }) => `${address} (GID ${index})`).join(', ');
  if (newest.length > 0) return good(`${portName(port)}: RoCE v2 for ${list(newest)}`);
  return notice(
    `${portName(port)}: RoCE v1 only, for ${list(gids)}: it ends at the first router, and peers that speak v2 do not hear it`,
    'See whether firmware and driver of the adapter have RoCE v2 (UDP port 4791); else use machines of one Ethernet segment.',
  );
}

function lacksGid(port: RdmaPort, report: typeof problem): Finding {
  const { netdev, gids } = port;
  const says =
    gids.length === 0
      ? 'has no GID'
      : `has no GID of an IP address, only of ${gids.map(({ address }) => address).join(', ')}`;
  if (netdev === null)
    return report(`${portName(port)} ${says}`, 'Give its network interface an IP address, and switch it on.');
  return report(
    `${portName(port)} ${says}: its interface ${netdev} has no IP address`,
    `Give it one, such as: ip address add 192.0.2.7/24 dev ${netdev}; ip link set ${netdev} up`,
  );
}

/** What connections take unless told; the kernel's own choice, RoCE v2 where there is, has no file until somebody looks. */
function inspectMode(machine: Machine, { device, port, gids }: RdmaPort): Finding[] {
  const mode = machine.read(`sys/kernel/config/rdma_cm/${device}/ports/${port}/default_roce_mode`);
  if (mode === null || mode === 'RoCE v2' || !gids.some(({ version }) => version === 'v2')) return [];
  return [
    notice(
      `${device} port ${port}: connections are made by "${mode}", although RoCE v2 is there`,
      `cma_roce_mode -d ${device} -p ${port} -m 2`,
    ),
  ];
}

interface IpoibInterface {
  readonly name: string;
  readonly addresses: readonly string[];
}

function inspectIpoib(machine: Machine, port: RdmaPort, report: typeof problem): Finding {
  const interfaces = ipoibOf(machine, port);
  const found = interfaces.find(({ addresses }) => addresses.length > 0);
  if (found !== undefined)
    return good(`${portName(port)}: reached by IP address ${found.addresses.join(', ')} of ${found.name}`);
  if (interfaces.length === 0)
    return report(
      `${portName(port)} has no IP interface, and iSER finds its peers by IP address`,
      'modprobe ib_ipoib, and give the interface ib... an address.',
    );
  const { name } = interfaces[0]!;
  return report(
    `${portName(port)}: its IP interface ${name} has no address`,
    `ip address add 192.0.2.7/24 dev ${name}; ip link set ${name} up`,
  );
}

/** IP interfaces over the InfiniBand port. */
function ipoibOf(machine: Machine, { device, port }: RdmaPort): IpoibInterface[] {
  return machine
    .list(`sys/class/infiniband/${device}/device/net`)
    .filter((name) => {
      const folder = `sys/class/net/${name}`;
      const isOfPort = Number(machine.read(`${folder}/dev_port`) ?? port - 1) === port - 1;
      return isOfPort && machine.read(`${folder}/type`) === IPOIB_TYPE;
    })
    .map((name) => ({ name, addresses: machine.addressesOf(name) }));
}
