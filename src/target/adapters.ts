/**
 * The adapters of this machine, for the portals of one server: a portal listens on each whose address it serves, on the port
 * that it has for TCP. Adapters, and addresses of theirs, come and go.
 */

import { isIPv6, SocketAddress } from 'node:net';
import type { TargetConnection } from '../iscsi/index.js';
import {
  type FoundDevice,
  fullName,
  listDevices,
  type RdmaListener,
  type RdmaProvider,
} from '../rdma/index.js';
import { RiserError } from '../util/errors.js';
import { lockableBytes } from '../util/locked-memory.js';
import type { Logger } from '../util/logger.js';
import type { Portal } from './portal.js';
import { TargetRdma } from './rdma.js';

/** How often it is looked which adapters and addresses there are, milliseconds. */
const LOOK_INTERVAL_MS = 5000;

export class Adapters {
  readonly #providers: readonly RdmaProvider[];
  readonly #log: Logger;
  readonly #portals: Portal[] = [];
  /** Open ones by their full names. */
  readonly #open = new Map<string, Adapter>();
  /** What has gone wrong and is in the log: it is tried again all the same. */
  readonly #failures = new Set<string>();
  #looking: Promise<void> = Promise.resolve();
  #timer: NodeJS.Timeout | null = null;
  #isStopped = false;

  constructor(providers: readonly RdmaProvider[], log: Logger) {
    this.#providers = providers;
    this.#log = log;
  }

  /** Listen for `portal`, too, on those that are there and those that will be. Resolves when those that are there do. */
  async serve(portal: Portal): Promise<void> {
    this.#portals.push(portal);
    if (this.#providers.length === 0) return;
    if (this.#timer === null) this.#tellUnusable();
    this.#timer ??= setInterval(() => void this.look(), LOOK_INTERVAL_MS).unref();
    await this.look();
  }

  /** See what has come and gone; one look at a time. */
  look(): Promise<void> {
    this.#looking = this.#looking.then(async () => {
      try {
        await this.#look();
      } catch (error) {
        this.#failed('adapters', `adapters cannot be listed: ${String(error)}`);
      }
    });
    return this.#looking;
  }

  /** Accept no more. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#timer !== null) clearInterval(this.#timer);
    await this.#looking;
    for (const adapter of this.#open.values()) await adapter.stop();
  }

  /** Let go of them: all connections are gone. */
  async close(): Promise<void> {
    for (const adapter of this.#open.values()) await adapter.close();
    this.#open.clear();
  }

  /** Once: on most machines nothing is wrong with that. */
  #tellUnusable(): void {
    for (const provider of this.#providers) {
      const { isUsable, reason } = provider.probe();
      if (!isUsable)
        this.#log.info(`iSER is by iWARP in software; adapters (${provider.name}) are not usable: ${reason}`);
    }
  }

  async #look(): Promise<void> {
    if (this.#isStopped) return;
    const found = new Map((await listDevices(this.#providers)).map((device) => [fullName(device), device]));
    for (const [name, adapter] of this.#open) {
      if (!found.has(name)) await this.#lose(name, adapter, new Error('the device is not there any more'));
    }
    for (const [name, device] of found) {
      try {
        await this.#serveBy(name, device);
      } catch (error) {
        this.#failed(name, `${name} cannot be used: ${messageOf(error)}`);
      }
    }
  }

  async #serveBy(name: string, { provider, info }: FoundDevice): Promise<void> {
    const wanted = new Map<string, [Portal, string]>();
    for (const portal of this.#portals)
      for (const address of info.addresses)
        if (serves(portal, address)) wanted.set(`${portal.portalGroupTag} ${address}`, [portal, address]);
    let adapter = this.#open.get(name);
    if (adapter === undefined) {
      if (wanted.size === 0 || info.state !== 'ACTIVE') return;
      adapter = await this.#openAdapter(name, provider, info.name);
    }
    await adapter.closeListeners((key) => !wanted.has(key));
    for (const [key, [portal, address]] of wanted) {
      if (this.#isStopped || adapter.isListening(key)) continue;
      const where = `${name}, ${address} port ${portal.address.port}`;
      try {
        await adapter.listen(key, portal, address);
        this.#failures.delete(where);
        this.#log.info(`listening on ${where}, for iSER`, { device: info.name });
      } catch (error) {
        this.#failed(where, `not listening on ${where}: ${whyNot(error)}`);
      }
    }
  }

  async #openAdapter(name: string, provider: RdmaProvider, deviceName: string): Promise<Adapter> {
    const device = await provider.open(deviceName, {
      deviceFatal: (error) => {
        const lost = this.#open.get(name);
        if (lost?.rdma.device !== device) return;
        lost.drop(error);
        this.#looking = this.#looking.then(() => this.#lose(name, lost, error));
      },
      portChanged: (isActive) => {
        // Sessions that it has outlast a cable that is put elsewhere, or end by their keepalive.
        this.#log.warn(`${name}: its port is ${isActive ? 'up again' : 'down'}`);
        if (isActive) void this.look();
      },
    });
    try {
      const adapter = new Adapter(new TargetRdma(device, lockableBytes()));
      this.#open.set(name, adapter);
      this.#failures.delete(name);
      return adapter;
    } catch (error) {
      await device.close();
      throw error;
    }
  }

  async #lose(name: string, adapter: Adapter, reason: Error): Promise<void> {
    if (this.#open.get(name) !== adapter || this.#isStopped) return;
    this.#open.delete(name);
    this.#log.error(`${name} is lost: ${reason.message}`);
    try {
      adapter.drop(reason);
      await adapter.stop();
      await adapter.close();
    } catch (error) {
      this.#log.warn(`${name}: ${messageOf(error)}`);
    }
  }

  #failed(what: string, message: string): void {
    if (!this.#failures.has(what)) this.#log.warn(message);
    this.#failures.add(what);
  }
}

/** An open one. */
class Adapter {
  readonly rdma: TargetRdma;
  readonly #listeners = new Map<string, RdmaListener>();
  readonly #connections = new Set<TargetConnection>();
  #isLost = false;

  constructor(rdma: TargetRdma) {
    this.rdma = rdma;
  }

  isListening(key: string): boolean {
    return this.#listeners.has(key);
  }

  async listen(key: string, portal: Portal, address: string): Promise<void> {
    const { port } = portal.address;
    const listener = await this.rdma.device.listen(
      { address, port },
      {
        requested: (request, asked) => {
          if (this.#isLost) {
            request.close();
            return;
          }
          for (const one of this.#connections) if (one.isClosed) this.#connections.delete(one);
          this.#connections.add(portal.acceptRdma(request, asked, this.rdma));
        },
      },
    );
    this.#listeners.set(key, listener);
  }

  async closeListeners(matches: (key: string) => boolean): Promise<void> {
    for (const [key, listener] of this.#listeners) {
      if (!matches(key)) continue;
      this.#listeners.delete(key);
      await listener.close();
    }
  }

  /** Accept no more. */
  stop(): Promise<void> {
    return this.closeListeners(() => true);
  }

  /** End all connections, and take no more. */
  drop(reason: Error): void {
    this.#isLost = true;
    for (const connection of this.#connections) if (!connection.isClosed) connection.drop(reason);
  }

  close(): Promise<void> {
    return this.rdma.close();
  }
}

/** Whether connections to `address` of this machine are the portal's. */
function serves({ address: { address: own } }: Portal, address: string): boolean {
  if (own === '0.0.0.0') return !isIPv6(address);
  if (own === '::') return isIPv6(address);
  return isIPv6(own) === isIPv6(address) && plain(own) === plain(address);
}

/** In the one form of an IPv6 address; that of a link with its interface. */
function plain(text: string): string {
  const [address, zone] = text.split('%');
  if (!isIPv6(address!)) return text;
  const { address: one } = new SocketAddress({ address: address!, family: 'ipv6' });
  return zone === undefined ? one : `${one}%${zone}`;
}

function whyNot(error: unknown): string {
  if (error instanceof RiserError && error.code === 'ADDRESS_IN_USE')
    return 'its ports are those of TCP, where software iWARP answers';
  return messageOf(error);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
