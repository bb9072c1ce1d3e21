/**
 * A scenario: a guest is booted, tests do things in it and on the host, and at the end its kernel must not
 * have reported an error, nor a captured packet be malformed.
 */

import assert from 'node:assert/strict';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';

import { ROOT } from '../../test/support/files.js';
import { whatIsMissing } from '../guest-image.js';
import { type CapturedProtocol, inspectCapture } from './capture.js';
import { Guest } from './guest.js';
import { HostRiser, type LunSettings, type MoreSettings } from './host-riser.js';
import { kernelFaults } from './kernel-log.js';
import type { Hardware } from './qemu.js';

/** A folder for each scenario, with all that it wrote; {@link ../run-scenarios.ts} removes those of the ones that passed. */
export const RESULTS = join(ROOT, '.cache/lab/results');

export type ScenarioOptions = Partial<Hardware> & {
  /** Seconds for the whole of it; default 600. */
  limit?: number;
  /** What the capture is about; default: iSCSI. */
  protocol?: CapturedProtocol;
  /** Lines of the kernel's log that are expected here. */
  expected?: RegExp;
};

/** What the tests of a scenario work with. */
export class Lab {
  /** /lab in the guest. Images, logs and captures are there. */
  readonly folder: string;
  readonly #hardware: Hardware;
  #guest: Guest | null = null;
  #riser: HostRiser | null = null;

  constructor(name: string, hardware: Hardware) {
    this.folder = join(RESULTS, name);
    this.#hardware = hardware;
  }

  /** The guest that runs. */
  get guest(): Guest {
    assert.ok(this.#guest !== null, 'the guest did not boot');
    return this.#guest;
  }

  /** The server that {@link serve} started. */
  get riser(): HostRiser {
    assert.ok(this.#riser !== null, 'Riser does not run on the host');
    return this.#riser;
  }

  /** Boot a guest: the scenario's first, or another one after a power cut. */
  async boot(): Promise<Guest> {
    // A test that failed may have left the last one running.
    await this.#guest?.powerCut();
    this.#guest = await Guest.boot(this.folder, this.#hardware);
    return this.#guest;
  }

  /** Serve `luns` from the host; images are relative to the scenario's folder. */
  serve(...luns: LunSettings[]): Promise<HostRiser> {
    return this.serveWith({}, ...luns);
  }

  /** The same, with more in the configuration file; secrets are files of the scenario's folder. */
  async serveWith(settings: MoreSettings, ...luns: LunSettings[]): Promise<HostRiser> {
    this.#riser = await HostRiser.start(this.folder, luns, this.#hardware.links, settings);
    return this.#riser;
  }

  /** Path of a file in the scenario's folder. */
  file(name: string): string {
    return join(this.folder, name);
  }

  /** `length` bytes of a file of the scenario's folder, from `offset` on: of an image, what the guest cannot have cached. */
  readPart(name: string, offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    const file = openSync(this.file(name), 'r');
    readSync(file, bytes, 0, length, offset);
    closeSync(file);
    return bytes;
  }

  /** What is in a file of the scenario's folder. */
  read(name: string): Buffer {
    return readFileSync(this.file(name));
  }

  /** End everything. */
  async close(): Promise<void> {
    await this.#guest?.shutDown();
    await this.#riser?.stop();
  }

  /** Every packet of both cards; the ports are those of the server on the host and of `ports`. */
  captures(): { file: string; ports: number[] }[] {
    const ports = [3260, ...(this.#riser === null ? [] : [this.#riser.port])];
    return ['eth0.pcap', 'eth1.pcap']
      .map((name) => ({ file: this.file(name), ports }))
      .filter(({ file }) => existsSync(file));
  }
}

/** Milliseconds between looks whether the runner is still there. */
const ORPHAN_CHECK = 1000;

/** A runner that is killed cannot end its tests, so they do; QEMU and Riser end with them. */
function endWithRunner(): void {
  const runner = process.ppid;
  setInterval(() => {
    if (process.ppid !== runner) process.exit(1);
  }, ORPHAN_CHECK).unref();
}

/**
 * Declare the scenario `name`; `define` declares its tests.
 *
 * @example
 * scenario('login', { capture: true }, (lab) => {
 *   test('discovery tells the target', async () => {
 *     const riser = await lab.serve({ memory: '64M' });
 *     assert.match(await lab.guest.sh(`iscsiadm -m discovery -t st -p ${riser.portal()}`), /iqn/);
 *   });
 * });
 */
export function scenario(name: string, options: ScenarioOptions, define: (lab: Lab) => void): void {
  const { limit = 600, expected, protocol = 'iSCSI', ...hardware } = options;
  const defaults: Hardware = { links: 1, processors: 2, memory: 1024, capture: false, forward: [] };
  const lab = new Lab(name, { ...defaults, ...hardware });
  const missing = whatIsMissing();
  describe(name, { skip: missing ?? false, timeout: limit * 1000 }, () => {
    before(async () => {
      endWithRunner();
      rmSync(lab.folder, { recursive: true, force: true });
      mkdirSync(lab.folder, { recursive: true });
      await lab.boot();
    });

    define(lab);

    test('the kernel of the guest reported no error', () => {
      const log = readFileSync(lab.file('kernel.log'), 'utf8');
      const faults = kernelFaults(log).filter((line) => expected?.test(line) !== true);
      assert.equal(faults.join('\n'), '');
    });

    if (hardware.capture === true) {
      test('tshark finds no malformed packet', async () => {
        await lab.close();
        for (const { file, ports } of lab.captures()) {
          const { pdus, malformed } = await inspectCapture(file, protocol, ports);
          assert.notEqual(pdus, 0, `${file} has no ${protocol}`);
          assert.equal(malformed.join('\n'), '', file);
        }
      });
    }

    after(() => lab.close());
  });
}
