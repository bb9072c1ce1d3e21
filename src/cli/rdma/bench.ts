/** `riser rdma bench`: bandwidth and latency of RDMA between two machines, Riser or perftest on either. */

import {
  type Bandwidth,
  BenchServer,
  completePlan,
  describePlan,
  type Latency,
  type Operation,
  type Plan,
  type Result,
  runClient,
} from '../../rdma/bench/index.js';
import { RiserError } from '../../util/errors.js';
import { ExitCode, messageOf, usageError } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { note, print, printJson, table } from '../output.js';
import { openRdmaDevice, type RdmaDeviceFlags } from './providers.js';

export interface RdmaBenchFlags extends RdmaDeviceFlags {
  operation?: Operation;
  latency?: boolean;
  size?: number;
  iterations?: number;
  depth: number;
  port: number;
  address?: string;
  persistent?: boolean;
  json?: boolean;
}

/** The server of a latency test of writes has to speak first, to perftest, too. */
const IWARP_OPTIONS = { mayAnswerFirst: true };
/** What perftest listens on. */
const ANY_ADDRESS = '0.0.0.0';
const MIB = 1 << 20;

/** With `host` the client of one run, without it the server. */
export async function runRdmaBench(
  host: string | undefined,
  flags: RdmaBenchFlags,
  interruption: Interruption,
): Promise<number> {
  if (host === undefined) return serve(flags, interruption);
  if (flags.persistent === true || flags.address !== undefined)
    throw usageError('--persistent and --address are for the server: the side without HOST');
  const plan = completePlan(planOf(flags));
  const device = await openRdmaDevice(flags, IWARP_OPTIONS);
  try {
    const { port, depth } = flags;
    const { signal } = interruption;
    const result = await runClient(device, { host, port, plan, depth, signal });
    await show(plan, result, host, flags);
    return ExitCode.SUCCESS;
  } finally {
    await device.close();
  }
}

async function serve(flags: RdmaBenchFlags, interruption: Interruption): Promise<number> {
  const { address = ANY_ADDRESS, port, depth } = flags;
  const device = await openRdmaDevice(flags, IWARP_OPTIONS);
  const server = await BenchServer.listen(device, {
    address,
    port,
    plan: planOf(flags),
    depth,
  });
  interruption.whenCame(() => void server.close(interruption.signal.reason as Error));
  note(`waiting for a client on ${address} port ${server.port}`);
  try {
    await serveRuns(server, flags, interruption);
    return ExitCode.SUCCESS;
  } finally {
    await server.close(over());
    await device.close();
  }
}

async function serveRuns(
  server: BenchServer,
  flags: RdmaBenchFlags,
  interruption: Interruption,
): Promise<void> {
  for (;;) {
    try {
      const { plan, result, remoteAddress } = await server.serve();
      await show(plan, result, remoteAddress, flags);
    } catch (error) {
      if (interruption.came !== null) return;
      // Who wanted something else was told so, and another one may come.
      const isRefused = error instanceof RiserError && REFUSALS.has(error.code);
      if (!isRefused && flags.persistent !== true) throw error;
      note(`error: ${messageOf(error)}`);
      if (isRefused) continue;
    }
    if (flags.persistent !== true) return;
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['BENCH_REJECTED', 'BENCH_PLAN']);

function planOf({ operation, latency, size, iterations }: RdmaBenchFlags): Partial<Plan> {
  return {
    ...(operation !== undefined && { operation }),
    ...(latency !== undefined && { isLatency: latency }),
    ...(size !== undefined && { size }),
    ...(iterations !== undefined && { iterations }),
  };
}

/** To whom is still there when a server ends. */
function over(): RiserError {
  return new RiserError('BENCH_ENDED', 'the server has ended', { by: 'local', costs: 'connection' });
}

async function show(
  plan: Plan,
  result: Result | null,
  peer: string,
  { json = false }: RdmaBenchFlags,
): Promise<void> {
  if (json) await printJson({ peer, ...plan, result });
  else await print(`${describePlan(plan)}, with ${peer}\n${result === null ? '' : describe(result)}`);
}

function describe(result: Result): string {
  return result.kind === 'bandwidth' ? describeBandwidth(result) : describeLatency(result);
}

function describeBandwidth({ size, iterations, peak, average, messagesPerSecond }: Bandwidth): string {
  return table([
    ['BYTES', 'ITERATIONS', 'PEAK MiB/s', 'AVERAGE MiB/s', 'MESSAGES/s'],
    [
      `${size}`,
      `${iterations}`,
      peak === 0 ? '-' : (peak / MIB).toFixed(2),
      (average / MIB).toFixed(2),
      messagesPerSecond.toFixed(0),
    ],
  ]);
}

function describeLatency(latency: Latency): string {
  const { size, iterations, minimum, typical, average, deviation, p99, p999, maximum } = latency;
  const times = [minimum, typical, average, deviation, p99, p999, maximum];
  return table([
    ['BYTES', 'ITERATIONS', 'MIN us', 'TYPICAL', 'AVERAGE', 'STDEV', '99 %', '99.9 %', 'MAX'],
    [`${size}`, `${iterations}`, ...times.map((time) => time.toFixed(2))],
  ]);
}
