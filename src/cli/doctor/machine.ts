/** The machine as `riser doctor` sees it: files below a root, and the few programs that tell what no file does. */

import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync, realpathSync } from 'node:fs';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { basename, join } from 'node:path';
import { systemCode } from '../../util/errors.js';

/** Milliseconds that a program may take. */
const PROGRAM_LIMIT = 5000;
const PROGRAM_FOLDERS = ['usr/sbin', 'usr/bin', 'sbin', 'bin', 'usr/local/sbin', 'usr/local/bin'];

export interface MachineOptions {
  /** The folder that stands for `/`. */
  root?: string;
  /** As `process.platform`. */
  platform?: string;
  /** As `os.networkInterfaces`. */
  interfaces?: () => NodeJS.Dict<NetworkInterfaceInfo[]>;
  /** Run a program by its path: what it prints, or null when it fails. */
  run?: (path: string, args: readonly string[]) => string | null;
}

/** Paths are relative to the root: `sys/class/net`. What is not there, or has no value, is null or empty; nothing throws. */
export class Machine {
  readonly platform: string;
  /** What this user may not look at. */
  readonly denied = new Set<string>();
  readonly #root: string;
  readonly #interfaces: () => NodeJS.Dict<NetworkInterfaceInfo[]>;
  readonly #run: (path: string, args: readonly string[]) => string | null;

  constructor(options: MachineOptions = {}) {
    const {
      root = '/',
      platform = process.platform,
      interfaces = networkInterfaces,
      run = runProgram,
    } = options;
    this.#root = root;
    this.platform = platform;
    this.#interfaces = interfaces;
    this.#run = run;
  }

  /** What a file says, without white space around it. */
  read(path: string): string | null {
    return this.#look(path, (full) => readFileSync(full, 'utf8').trim());
  }

  /** Names in a folder, numbers in their order. */
  list(path: string): string[] {
    const names = this.#look(path, (full) => readdirSync(full)) ?? [];
    return names.sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
  }

  exists(path: string): boolean {
    return existsSync(join(this.#root, path));
  }

  /** The last name of what a symbolic link leads to. */
  linkName(path: string): string | null {
    return this.#look(path, (full) => basename(readlinkSync(full)));
  }

  /** Where a path really leads, links followed. */
  realPath(path: string): string | null {
    return this.#look(path, (full) => realpathSync(full));
  }

  /** The addresses of a network interface, IPv4 first. */
  addressesOf(netdev: string): string[] {
    const all = this.#interfaces()[netdev] ?? [];
    return all.toSorted((a, b) => a.family.localeCompare(b.family)).map(({ address }) => address);
  }

  /** The network interface that has an address. */
  interfaceOf(address: string): string | null {
    const found = Object.entries(this.#interfaces()).find(([, all]) =>
      all?.some((one) => one.address === address),
    );
    return found?.[0] ?? null;
  }

  /** Whether a program is installed. */
  hasProgram(name: string): boolean {
    return this.#pathOf(name) !== undefined;
  }

  /** What a program prints; null when it fails or is not there. */
  run(name: string, ...args: string[]): string | null {
    const path = this.#pathOf(name);
    return path === undefined ? null : this.#run(path, args);
  }

  #pathOf(name: string): string | undefined {
    return PROGRAM_FOLDERS.map((folder) => join(this.#root, folder, name)).find((path) => existsSync(path));
  }

  #look<T>(path: string, look: (full: string) => T): T | null {
    try {
      return look(join(this.#root, path));
    } catch (error) {
      // Files of /sys fail in other ways, too, where there is no value: EINVAL, EOPNOTSUPP.
      const code = systemCode(error);
      if (code === 'EACCES' || code === 'EPERM') this.denied.add(`/${path}`);
      return null;
    }
  }
}

function runProgram(path: string, args: readonly string[]): string | null {
  const { status, stdout } = spawnSync(path, args, {
    encoding: 'utf8',
    timeout: PROGRAM_LIMIT,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return status === 0 ? stdout : null;
}
