/**
 * The CPU time of a target on this machine: that of the process that listens on its portal, as proc(5) tells it.
 *
 * A listening socket is a row of `net/tcp` or `net/tcp6` with an inode, and the process that has it is the one with that
 * inode among its descriptors.
 */

import { lookup } from 'node:dns/promises';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename } from 'node:path';
import { isIPv6, SocketAddress } from 'node:net';
import { endianness, networkInterfaces } from 'node:os';
import type { PortalAddress } from '../../initiator/index.js';
import { systemCode } from '../../util/errors.js';
import { formatPortal, isLoopback } from '../portal.js';

/** The processes that are a target, or why they are not known: a part of a sentence. */
export type TargetProcesses =
  | { readonly processes: readonly TargetProcess[]; readonly reason: null }
  | { readonly processes: null; readonly reason: string };

export interface TargetProcess {
  readonly pid: number;
  /** Of its program, at most 15 characters. */
  readonly name: string;
}

/** This machine, unless a test makes up another one. */
export interface Machine {
  /** Where proc(5) is mounted. */
  readonly proc: string;
  /** This process. */
  readonly pid: number;
  /** Apart from loopback. */
  readonly addresses: readonly string[];
}

/** USER_HZ: process times are in these units on every Linux that Node runs on. */
const CLOCK_TICKS_PER_SECOND = 100;
/** TCP_LISTEN of the kernel's tcp_states.h. */
const LISTEN = '0A';
const ANY_IPV4 = '0.0.0.0';
const ANY_IPV6 = '::';

function thisMachine(): Machine {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all?.map((one) => one.address) ?? []);
  return { proc: '/proc', pid: process.pid, addresses };
}

/** User and system time that a process and all its threads have used, in seconds (proc(5), stat fields 14 and 15). */
export function cpuSeconds(pid: number, proc = '/proc'): number {
  const stat = readFileSync(`${proc}/${pid}/stat`, 'latin1');
  // The command name, field 2, may hold spaces; what follows its closing parenthesis starts at field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / CLOCK_TICKS_PER_SECOND;
}

/** Of all of `target`, in seconds; null when it is not known, or one of them has ended. */
export function targetSeconds({ processes }: TargetProcesses, proc = '/proc'): number | null {
  if (processes === null) return null;
  try {
    return processes.reduce((sum, { pid }) => sum + cpuSeconds(pid, proc), 0);
  } catch {
    return null;
  }
}

/**
 * Who listens on `portals`, one process on each: several are the paths of multipath. Host names are looked up.
 *
 * @returns never throws; the reason when there is no telling
 */
export async function findTarget(
  portals: readonly PortalAddress[],
  machine: Machine = thisMachine(),
): Promise<TargetProcesses> {
  if (portals.length === 0) return { processes: null, reason: 'none of its portals is connected' };
  const found = new Map<number, TargetProcess>();
  try {
    for (const portal of portals) {
      const one = await findListener(portal, machine);
      if (one.pid === machine.pid)
        throw new Unknown(
          'target and initiator are one process, and the time of the initiator is that of both',
        );
      found.set(one.pid, one);
    }
  } catch (error) {
    if (error instanceof Unknown) return { processes: null, reason: error.message };
    throw error;
  }
  return { processes: [...found.values()], reason: null };
}

/** Why something is not known. */
class Unknown extends Error {}

async function findListener({ host, port }: PortalAddress, machine: Machine): Promise<TargetProcess> {
  const addresses = await addressesOf(host);
  if (!addresses.every((address) => isLocal(address, machine)))
    throw new Unknown(`${host} is not this machine`);
  const where = formatPortal({ address: host, port });
  const sockets = listeningSockets(port, machine.proc);
  const inodes = new Set(addresses.flatMap((address) => inodesFor(address, sockets)));
  if (inodes.size === 0) throw new Unknown(`nothing in this network namespace listens on ${where} by TCP`);
  const { holders, isAllVisible } = holdersOf(inodes, machine.proc);
  if (holders.length > 1)
    throw new Unknown(`${holders.length} processes listen on ${where}: ${holders.join(', ')}`);
  const [pid] = holders;
  if (pid !== undefined) return { pid, name: nameOf(pid, machine.proc) };
  throw new Unknown(
    isAllVisible
      ? `what listens on ${where} is no process but the kernel`
      : `what listens on ${where} is a process of another user, or the kernel`,
  );
}

/** All of a name, in one form for each address. */
async function addressesOf(host: string): Promise<string[]> {
  try {
    const found = await lookup(host, { all: true });
    return found.map(({ address }) => canonical(address));
  } catch {
    throw new Unknown(`${host} is no name that can be looked up`);
  }
}

/** As the system writes it; without a zone, and an IPv4-mapped address as the IPv4 address. */
function canonical(text: string): string {
  const bare = text.replace(/%.*$/, '');
  const { address } = new SocketAddress({ address: bare, family: isIPv6(bare) ? 'ipv6' : 'ipv4' });
  return address.replace(/^::ffff:(?=\d+\.)/i, '');
}

function isLocal(address: string, { addresses }: Machine): boolean {
  const isAny = address === ANY_IPV4 || address === ANY_IPV6;
  return isAny || isLoopback({ address, port: 0 }) || addresses.some((own) => canonical(own) === address);
}

interface ListeningSocket {
  readonly address: string;
  readonly inode: string;
}

function listeningSockets(port: number, proc: string): ListeningSocket[] {
  return ['tcp', 'tcp6'].flatMap((file) => {
    const [, ...rows] = readTable(`${proc}/net/${file}`);
    return rows.flatMap((row) => {
      const [, local = '', , state, , , , , , inode = ''] = row.trim().split(/\s+/);
      const [address = '', hexPort = ''] = local.split(':');
      if (state !== LISTEN || parseInt(hexPort, 16) !== port) return [];
      return [{ address: parseAddress(address), inode }];
    });
  });
}

/** Lines of a file in `net`; a kernel without IPv6 has no `tcp6`. */
function readTable(path: string): string[] {
  try {
    return readFileSync(path, 'latin1').split('\n');
  } catch (error) {
    if (path.endsWith('6') && systemCode(error) === 'ENOENT') return [];
    throw new Unknown(`this system does not tell who listens: ${path} cannot be read`);
  }
}

/** An address as 32-bit words in hexadecimal digits, each in the order of this machine. */
function parseAddress(hex: string): string {
  const bytes = Buffer.from(hex, 'hex');
  if (endianness() === 'LE') bytes.swap32();
  if (bytes.length === 4) return bytes.join('.');
  return canonical(bytes.toString('hex').replace(/(.{4})(?!$)/g, '$1:'));
}

/** Which sockets get what is sent to `address`: the kernel prefers those that name it. */
function inodesFor(address: string, sockets: readonly ListeningSocket[]): string[] {
  const ranks = isIPv6(address) ? [address, ANY_IPV6] : [address, ANY_IPV4, ANY_IPV6];
  const own = ranks.find((rank) => sockets.some((socket) => socket.address === rank));
  return sockets.filter((socket) => socket.address === own).map(({ inode }) => inode);
}

/** The processes that have one of these sockets open, and whether all processes could be looked at. */
function holdersOf(inodes: ReadonlySet<string>, proc: string): { holders: number[]; isAllVisible: boolean } {
  const targets = new Set([...inodes].map((inode) => `socket:[${inode}]`));
  const holders: number[] = [];
  let isAllVisible = true;
  for (const entry of readdirSync(proc)) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      const folder = `${proc}/${entry}/fd`;
      if (readdirSync(folder).some((fd) => targets.has(linkOf(`${folder}/${fd}`))))
        holders.push(Number(entry));
    } catch (error) {
      // Others have ended meanwhile.
      const code = systemCode(error);
      if (code === 'EACCES' || code === 'EPERM') isAllVisible = false;
    }
  }
  return { holders: holders.sort((a, b) => a - b), isAllVisible };
}

/** Empty for a descriptor that is closed meanwhile. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return '';
    throw error;
  }
}

/** Of its program; `comm` is the main thread's, which programs may change (Node does since version 24). */
function nameOf(pid: number, proc: string): string {
  try {
    return basename(readlinkSync(`${proc}/${pid}/exe`));
  } catch {
    // Of another user's process it cannot be read.
  }
  try {
    return readFileSync(`${proc}/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
