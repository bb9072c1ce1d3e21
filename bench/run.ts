/**
 * `npm run bench`: Riser and tgt side by side on loopback under Debian's iscsi-perf, in turn.
 * See README.md for how to read what it prints.
 */

import { mkdirSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { type Case, CASES, MEDIA, type Medium } from './cases.js';
import { measure } from './client.js';
import { createImages, type Images } from './images.js';
import { run } from './process.js';
import { type CaseResult, type Results, toMarkdown } from './report.js';
import { measureHeap, measureIdle } from './riser-only.js';
import { type Server, type ServerName, startServer } from './servers.js';

const USAGE = `npm run bench -- [options]
  --rounds N        measurements of each case and server (5)
  --seconds N       length of one measurement (2)
  --case TEXT       only cases whose name contains TEXT; may be given several times
  --server NAME     only riser or tgt
  --size MIB        size of each disk (512)
  --list            print the names of the cases
`;

const RESULTS = fileURLToPath(new URL('./results/', import.meta.url));
const WARM_UP_SECONDS = 1;
const IDLE_SECONDS = 5;

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '2' },
    case: { type: 'string', multiple: true, default: [''] },
    server: { type: 'string' },
    size: { type: 'string', default: '512' },
    list: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  process.stdout.write(USAGE);
} else if (values.list) {
  process.stdout.write(CASES.map((c) => `${c.name}\n`).join(''));
} else {
  await main();
}

async function main(): Promise<void> {
  const rounds = wholeNumber('rounds', values.rounds);
  const seconds = wholeNumber('seconds', values.seconds);
  const cases = CASES.filter((c) => values.case.some((text) => c.name.includes(text)));
  if (cases.length === 0) throw new Error(`no case is named like ${values.case.join(', ')}; see --list`);
  const servers = serversToRun(values.server);

  if (servers.includes('riser')) await run(['npm', 'run', '--silent', 'build']);
  const images = createImages(wholeNumber('size', values.size) << 20);
  process.once('exit', () => images.remove());
  const results: Results = {
    date: new Date().toISOString(),
    machine: await describeMachine(servers),
    options: { rounds, seconds, imageBytes: images.size },
    cases: [],
    heap: [],
    idleCpu: null,
  };
  for (const medium of MEDIA) {
    const ofMedium = cases.filter((c) => c.medium === medium);
    if (ofMedium.length > 0) {
      results.cases.push(...(await compare(medium, ofMedium, servers, images, rounds, seconds)));
    }
  }
  if (servers.includes('riser')) {
    for (const c of cases) {
      progress(`${c.name}: heap`);
      results.heap.push(await measureHeap(c, images, seconds));
    }
    progress('idle session');
    results.idleCpu = await measureIdle(images, IDLE_SECONDS);
  }
  report(results);
}

/** Both servers run all the time, idle while it is the other's turn, so that drift of the machine hits both. */
async function compare(
  medium: Medium,
  cases: readonly Case[],
  names: readonly ServerName[],
  images: Images,
  rounds: number,
  seconds: number,
): Promise<CaseResult[]> {
  const servers: Server[] = [];
  try {
    for (const name of names) servers.push(await startServer(name, medium, images));
    const results: CaseResult[] = cases.map((c) => ({ ...c, samples: {} }));
    for (const result of results) {
      for (const server of servers) await measure(server, result, WARM_UP_SECONDS);
      for (let round = 1; round <= rounds; round++) {
        for (const server of servers) {
          const sample = await measure(server, result, seconds);
          (result.samples[server.name] ??= []).push(sample);
          progress(`${result.name}: round ${round}, ${server.name} ${sample.iops} IOPS`);
        }
      }
    }
    return results;
  } finally {
    for (const server of servers) await server.stop();
  }
}

function report(results: Results): void {
  const markdown = toMarkdown(results);
  mkdirSync(RESULTS, { recursive: true });
  const name = results.date.replace(/[:.]/g, '-');
  writeFileSync(`${RESULTS}${name}.json`, JSON.stringify(results, null, 2) + '\n');
  writeFileSync(`${RESULTS}${name}.md`, markdown);
  process.stdout.write(`\n${markdown}\nWritten to bench/results/${name}.json and .md\n`);
}

async function describeMachine(servers: readonly ServerName[]): Promise<Results['machine']> {
  const tgt = servers.includes('tgt') ? (await run(['tgtd', '--version'])).trim() : 'not run';
  return { cpu: cpus()[0]!.model.trim(), kernel: release(), node: process.versions.node, tgt };
}

function serversToRun(only: string | undefined): ServerName[] {
  if (only === undefined) return ['riser', 'tgt'];
  if (only === 'riser' || only === 'tgt') return [only];
  throw new Error(`--server is riser or tgt, not ${only}`);
}

function wholeNumber(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`--${name} is a whole number from 1, not ${text}`);
  return value;
}

function progress(text: string): void {
  process.stderr.write(`${text}\n`);
}
