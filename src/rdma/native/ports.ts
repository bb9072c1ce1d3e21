/** Ports of a device, as libibverbs and the kernel's files of it tell them. */

import { readdirSync, readFileSync } from 'node:fs';
import { SocketAddress } from 'node:net';

import type { DeviceInfo, GidInfo, PortInfo } from '../verbs.js';
import { PORT_STATES } from './constants.js';
import { addon, type NativePort } from './library.js';

/** A GID of IPv4 (RFC 4291 2.5.5.2). */
const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/;
/** Made of an interface's MAC address, and local to it. */
const LINK_LOCAL = /^fe[89ab]/;

/** @throws Error with an errno when it cannot be opened */
export function infoOf(name: string, addresses: readonly string[]): DeviceInfo {
  const handle = new (addon().Device)(name);
  try {
    const { isIwarp, ports: count } = handle.attributes();
    const native = Array.from({ length: count }, (_, i) => handle.port(i + 1));
    const transport = isIwarp ? 'iWARP' : native[0]!.isEthernet ? 'RoCE' : 'InfiniBand';
    const ports = native.map((port, i) => portOf(name, i + 1, port, isIwarp));
    // What connections need is one that is up.
    const state = ports.find((port) => port.state === 'ACTIVE')?.state ?? ports[0]!.state;
    return { name, transport, state, addresses, ports };
  } finally {
    handle.close();
  }
}

function portOf(device: string, number: number, port: NativePort, isIwarp: boolean): PortInfo {
  return {
    number,
    state: PORT_STATES[port.state] ?? `state ${port.state}`,
    activeMtu: isIwarp ? null : port.activeMtu,
    gids: isIwarp
      ? []
      : gidsIn(`/sys/class/infiniband/${device}/ports/${number}`, port.isEthernet ? 'RoCE v1' : 'IB'),
  };
}

/** The GIDs of the port whose files are in `folder`. `plainType`: of those that are not RoCE v2, for which the kernel has one name. */
export function gidsIn(folder: string, plainType: string): GidInfo[] {
  const entries = contentOf(() => readdirSync(`${folder}/gids`)) ?? [];
  const found: GidInfo[] = [];
  for (const index of entries.map(Number).sort((a, b) => a - b)) {
    const read = (file: string): string | null =>
      contentOf(() => readFileSync(`${folder}/${file}/${index}`, 'utf8').trim());
    const text = read('gids');
    // An empty one is zeroes, and has no type.
    const type = text === null || /^[0:]*$/.test(text) ? null : read('gid_attrs/types');
    if (text === null || type === null) continue;
    const gid = new SocketAddress({ address: text, family: 'ipv6' }).address;
    const address = plainType === 'IB' || LINK_LOCAL.test(gid) ? null : (MAPPED.exec(gid)?.[1] ?? gid);
    const inter = read('gid_attrs/ndevs');
    found.push({ index, gid, type: type === 'RoCE v2' ? type : plainType, address, interface: inter });
  }
  return found;
}

/** Null for a file that is not there, or cannot be read. */
function contentOf<T>(read: () => T): T | null {
  try {
    return read();
  } catch {
    return null;
  }
}
