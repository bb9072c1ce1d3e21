/** The RDMA devices of this process's sessions: opened when the first one wants them, and shared. */

import { type InitiatorDatamover, RegisteredMemory } from '../datamover/index.js';
import {
  adapterProviders,
  findDevice,
  type FoundDevice,
  IwarpProvider,
  listDevices,
  type RdmaDevice,
  type RdmaProvider,
} from '../rdma/index.js';
import { IwarpDevice } from '../rdma/iwarp/device.js';
import { lockableBytes } from '../util/locked-memory.js';

/** Bytes of applications' memory that stay registered with a device although no task uses them. */
const KEPT_REGISTERED = 256 << 20;

/** By which device a session is to go. */
export interface DeviceChoice {
  /**
   * The name of one, as `riser rdma devices` lists it. Default: the first adapter by which the target is reached over iSER,
   * else software iWARP.
   */
  device?: string;
  /** Those whose devices are used besides software iWARP; none for an empty list. Default: all. */
  adapters?: readonly RdmaProvider[];
}

export class InitiatorRdma<Device extends RdmaDevice = RdmaDevice> {
  readonly device: Device;
  readonly registered: RegisteredMemory;
  /** Some may be over. */
  readonly #connections = new Set<WeakRef<InitiatorDatamover>>();

  constructor(device: Device, limit: number) {
    this.device = device;
    this.registered = new RegisteredMemory(device, limit);
  }

  add(datamover: InitiatorDatamover): void {
    for (const known of this.#connections) if (known.deref() === undefined) this.#connections.delete(known);
    this.#connections.add(new WeakRef(datamover));
  }

  /** The device is gone: its connections end, and nothing of it is used any more. */
  async drop(reason: Error): Promise<void> {
    for (const known of this.#connections) known.deref()?.deallocateConnectionResources(reason);
    this.registered.close();
    await this.device.close();
  }
}

/** One that may lead to a target. */
export interface UsableDevice {
  readonly name: string;
  readonly open: () => Promise<InitiatorRdma>;
}

let software: InitiatorRdma<IwarpDevice> | null = null;
const opened = new Map<RdmaProvider, Map<string, Promise<InitiatorRdma>>>();

export function softwareRdma(): InitiatorRdma<IwarpDevice> {
  software ??= new InitiatorRdma(new IwarpDevice(), KEPT_REGISTERED);
  return software;
}

/**
 * Those to try, one after the other.
 *
 * @throws RiserError `RDMA_DEVICE_MISSING`, `RDMA_DEVICE_AMBIGUOUS`
 */
export async function devicesFor({
  device,
  adapters = adapterProviders(),
}: DeviceChoice): Promise<UsableDevice[]> {
  const ofAdapter = (found: FoundDevice): UsableDevice => ({
    name: found.info.name,
    open: () => openAdapter(found),
  });
  const bySoftware = { name: 'iwarp', open: () => Promise.resolve(softwareRdma()) };
  if (device !== undefined) {
    const found = await findDevice(device, [new IwarpProvider(), ...adapters]);
    return [adapters.includes(found.provider) ? ofAdapter(found) : bySoftware];
  }
  // What cannot be listed leads nowhere.
  const found = await listDevices(adapters).catch(() => []);
  const active = found.filter(({ info }) => info.state === 'ACTIVE');
  return [...active.map(ofAdapter), bySoftware];
}

function openAdapter({ provider, info: { name } }: FoundDevice): Promise<InitiatorRdma> {
  let devices = opened.get(provider);
  if (devices === undefined) opened.set(provider, (devices = new Map<string, Promise<InitiatorRdma>>()));
  const known = devices.get(name);
  if (known !== undefined) return known;
  const forget = (): void => {
    if (devices.get(name) === opening) devices.delete(name);
  };
  const opening = provider
    .open(name, {
      deviceFatal: (error) => {
        forget();
        // What cannot be closed of a device that is gone is gone with it.
        opening.then((rdma) => rdma.drop(error)).catch(() => undefined);
      },
    })
    .then((device) => new InitiatorRdma(device, Math.min(KEPT_REGISTERED, lockableBytes())));
  devices.set(name, opening);
  opening.catch(forget);
  return opening;
}
