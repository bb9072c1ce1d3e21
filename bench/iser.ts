/**
 * `npm run bench:iser`: tgt over TCP, and one memory disk of Riser over TCP and over iSER, all by `riser bench`, in turn.
 *
 *     npm run bench:iser -- [--rounds N] [--seconds N] [--case WORD]
 */

import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { type Case, CASES } from './cases.js';
import { createImages } from './images.js';
import { output, run, spawnPinned } from './process.js';
import { type Server, startServer } from './servers.js';

const CLIENT_CORE = 1;
const RISER = fileURLToPath(new URL('../dist/cli/riser.cjs', import.meta.url));
const IMAGE_BYTES = 256 << 20;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    case: { type: 'string', default: 'depth-32' },
  },
});

async function compare(servers: readonly Server[], { blocks, depth, random }: Case): Promise<void> {
  const [tgt, riser] = servers;
  const urls = [tgt!.url, riser!.url, riser!.url.replace(/^iscsi:/, 'iser:')];
  const options = ['--block-size', `${blocks * 512}`, '--depth', `${depth}`, '--quiet'];
  if (!random) options.push('--sequential');
  const command = [process.execPath, RISER, 'bench', ...urls, ...options];
  command.push('--rounds', values.rounds, '--seconds', values.seconds);
  console.log(await output(spawnPinned(CLIENT_CORE, command, ['ignore', 'pipe', 'pipe'])));
}

await run(['npm', 'run', '--silent', 'build']);
const images = createImages(IMAGE_BYTES);
process.once('exit', () => images.remove());
const servers: Server[] = [];
try {
  for (const name of ['tgt', 'riser'] as const) servers.push(await startServer(name, 'memory', images));
  for (const load of CASES)
    if (load.medium === 'memory' && load.name.includes(values.case)) await compare(servers, load);
} finally {
  for (const server of servers) await server.stop();
}
