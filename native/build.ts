/**
 * Builds the addon: `npm run build:native` for this machine, into native/build/. It needs g++, the headers of Node, and
 * those of libibverbs and librdmacm (Debian's libibverbs-dev and librdmacm-dev).
 *
 *   --prebuilt       into prebuilds/, stripped: what the package brings
 *   --arch arm64     for another processor, by Debian's g++-aarch64-linux-gnu
 *   --asan           with AddressSanitizer, into native/build/asan/
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';

import { NATIVE, sourcesHash } from './sources.js';

const ROOT = dirname(NATIVE);
const CROSS: Record<string, string> = { x64: 'x86_64-linux-gnu-', arm64: 'aarch64-linux-gnu-' };

const { values } = parseArgs({
  options: {
    prebuilt: { type: 'boolean', default: false },
    arch: { type: 'string', default: process.arch },
    asan: { type: 'boolean', default: false },
  },
});

function folder(): string {
  if (values.prebuilt) return join(ROOT, 'prebuilds', `linux-${values.arch}`);
  return join(NATIVE, 'build', values.asan ? 'asan' : '');
}

/** Where Node's own headers are: beside its program. */
function nodeHeaders(): string {
  const found = join(dirname(dirname(process.execPath)), 'include/node');
  if (existsSync(join(found, 'node_api.h'))) return found;
  throw new Error(
    `${found} has no node_api.h: Node's archives have it, and Debian's package libnode-dev has it`,
  );
}

async function run(program: string, args: string[]): Promise<void> {
  const [code] = (await once(spawn(program, args, { stdio: 'inherit' }), 'close')) as [number | null];
  if (code !== 0) throw new Error(`${program} ended with ${String(code)}`);
}

async function build(): Promise<void> {
  if (process.platform !== 'linux') throw new Error('the addon is for Linux alone');
  const tools = values.arch === process.arch ? '' : (CROSS[values.arch] ?? '');
  // N-API's C++ wrapper is headers alone.
  const wrapper = dirname(createRequire(import.meta.url).resolve('node-addon-api/package.json'));
  const sanitizers = values.asan ? ['-fsanitize=address', '-fno-omit-frame-pointer', '-g'] : [];
  const flags = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror'];
  const defines = [
    '-DNAPI_VERSION=8',
    '-DNAPI_CPP_EXCEPTIONS',
    '-DNODE_GYP_MODULE_NAME=riser_verbs',
    `-DRISER_SOURCES="${sourcesHash()}"`,
  ];
  // Headers that are the same on all processors, where a cross compiler does not look by itself.
  const headers = ['-I', nodeHeaders(), '-I', wrapper, '-idirafter', '/usr/include'];
  const objects = mkdtempSync(join(tmpdir(), 'riser-verbs-'));
  try {
    const sources = readdirSync(NATIVE).filter((name) => name.endsWith('.cc'));
    const object = (name: string): string => join(objects, `${name}.o`);
    for (const name of sources) {
      const what = ['-c', join(NATIVE, name), '-o', object(name)];
      await run(`${tools}g++`, [...flags, ...sanitizers, ...defines, ...headers, ...what]);
    }
    mkdirSync(folder(), { recursive: true });
    const output = join(folder(), 'riser-verbs.node');
    const runtime = values.asan ? [] : ['-static-libstdc++', '-static-libgcc', '-s'];
    await run(`${tools}g++`, [
      '-shared',
      ...sanitizers,
      ...runtime,
      '-o',
      output,
      ...sources.map(object),
      '-ldl',
    ]);
    console.log(output);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
}

await build();
