/** A Riser target inside of the test process, on a port of its own. */

import type { BlockDevice } from '../../src/block/index.js';
import type { RecoveryOffer } from '../../src/iscsi/index.js';
import { type Target, type TargetLimits, TargetServer } from '../../src/target/index.js';
import type { RdmaProvider } from '../../src/rdma/index.js';
import { silentLogger, type Logger } from '../../src/util/logger.js';
import { Initiator } from './initiator.js';
import { IserBridge } from './iser-bridge.js';
import type { Keys, LoginOptions } from './login.js';

export const TARGET_NAME = 'iqn.2026-01.example.test:target';

/** What one LUN is made of. */
export interface TestLun {
  device: BlockDevice;
  type?: 'disk' | 'cdrom';
  provisioning?: 'thin' | 'full';
  removable?: boolean;
  /** Bytes; default: the device's block size. */
  physicalBlockSize?: number;
}

export interface TestTargetOptions {
  log?: Logger;
  limits?: Partial<TargetLimits>;
  /** With `iser`, initiators over TCP reach the target by a bridge, as sessions over iSER. */
  transport?: Transport;
  /** What sessions may agree on. */
  recovery?: Partial<RecoveryOffer>;
  /** Besides software iWARP. */
  adapters?: readonly RdmaProvider[];
}

export type Transport = 'tcp' | 'iser';

export class TestTarget {
  readonly server: TargetServer;
  readonly target: Target;
  /** Where initiators over TCP find it. */
  readonly port: number;
  /** Of the sessions that there have been. */
  readonly transports = new Set<Transport>();
  readonly #devices: readonly BlockDevice[];
  readonly #bridge: IserBridge | null;

  private constructor(
    server: TargetServer,
    target: Target,
    port: number,
    devices: readonly BlockDevice[],
    bridge: IserBridge | null,
  ) {
    this.server = server;
    this.target = target;
    this.port = bridge?.port ?? port;
    this.#devices = devices;
    this.#bridge = bridge;
    server.events = {
      sessionOpened: ({ transport }) => this.transports.add(transport),
      sessionClosed: () => undefined,
    };
  }

  /** Serve `luns` as LUN 0, 1, ... of the target {@link TARGET_NAME}; the devices are closed with it. */
  static async start(luns: readonly TestLun[], options: TestTargetOptions = {}): Promise<TestTarget> {
    const { log = silentLogger, limits = {}, transport = 'tcp', adapters = [], recovery = {} } = options;
    const server = new TargetServer({ log, limits, adapters });
    const target = server.addTarget({ name: TARGET_NAME, recovery });
    luns.forEach(
      (
        {
          device,
          type = 'disk',
          provisioning = 'thin',
          removable = false,
          physicalBlockSize = device.blockSize,
        },
        lun,
      ) => {
        target.addLun(lun, { device, type, provisioning, removable, physicalBlockSize });
      },
    );
    const { port } = await server.listen({ address: '127.0.0.1', port: 0 });
    return new TestTarget(
      server,
      target,
      port,
      luns.map((lun) => lun.device),
      transport === 'iser' ? await IserBridge.start(port) : null,
    );
  }

  /** A LUN as libiscsi's tools and QEMU name it. */
  url(lun: number): string {
    return `iscsi://127.0.0.1:${this.port}/${TARGET_NAME}/${lun}`;
  }

  login(options: Partial<LoginOptions> = {}): Promise<Initiator> {
    return Initiator.login({ port: this.port, targetName: TARGET_NAME, ...options });
  }

  /** A discovery session. */
  discover(keys: Keys = {}): Promise<Initiator> {
    return Initiator.login({ port: this.port, keys });
  }

  async close(): Promise<void> {
    await this.#bridge?.close();
    await this.server.close({ graceMs: 0 });
    for (const device of this.#devices) await device.close();
  }
}
