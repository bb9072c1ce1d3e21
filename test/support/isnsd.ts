/** Debian's isnsd (open-isns) as an ordinary user, on a port and with a database of its own, and isnsadm to look into it. */

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { accepts } from './accepts.js';
import { freePort } from './free-port.js';
import { peer } from './peers.js';
import { runToSuccess } from './run-program.js';

const isnsd = peer('isnsd', 'open-isns-server');
const isnsadm = peer('isnsadm', 'open-isns-utils');
const READY_MS = 30_000;

/** The value for a test's `skip` option. */
export const skipIsnsd = isnsd.skip === false ? isnsadm.skip : isnsd.skip;

/** Seconds; short, so that tests see what happens after them. */
export const REGISTRATION_PERIOD = 6;

const SETTINGS = {
  HostName: 'localhost',
  Security: '0',
  RegistrationPeriod: `${REGISTRATION_PERIOD}s`,
  DefaultDiscoveryDomain: '1',
  SLPRegister: '0',
  ESIMinInterval: '1s',
  ESIMaxInterval: '2s',
  ESIRetries: '2',
};

const running = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL');
});

export class Isnsd {
  readonly port: number;
  readonly #config: string;
  readonly #adminConfig: string;
  #child: ChildProcess | null = null;
  /** What it prints: how it deals with Entity Status Inquiries. */
  log = '';

  private constructor(folder: string, port: number, settings: Partial<typeof SETTINGS>) {
    this.port = port;
    this.#config = join(folder, `isnsd-${port}.conf`);
    this.#adminConfig = join(folder, `isnsadm-${port}.conf`);
    const write = (path: string, lines: Record<string, string>): void => {
      writeFileSync(
        path,
        Object.entries(lines)
          .map(([key, value]) => `${key} = ${value}\n`)
          .join(''),
      );
    };
    const socket = { ControlSocket: join(folder, `isns-${port}`) };
    write(this.#config, {
      ...SETTINGS,
      ...settings,
      ...socket,
      SourceName: 'iqn.2026-01.example.test:isnsd',
      BindAddress: `127.0.0.1:${port}`,
      PIDFile: join(folder, `isnsd-${port}.pid`),
    });
    write(this.#adminConfig, {
      ...socket,
      HostName: 'localhost',
      Security: '0',
      SourceName: 'iqn.2026-01.example.test:isnsadm',
      ServerAddress: `127.0.0.1:${port}`,
    });
  }

  /** `folder`: for its files; the database is in memory. */
  static async start(folder: string, settings: Partial<typeof SETTINGS> = {}): Promise<Isnsd> {
    const server = new Isnsd(folder, await freePort(), settings);
    await server.run();
    return server;
  }

  /** Run, with nothing registered. */
  async run(): Promise<void> {
    const child = spawn(isnsd.path, ['--foreground', '--debug', 'esi', '--config', this.#config]);
    this.#child = child;
    running.add(child);
    child.once('exit', () => running.delete(child));
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.log += text));
    const deadline = performance.now() + READY_MS;
    while (!(await accepts({ port: this.port, host: '127.0.0.1' }))) {
      if (child.exitCode !== null) throw new Error(`isnsd ended with ${child.exitCode}: ${this.log}`);
      if (performance.now() > deadline) throw new Error('isnsd does not listen');
      await delay(50);
    }
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child?.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  }

  /** `isnsadm --local ...`: as the administrator. */
  admin(...args: string[]): Promise<string> {
    return runToSuccess(isnsadm.path, ['--config', this.#adminConfig, '--local', ...args]);
  }

  /** All objects of a type, each as its attributes by the names that isnsadm has for them. */
  async list(type: 'entities' | 'portals' | 'nodes'): Promise<Record<string, string>[]> {
    const objects: Record<string, string>[] = [];
    for (const line of (await this.admin('--list', type)).split('\n')) {
      if (/^Object \d+:/.test(line)) objects.push({});
      const match = /^ {2}[0-9a-f]{4} {2}\w+ *: (.*?) = "?(.*?)"?$/.exec(line);
      if (match !== null) objects.at(-1)![match[1]!] = match[2]!;
    }
    return objects;
  }
}
