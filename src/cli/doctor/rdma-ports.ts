/** The ports of all RDMA devices, as the kernel tells them below /sys/class/infiniband (sysfs-class-infiniband of its ABI). */

import { isIPv4 } from 'node:net';
import type { Machine } from './machine.js';

/** Whether silicon moves the data, or a driver of the kernel's does that makes a device of any network interface. */
export type DeviceKind = 'adapter' | 'siw' | 'rdma_rxe';
export type RdmaTransport = 'InfiniBand' | 'RoCE' | 'iWARP' | 'other';

/** An entry of a port's table of addresses. */
export interface Gid {
  readonly index: number;
  /** An IPv4 address where the GID maps one, else IPv6. */
  readonly address: string;
  readonly version: 'v1' | 'v2';
}

export interface RdmaPort {
  readonly device: string;
  readonly port: number;
  readonly kind: DeviceKind;
  readonly transport: RdmaTransport;
  /** `mlx5_core`; null for what has none. */
  readonly driver: string | null;
  readonly firmware: string | null;
  /** The network interface that it shares its addresses with, if that can be told. */
  readonly netdev: string | null;
  /** `ACTIVE`, `DOWN`, `INIT` ... */
  readonly state: string;
  /** `LinkUp`, `Polling`, `Disabled` ... */
  readonly physicalState: string;
  /** `100 Gb/sec (4X EDR)` */
  readonly rate: string | null;
  /** Of InfiniBand and RoCE. */
  readonly gids: readonly Gid[];
}

const DEVICES = 'sys/class/infiniband';
const NETDEVS = 'sys/class/net';
/** Of `node_type`. */
const CHANNEL_ADAPTER = 1;
const RNIC = 4;
/** What siw calls itself in `node_desc`. */
const SIW_DESCRIPTION = 'Software iWARP stack';
/** `type` of an IPoIB interface (ARPHRD_INFINIBAND). */
export const IPOIB_TYPE = '32';

export function readRdmaPorts(machine: Machine): RdmaPort[] {
  return machine.list(DEVICES).flatMap((device) =>
    machine
      .list(`${DEVICES}/${device}/ports`)
      .filter((port) => /^\d+$/.test(port))
      .map((port) => readPort(machine, device, Number(port))),
  );
}

/** `mlx5_0 port 1` */
export function portName({ device, port }: RdmaPort): string {
  return `${device} port ${port}`;
}

export function isUp({ state }: RdmaPort): boolean {
  return state === 'ACTIVE';
}

function readPort(machine: Machine, device: string, port: number): RdmaPort {
  const folder = `${DEVICES}/${device}`;
  const portFolder = `${folder}/ports/${port}`;
  const transport = transportOf(machine, folder, portFolder);
  const kind = kindOf(machine, folder, transport);
  const gids = transport === 'iWARP' ? [] : readGids(machine, portFolder);
  const rate = machine.read(`${portFolder}/rate`);
  const firmware = machine.read(`${folder}/fw_ver`);
  return {
    device,
    port,
    kind,
    transport,
    driver: machine.linkName(`${folder}/device/driver`),
    firmware: firmware === '' ? null : firmware,
    netdev: netdevOf(machine, folder, portFolder, port),
    state: wordOf(machine.read(`${portFolder}/state`)),
    physicalState: wordOf(machine.read(`${portFolder}/phys_state`)),
    // Software has no rate, and siw tells one all the same.
    rate: kind === 'adapter' ? rate : null,
    gids,
  };
}

/** The word of `4: ACTIVE`. */
function wordOf(text: string | null): string {
  return text?.replace(/^\d+:\s*/, '') ?? 'unknown';
}

function transportOf(machine: Machine, folder: string, portFolder: string): RdmaTransport {
  const nodeType = Number.parseInt(machine.read(`${folder}/node_type`) ?? '', 10);
  if (nodeType === RNIC) return 'iWARP';
  if (nodeType !== CHANNEL_ADAPTER) return 'other';
  return machine.read(`${portFolder}/link_layer`) === 'Ethernet' ? 'RoCE' : 'InfiniBand';
}

/** Devices in software are virtual ones; some kernels put them below the card that they use instead. */
function kindOf(machine: Machine, folder: string, transport: RdmaTransport): DeviceKind {
  if (machine.read(`${folder}/node_desc`) === SIW_DESCRIPTION) return 'siw';
  // Only rdma_rxe tells its network interface like that.
  if (machine.exists(`${folder}/parent`)) return 'rdma_rxe';
  if (machine.realPath(folder)?.includes('/devices/virtual/') !== true) return 'adapter';
  return transport === 'iWARP' ? 'siw' : 'rdma_rxe';
}

function netdevOf(machine: Machine, folder: string, portFolder: string, port: number): string | null {
  const parent = machine.read(`${folder}/parent`);
  if (parent) return parent;
  for (const index of machine.list(`${portFolder}/gid_attrs/ndevs`)) {
    const netdev = machine.read(`${portFolder}/gid_attrs/ndevs/${index}`);
    if (netdev) return netdev;
  }
  const own = machine.list(`${folder}/device/net`);
  if (own.length > 0) {
    const ofPort = own.find((netdev) => Number(machine.read(`${NETDEVS}/${netdev}/dev_port`)) === port - 1);
    return ofPort ?? own[0]!;
  }
  // siw makes its GUID from the interface's address.
  const guid = machine.read(`${folder}/node_guid`);
  const isSame = (netdev: string): boolean => guidOf(machine.read(`${NETDEVS}/${netdev}/address`)) === guid;
  return guid === null ? null : (machine.list(NETDEVS).find(isSame) ?? null);
}

/** The GUID that is made of a MAC address: EUI-64, with its local bit turned over (RFC 4291 appendix A). */
function guidOf(mac: string | null): string | null {
  const bytes = mac?.split(':').map((byte) => Number.parseInt(byte, 16)) ?? [];
  if (bytes.length !== 6 || bytes.every((byte) => byte === 0)) return null;
  const [first, ...rest] = bytes as [number, ...number[]];
  const eui = Buffer.from([first ^ 0x02, ...rest.slice(0, 2), 0xff, 0xfe, ...rest.slice(2)]);
  return eui.toString('hex').replace(/(.{4})(?=.)/g, '$1:');
}

function readGids(machine: Machine, portFolder: string): Gid[] {
  return machine.list(`${portFolder}/gids`).flatMap((index) => {
    const text = machine.read(`${portFolder}/gids/${index}`);
    if (text === null || /^[0:]*$/.test(text)) return [];
    const type = machine.read(`${portFolder}/gid_attrs/types/${index}`);
    const version = type === 'RoCE v2' ? 'v2' : 'v1';
    return [{ index: Number(index), address: addressOf(text), version }];
  });
}

/** From `0000:0000:0000:0000:0000:ffff:c000:0207` to `192.0.2.7`; of others, zeroes are left out. */
function addressOf(gid: string): string {
  const mapped = /^(?:0000:){5}ffff:(..)(..):(..)(..)$/.exec(gid);
  if (mapped !== null)
    return mapped
      .slice(1)
      .map((byte) => Number.parseInt(byte, 16))
      .join('.');
  try {
    return new URL(`http://[${gid}]`).hostname.slice(1, -1);
  } catch {
    return gid;
  }
}

/** Whether peers reach the GID by an IP address that somebody gave: every port has a link-local one by itself. */
export function isIpAddress({ address }: Gid): boolean {
  return isIPv4(address) || !/^fe[89ab]/i.test(address);
}
