/** Riser on the host, as it was built, at addresses that the guest knows by the same name. */

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { CliProcess } from '../../test/support/cli-process.js';
import { ROOT } from '../../test/support/files.js';
import { freePort } from '../../test/support/free-port.js';
import { END_WITH_THIS_PROCESS } from './qemu.js';

/** The built command; `npm run lab:broken` puts a damaged copy in its place. */
export const PROGRAM = process.env['RISER_LAB_PROGRAM'] ?? join(ROOT, 'dist/cli/riser.cjs');

/** A logical unit as the configuration file has it. */
export type LunSettings = Record<string, unknown>;

type Settings = Record<string, unknown>;

/** What the configuration file says besides. */
export interface MoreSettings {
  /** Of the target; it may name the portals. */
  target?: Settings | ((portals: readonly string[]) => Settings);
  /** Of all. */
  server?: Record<string, unknown>;
  /** Be ready for {@link HostRiser.memory}. */
  measured?: boolean;
  /** Be at 127.0.0.1 instead, which the guest reaches as {@link RDMA_HOST}. */
  rdma?: boolean;
  /** Its port; any that is free unless given. */
  port?: number;
}

/** How the guest reaches the host's 127.0.0.1 through a card of its own, as RDMA needs it. */
export const RDMA_HOST = '10.0.2.2';

export const TARGET = 'iqn.2026-11.lab:riser';

/** LUN 0 first. */
function numbered(luns: readonly LunSettings[]): LunSettings[] {
  return luns.map((settings, lun) => ({ lun, ...settings }));
}

export class HostRiser {
  readonly #folder: string;
  readonly #configuration: string;
  #process: CliProcess;
  /** Times that it has read its configuration anew. */
  #rereads = 0;
  readonly port: number;
  readonly #isRdma: boolean;
  readonly #isMeasured: boolean;

  private constructor(
    folder: string,
    configuration: string,
    port: number,
    isRdma: boolean,
    isMeasured: boolean,
  ) {
    this.#isRdma = isRdma;
    this.#isMeasured = isMeasured;
    this.#folder = folder;
    this.#configuration = configuration;
    this.port = port;
    this.#process = this.#spawn();
  }

  /**
   * Serve {@link TARGET} with `luns`, LUN 0 first, at 127.0.0.2 and, with two links, at 127.0.0.3, on one port.
   *
   * @param folder where its images and its log are
   */
  static async start(
    folder: string,
    luns: readonly LunSettings[],
    links: 1 | 2,
    { target = {}, server = {}, rdma = false, measured = false, ...more }: MoreSettings = {},
  ): Promise<HostRiser> {
    const port = more.port ?? (await freePort(rdma ? '127.0.0.1' : '127.0.0.2'));
    const first = rdma ? 1 : 2;
    const portals = Array.from({ length: links }, (_, link) => `127.0.0.${first + link}:${port}`);
    const settings = typeof target === 'function' ? target(portals) : target;
    const targets = [{ name: TARGET, luns: numbered(luns), ...settings }];
    const configuration = join(folder, 'riser.yaml');
    writeFileSync(configuration, JSON.stringify({ portals, targets, ...server }));
    const riser = new HostRiser(folder, configuration, port, rdma, measured);
    await riser.#process.logged('ready');
    return riser;
  }

  /** The portal behind a network card, as open-iscsi writes it. */
  portal(link: 0 | 1 = 0): string {
    return this.#isRdma ? `${RDMA_HOST}:${this.port}` : `127.0.0.${2 + link}:${this.port}`;
  }

  get pid(): number {
    return this.#process.child.pid!;
  }

  /** Bytes that JavaScript has in use, in its heap and outside, when all garbage is collected. */
  async memory(): Promise<number> {
    const file = this.#memoryFile;
    const reports = (): string[] =>
      existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : [];
    const { length } = reports();
    process.kill(this.pid, 'SIGUSR2');
    while (reports().length === length) await delay(50);
    const { heapUsed, external } = JSON.parse(reports().at(-1)!) as NodeJS.MemoryUsage;
    return heapUsed + external;
  }

  get #memoryFile(): string {
    return join(this.#folder, 'riser-memory.jsonl');
  }

  /** Have other settings for the target read from the configuration file, instead of those of the same name. */
  async reconfigure(target: Settings): Promise<void> {
    const configuration = JSON.parse(readFileSync(this.#configuration, 'utf8')) as { targets: Settings[] };
    configuration.targets = [{ ...configuration.targets[0], ...target }];
    writeFileSync(this.#configuration, JSON.stringify(configuration));
    process.kill(this.pid, 'SIGHUP');
    this.#rereads++;
    await this.#process.printed(new RegExp(`(?:"configuration re-read[^]*){${this.#rereads}}`));
  }

  /** End it with `signal`, and start it again `pause` milliseconds later at the same place. */
  async restart(signal: NodeJS.Signals, pause = 0): Promise<void> {
    await this.stop(signal);
    await delay(pause);
    this.#rereads = 0;
    this.#process = this.#spawn();
    await this.#process.logged('ready');
  }

  /** Serve `luns` instead, while it runs; once only. */
  async reload(...luns: readonly LunSettings[]): Promise<void> {
    const settings = JSON.parse(readFileSync(this.#configuration, 'utf8')) as {
      targets: { luns: unknown }[];
    };
    settings.targets[0]!.luns = numbered(luns);
    writeFileSync(this.#configuration, JSON.stringify(settings));
    this.#process.child.kill('SIGHUP');
    await this.#process.logged('configuration re-read');
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    await this.#process.stop(signal);
  }

  #spawn(): CliProcess {
    const args = ['serve', '--config', this.#configuration, '--json-logs'];
    const reporter = ['--import', 'tsx', '--import', join(ROOT, 'lab/harness/memory-on-request.ts')];
    return new CliProcess(args, {
      program: [...(this.#isMeasured ? reporter : []), PROGRAM],
      env: { RISER_LAB_MEMORY: this.#memoryFile },
      wrapper: END_WITH_THIS_PROCESS,
      logFile: join(this.#folder, 'riser.log'),
    });
  }
}
