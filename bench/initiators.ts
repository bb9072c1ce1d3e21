/**
 * `npm run bench:initiators`: `riser bench` beside iscsi-perf and `qemu-img bench`, all through libiscsi but the
 * first, in turn on the same server: Riser and tgt with a disk in memory.
 *
 *     npm run bench:initiators -- [--rounds N] [--seconds N] [--case WORD]
 */

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { type Case, CASES } from './cases.js';
import { measure } from './client.js';
import { createImages } from './images.js';
import { output, run, spawnPinned } from './process.js';
import { median } from './report.js';
import { type Server, type ServerName, startServer } from './servers.js';

const CLIENT_CORE = 1;
const RISER = fileURLToPath(new URL('../dist/cli/riser.cjs', import.meta.url));
const IMAGE_BYTES = 512 << 20;
const SERVERS: readonly ServerName[] = ['riser', 'tgt'];

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '3' },
    case: { type: 'string', default: '' },
  },
});
const loads = CASES.filter(({ medium, name }) => medium === 'memory' && name.includes(values.case));
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);

/** I/Os a second that each client reaches. */
const CLIENTS = {
  'riser bench': riserBench,
  'iscsi-perf': async (server: Server, load: Case) => (await measure(server, load, seconds)).iops,
  'qemu-img bench': qemuBench,
};
type Client = keyof typeof CLIENTS;

async function riserBench(server: Server, { blocks, depth, random }: Case): Promise<number> {
  const options = ['--seconds', `${seconds}`, '--block-size', `${blocks * 512}`, '--depth', `${depth}`];
  if (!random) options.push('--sequential');
  const command = [process.execPath, RISER, 'bench', server.url, ...options, '--json', '--quiet'];
  const child = spawnPinned(CLIENT_CORE, command, ['ignore', 'pipe', 'pipe']);
  return (JSON.parse(await output(child)) as { iops: number }).iops;
}

/** Its reads follow one another: it knows no random ones. As many as take about the time that is asked for. */
async function qemuBench(server: Server, { blocks, depth }: Case): Promise<number> {
  const size = blocks * 512;
  const count = Math.max(1000, Math.round((seconds * 20_000 * 4096) / size));
  const options = ['-c', `${count}`, '-d', `${depth}`, '-s', `${size}`, '-t', 'none', '-f', 'raw'];
  const child = spawnPinned(
    CLIENT_CORE,
    ['qemu-img', 'bench', ...options, server.url],
    ['ignore', 'pipe', 'pipe'],
  );
  const took = /completed in ([\d.]+) seconds/.exec(await output(child));
  return count / Number(took![1]);
}

await run(['npm', 'run', '--silent', 'build']);
const images = createImages(IMAGE_BYTES);
process.once('exit', () => images.remove());
console.log('| server | load | riser bench | iscsi-perf | qemu-img bench | to iscsi-perf | to qemu-img |');
console.log('|---|---|--:|--:|--:|--:|--:|');
for (const name of SERVERS) {
  const server = await startServer(name, 'memory', images);
  try {
    for (const load of loads) await compare(server, load);
  } finally {
    await server.stop();
  }
}

async function compare(server: Server, load: Case): Promise<void> {
  const samples: Record<Client, number[]> = { 'riser bench': [], 'iscsi-perf': [], 'qemu-img bench': [] };
  for (let round = 0; round < rounds; round++) {
    for (const client of Object.keys(CLIENTS) as Client[])
      samples[client].push(await CLIENTS[client](server, load));
  }
  const [riser, perf, qemu] = Object.values(samples).map(median) as [number, number, number];
  const cells = [server.name, load.name.replace('memory-', ''), ...[riser, perf, qemu].map(Math.round)];
  console.log(
    `| ${[...cells, `${(riser / perf).toFixed(2)}x`, `${(riser / qemu).toFixed(2)}x`].join(' | ')} |`,
  );
}
