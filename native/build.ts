/**
 * Builds the addon: `npm run build:native` for this machine, into native/build/. It needs g++, the headers of Node, and
 * those of libibverbs and librdmacm, and says which of them is missing.
 *
 *   --prebuilt       into prebuilds/, stripped: what the package brings
 *   --arch arm64     for another processor, by Debian's g++-aarch64-linux-gnu
 *   --asan           with AddressSanitizer, into native/build/asan/
 */

import { spawnSync } from 'node:child_process';
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

/** What the user can help: the message says how. */
class Missing extends Error {}

/** Where Node's own headers are: beside its program. */
function nodeHeaders(): string {
  const found = join(dirname(dirname(process.execPath)), 'include/node');
  if (existsSync(join(found, 'node_api.h'))) return found;
  throw new Missing(
    `${found} has no node_api.h: the archives of nodejs.org have it; for Node of a distribution: ${install('libnode-dev', 'nodejs-devel', 'nodejs-dev')}`,
  );
}

/** N-API's C++ wrapper is headers alone. */
function wrapperHeaders(): string {
  try {
    return dirname(createRequire(import.meta.url).resolve('node-addon-api/package.json'));
  } catch {
    throw new Missing('the package node-addon-api is missing: npm ci');
  }
}

/** Of the libraries. */
function requireHeaders(compiler: string, flags: readonly string[]): void {
  const input = '#include <infiniband/verbs.h>\n#include <rdma/rdma_cma.h>\n';
  const { error, status } = spawnSync(compiler, [...flags, '-E', '-o', '/dev/null', '-x', 'c++', '-'], {
    input,
  });
  if (error !== undefined) {
    const packages =
      values.arch === process.arch
        ? install('g++', 'gcc-c++', 'g++')
        : `apt install g++-${CROSS[values.arch]!.slice(0, -1).replace('_', '-')}`;
    throw new Missing(`${compiler} cannot be run: ${packages}`);
  }
  if (status !== 0)
    throw new Missing(
      `the headers infiniband/verbs.h and rdma/rdma_cma.h are missing: ${install('libibverbs-dev librdmacm-dev', 'rdma-core-devel', 'rdma-core-dev linux-headers')}`,
    );
}

/** How Debian, Fedora and Alpine call it. */
function install(apt: string, dnf: string, apk: string): string {
  return `apt install ${apt}, or: dnf install ${dnf}, or: apk add ${apk}`;
}

function run(program: string, args: string[]): void {
  const { status, error } = spawnSync(program, args, { stdio: 'inherit' });
  if (status !== 0) throw error ?? new Error(`${program} ended with ${String(status)}`);
}

function build(): void {
  if (process.platform !== 'linux') throw new Missing('the addon is for Linux alone');
  if (!Object.hasOwn(CROSS, values.arch) && values.arch !== process.arch)
    throw new Missing(`--arch is one of ${Object.keys(CROSS).join(', ')}`);
  const compiler = `${values.arch === process.arch ? '' : CROSS[values.arch]!}g++`;
  const sanitizers = values.asan ? ['-fsanitize=address', '-fno-omit-frame-pointer', '-g'] : [];
  const flags = ['-std=c++17', '-O2', '-fPIC', '-fvisibility=hidden', '-Wall', '-Wextra', '-Werror'];
  const defines = [
    '-DNAPI_VERSION=8',
    '-DNAPI_CPP_EXCEPTIONS',
    // A thread that is being terminated takes no exception any more.
    '-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS',
    '-DNODE_GYP_MODULE_NAME=riser_verbs',
    `-DRISER_SOURCES="${sourcesHash()}"`,
  ];
  // Headers that are the same on all processors, where a cross compiler does not look by itself.
  const headers = ['-I', nodeHeaders(), '-I', wrapperHeaders(), '-idirafter', '/usr/include'];
  requireHeaders(compiler, headers);
  const objects = mkdtempSync(join(tmpdir(), 'riser-verbs-'));
  try {
    const sources = readdirSync(NATIVE).filter((name) => name.endsWith('.cc'));
    const object = (name: string): string => join(objects, `${name}.o`);
    for (const name of sources) {
      const what = ['-c', join(NATIVE, name), '-o', object(name)];
      run(compiler, [...flags, ...sanitizers, ...defines, ...headers, ...what]);
    }
    mkdirSync(folder(), { recursive: true });
    const output = join(folder(), 'riser-verbs.node');
    // libstdc++ is there wherever Node is; within the addon it would ask for the newest glibc.
    const strip = values.asan ? [] : ['-s'];
    // A thread that connects may outlast the Node thread that loaded it: its code has to stay.
    const linking = ['-shared', '-pthread', '-Wl,-z,nodelete', ...sanitizers, ...strip];
    run(compiler, [...linking, '-o', output, ...sources.map(object), '-ldl']);
    console.log(output);
  } finally {
    rmSync(objects, { recursive: true, force: true });
  }
}

try {
  build();
} catch (error) {
  if (!(error instanceof Missing)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
