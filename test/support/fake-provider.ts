/**
 * Devices made of software iWARP that stand for adapters: each is there or not, serves addresses, and has ports of its own,
 * which another address of the loopback network stands for. Listening on them does not collide with a portal's TCP.
 */

import { IwarpDevice } from '../../src/rdma/iwarp/device.js';
import type {
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

/** What a {@link FakeProvider} has. */
export interface FakeAdapter {
  info: DeviceInfo;
  /** A device of the test's own; software iWARP as it is by default. */
  make?: (adapter: FakeAdapter) => IwarpDevice;
}

export class FakeProvider implements RdmaProvider {
  readonly name: string;
  /** Those that are there now. */
  readonly adapters: FakeAdapter[];
  /** Open ones, each with who hears of it. */
  readonly opened: { device: IwarpDevice; events: DeviceEvents; name: string }[] = [];
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

  open(name: string, events: DeviceEvents = {}): Promise<IwarpDevice> {
    const adapter = this.adapters.find(({ info }) => info.name === name);
    if (adapter === undefined)
      return Promise.reject(
        new RiserError('RDMA_DEVICE_MISSING', `there is no RDMA device "${name}"`, {
          by: 'local',
          costs: 'task',
        }),
      );
    const device = (adapter.make ?? ((made) => new FakeAdapterDevice(made)))(adapter);
    this.opened.push({ device, events, name });
    return Promise.resolve(device);
  }

  /** Unplugged: it is not listed any more, and who has it open is told. */
  unplug(name: string): void {
    this.adapters.splice(
      this.adapters.findIndex(({ info }) => info.name === name),
      1,
    );
    for (const one of this.opened.splice(0)) {
      if (one.name === name) one.events.deviceFatal?.(new Error('it was pulled out'));
      else this.opened.push(one);
    }
  }
}

/** Software iWARP that serves an adapter's addresses only, and says that others are not reached by it. */
export class FakeAdapterDevice extends IwarpDevice {
  override readonly name: string;
  readonly #addresses: readonly string[];

  constructor({ info }: FakeAdapter) {
    super();
    this.name = info.name;
    this.#addresses = info.addresses;
  }

  override listen(options: ListenOptions, events: ListenerEvents): Promise<RdmaListener> {
    if (!this.#addresses.includes(options.address))
      throw new RiserError('LISTEN', `${this.name} does not serve ${options.address}`, {
        by: 'local',
        costs: 'task',
      });
    return super.listen(options, events);
  }

  override resolve(options: ResolveOptions): Promise<RdmaConnection> {
    if (this.#addresses.includes(options.host)) return super.resolve(options);
    return Promise.reject(
      new RiserError('RDMA_UNREACHABLE', `no way to ${options.host} by ${this.name}`, {
        by: 'local',
        costs: 'connection',
      }),
    );
  }
}
