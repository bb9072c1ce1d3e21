/**
 * `npm run bench:rdma`: RDMA between two processes of Riser on loopback, beside the same bytes over plain sockets of Node, in
 * turn; and what an operation allocates. See README.md for how to read such numbers.
 *
 *     npm run bench:rdma -- [--rounds N] [--messages N] [--trips N]
 */

import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { freePort } from '../test/support/free-port.js';
import type { Allocations } from './heap-probe.js';
import { end, output, run, spawnPinned } from './process.js';
import { median } from './report.js';

const SERVER_CORE = 0;
const CLIENT_CORE = 1;
const RISER = fileURLToPath(new URL('../dist/cli/riser.cjs', import.meta.url));
const REQUESTER = fileURLToPath(new URL('./rdma-requester.ts', import.meta.url));
const SOCKETS = fileURLToPath(new URL('./plain-sockets.ts', import.meta.url));
const HEAP_PROBE = new URL('./heap-probe.ts', import.meta.url).href;
const TSX = ['--import', 'tsx'];
const READY_MS = 20_000;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    messages: { type: 'string', default: '60000' },
    trips: { type: 'string', default: '20000' },
  },
});
const rounds = Number(values.rounds);

/** A measurement: bytes or round trips a second. */
interface Case {
  name: string;
  /** The case of plain sockets that moves the same bytes. */
  beside: 'stream' | 'ping-pong';
  size: number;
  iterations: number;
  options: readonly string[];
}

const messages = { size: 65_536, iterations: Number(values.messages) };
const trips = { size: 4096, iterations: Number(values.trips) };
const CASES: readonly Case[] = [
  { name: 'RDMA Write, 64 KiB', beside: 'stream', ...messages, options: ['--operation', 'write'] },
  { name: 'RDMA Read, 64 KiB', beside: 'stream', ...messages, options: ['--operation', 'read'] },
  { name: 'Send, 64 KiB', beside: 'stream', ...messages, options: ['--operation', 'send'] },
  {
    name: 'Send to and fro, 4 KiB',
    beside: 'ping-pong',
    ...trips,
    options: ['--operation', 'send', '--latency'],
  },
  {
    name: 'Write to and fro, 4 KiB',
    beside: 'ping-pong',
    ...trips,
    options: ['--operation', 'write', '--latency'],
  },
  {
    name: 'RDMA Read alone, 4 KiB',
    beside: 'ping-pong',
    ...trips,
    options: ['--operation', 'read', '--latency'],
  },
];

interface Outcome {
  result: { average: number; messagesPerSecond?: number };
}

/** What one run reaches: MiB a second, or round trips. */
async function riser(load: Case): Promise<number> {
  const port = await freePort();
  const flags = ['--port', `${port}`, '--json'];
  const plan = [...load.options, '--size', `${load.size}`, '--iterations', `${load.iterations}`];
  const server = spawnPinned(
    SERVER_CORE,
    [process.execPath, RISER, 'rdma', 'bench', '--address', '127.0.0.1', ...flags],
    ['ignore', 'ignore', 'pipe'],
  );
  await said(server.stderr!, /waiting/);
  const client = spawnPinned(
    CLIENT_CORE,
    [process.execPath, RISER, 'rdma', 'bench', '127.0.0.1', ...flags, ...plan],
    ['ignore', 'pipe', 'pipe'],
  );
  const { result } = JSON.parse(await output(client)) as Outcome;
  await end(server);
  if (!load.options.includes('--latency')) return result.average / 2 ** 20;
  const isRead = load.options.includes('read');
  return 1e6 / (isRead ? result.average : 2 * result.average);
}

/**
 * Bytes of JavaScript heap that an operation allocates on the client's and the server's side: what a long run takes
 * more than a short one.
 */
async function heapOf(load: Case): Promise<{ client: number; server: number }> {
  const port = await freePort();
  const preload = [process.execPath, ...TSX, '--import', HEAP_PROBE];
  const serve = ['rdma', 'bench', '--persistent', '--address', '127.0.0.1', '--port', `${port}`];
  const server = spawnPinned(SERVER_CORE, [...preload, RISER, ...serve], ['ignore', 'ignore', 'pipe', 'ipc']);
  await said(server.stderr!, /waiting/);
  const client = spawnPinned(
    CLIENT_CORE,
    [...preload, REQUESTER, `${port}`],
    ['ignore', 'inherit', 'inherit', 'ipc'],
  );
  await once(client, 'message');
  const both = [client, server];
  const sample = async (iterations: number): Promise<number[]> => {
    for (const side of both) side.send('start');
    client.send({ ...planOf(load), iterations });
    await once(client, 'message');
    const told = both.map(async (side) => {
      side.send('stop');
      const [allocations] = (await once(side, 'message')) as [Allocations];
      return allocations.heap;
    });
    return Promise.all(told);
  };
  // The first run compiles.
  await sample(load.iterations);
  const short = await sample(load.iterations);
  const long = await sample(3 * load.iterations);
  for (const side of both) await end(side);
  const [ofClient, ofServer] = long.map((bytes, i) => (bytes - short[i]!) / (2 * load.iterations));
  return { client: ofClient!, server: ofServer! };
}

function planOf({ options, size }: Case) {
  return { operation: options[1], isLatency: options.includes('--latency'), size };
}

/** The same over plain sockets. */
async function plain(kind: 'stream' | 'ping-pong', { size, iterations }: Case): Promise<number> {
  const common = [process.execPath, ...TSX, SOCKETS, kind, `${size}`, `${iterations}`];
  const server = spawnPinned(SERVER_CORE, common, ['ignore', 'pipe', 'inherit']);
  const [port] = /\d+/.exec(await said(server.stdout!, /\d+\n/))!;
  const client = spawnPinned(CLIENT_CORE, [...common, port], ['ignore', 'pipe', 'pipe']);
  const seconds = Number(await output(client));
  await end(server);
  return kind === 'stream' ? (size * iterations) / seconds / 2 ** 20 : iterations / seconds;
}

async function said(stream: NodeJS.ReadableStream, pattern: RegExp): Promise<string> {
  let text = '';
  const signal = AbortSignal.timeout(READY_MS);
  while (!pattern.test(text)) {
    const [chunk] = (await once(stream, 'data', { signal })) as [Buffer];
    text += chunk.toString();
  }
  return text;
}

await run(['npm', 'run', '--silent', 'build']);
console.log(
  '| load | Riser | plain sockets | ratio | ratios of the rounds | heap bytes/op, client | server |',
);
console.log('|---|--:|--:|--:|---|--:|--:|');
for (const load of CASES) {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    ours.push(await riser(load));
    theirs.push(await plain(load.beside, load));
  }
  const unit = load.beside === 'stream' ? 'MiB/s' : 'trips/s';
  const ratios = ours.map((value, i) => value / theirs[i]!);
  const heap = await heapOf(load);
  const each = ratios.map((ratio) => ratio.toFixed(2)).join(' ');
  console.log(
    `| ${load.name} | ${median(ours).toFixed(0)} ${unit} | ${median(theirs).toFixed(0)} ${unit} | ${median(ratios).toFixed(2)}x | ${each} | ${heap.client.toFixed(1)} | ${heap.server.toFixed(1)} |`,
  );
}
