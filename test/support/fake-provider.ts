/**
 * Devices made of software iWARP that stand for adapters: each is there or not, and serves addresses. It has ports of its own, which
 * are those of another address of the loopback network: so listening on them does not collide with a portal's TCP.
 */

import type {
  DeviceAttributes,
  DeviceEvents,
  DeviceInfo,
  ListenerEvents,
  ListenOptions,
  Probe,
  RdmaConnection,
  RdmaListener,
  RdmaProvider,
  ResolveOptions,
} from '../../src/rdma/verbs.js';
import { RiserError } from '../../src/util/errors.js';
import { NarrowDevice } from './narrow-device.js';

/** Where a fake adapter's ports are. */
export const WIRE = '127.0.0.2';

export interface FakeAdapter {
  info: DeviceInfo;
  /** Where its ports are. Default: {@link WIRE}. */
  wire?: string;
  /** What it can do less than software iWARP. */
  narrow?: Partial<DeviceAttributes>;
}

/** One called `name` that serves `addresses`, 127.0.0.1 by default. */
export function adapter(
  name: string,
  { addresses = ['127.0.0.1'], ...more }: Partial<FakeAdapter> & { addresses?: readonly string[] } = {},
): FakeAdapter {
  return { info: { name, transport: 'RoCE', state: 'ACTIVE', addresses }, ...more };
}

export class FakeProvider implements RdmaProvider {
  readonly name: string;
  /** Those that are there now. */
  adapters: FakeAdapter[];
  /** Those that were opened, each with who hears of it. */
  readonly opened: { device: FakeDevice; events: DeviceEvents }[] = [];
  isUsable = true;

  constructor(name: string, ...adapters: FakeAdapter[]) {
    this.name = name;
    this.adapters = adapters;
  }

  probe(): Probe {
    return { isUsable: this.isUsable, reason: this.isUsable ? 'by a test' : 'the test says so' };
  }

  devices(): Promise<readonly DeviceInfo[]> {
    return Promise.resolve(this.adapters.map(({ info }) => info));
  }

  open(name: string, events: DeviceEvents = {}): Promise<FakeDevice> {
    const found = this.adapters.find(({ info }) => info.name === name);
    if (found === undefined) return Promise.reject(refused('RDMA_DEVICE_MISSING', `there is no "${name}"`));
    const device = new FakeDevice(found);
    this.opened.push({ device, events });
    return Promise.resolve(device);
  }

  /** Not listed any more, and who has it open is told. */
  unplug(name: string): void {
    this.adapters = this.adapters.filter(({ info }) => info.name !== name);
    for (const { device, events } of this.opened)
      if (device.name === name) events.deviceFatal?.(new Error('it was pulled out'));
  }
}

export class FakeDevice extends NarrowDevice {
  override readonly name: string;
  isClosed = false;
  readonly #addresses: readonly string[];
  readonly #wire: string;

  constructor({ info, wire = WIRE, narrow = {} }: FakeAdapter) {
    super(narrow, { mayAnswerFirst: true });
    this.name = info.name;
    this.#addresses = info.addresses;
    this.#wire = wire;
  }

  override listen({ address, port }: ListenOptions, events: ListenerEvents): Promise<RdmaListener> {
    if (this.#addresses.includes(address)) return super.listen({ address: this.#wire, port }, events);
    return Promise.reject(refused('LISTEN', `${this.name} does not serve ${address}`));
  }

  override resolve(options: ResolveOptions): Promise<RdmaConnection> {
    if (this.#addresses.includes(options.host)) return super.resolve({ ...options, host: this.#wire });
    return Promise.reject(refused('RDMA_UNREACHABLE', `no way to ${options.host} by ${this.name}`));
  }

  override close(): Promise<void> {
    this.isClosed = true;
    return super.close();
  }
}

function refused(code: string, message: string): RiserError {
  return new RiserError(code, message, { by: 'local', costs: 'task' });
}
