/** The client of the benchmark: it connects, and in bandwidth tests it is who writes, reads or sends. */

import { setTimeout as delay } from 'node:timers/promises';
import { RiserError } from '../../util/errors.js';
import type { RdmaConnection, RdmaDevice } from '../verbs.js';
import { Control } from './control.js';
import { DataEnd } from './data-end.js';
import { checkPlan, encodePlan, type Plan } from './plan.js';
import { agree, depthsFor, measure, meet, type Result, sendDepth } from './session.js';

/**
 * perftest's server listens anew for the second connection, and a moment after it said that it does; who comes
 * before is refused, or reset while TCP has accepted it already.
 */
const ATTEMPTS = 50;
const PAUSE_MS = 100;
/**
 * The peer's last message is here before the peer knows that it is complete, and an end of ours that comes first would
 * take that from it (siw: local QP operation error). perftest ends when it knows.
 */
const SETTLE_MS = 500;
const TOO_EARLY: ReadonlySet<string | undefined> = new Set([
  'RDMA_UNREACHABLE',
  'RDMA_REJECTED',
  'RDMA_CLOSED',
]);

export interface ClientOptions {
  host: string;
  port: number;
  plan: Plan;
  /** Messages under way in a bandwidth test. */
  depth: number;
  signal?: AbortSignal;
}

/**
 * One run.
 *
 * @throws RiserError `BENCH_REJECTED`, `BENCH_PEER`, `BENCH_ENDED`, `BENCH_WORK` and those of connecting
 */
export async function runClient(device: RdmaDevice, options: ClientOptions): Promise<Result> {
  const { host, port, plan, depth, signal } = options;
  checkPlan(plan);
  const target = { host, port, ...(signal !== undefined && { signal }) };
  const connection = await device.resolve(target);
  const control = new Control(device, connection, 'client');
  let end: DataEnd | null = null;
  const abort = (): void => {
    control.fail(signal!.reason as Error);
    end?.fail(signal!.reason as Error);
  };
  signal?.addEventListener('abort', abort, { once: true });
  try {
    await connectControl(connection, plan);
    const page = await agree(control);
    end = new DataEnd(device, plan, sendDepth(plan, depth), page);
    await meet(control);
    await connectData(end, () => device.resolve(target), signal);
    end.connected((error) => {
      control.fail(error);
    });
    await meet(control);
    const result = await measure(control, end, 'client');
    await end.ended(SETTLE_MS);
    await end.disconnect();
    return result!;
  } finally {
    signal?.removeEventListener('abort', abort);
    end?.close();
    control.close();
  }
}

async function connectControl(connection: RdmaConnection, plan: Plan): Promise<void> {
  try {
    await connection.connect({
      privateData: encodePlan(plan),
      responderResources: 0,
      initiatorDepth: 0,
    });
  } catch (error) {
    const { code, privateData } = error as { code?: string; privateData?: Buffer };
    if (code !== 'RDMA_REJECTED') throw error;
    const reason = privateData?.toString().replace(/\0.*$/s, '') ?? '';
    throw new RiserError('BENCH_REJECTED', reason === '' ? 'the server rejects the run' : reason, {
      by: 'peer',
      costs: 'process',
      cause: error,
      remedy: 'Wait until it is free, or give both sides the same options.',
    });
  }
}

async function connectData(
  end: DataEnd,
  resolve: () => Promise<RdmaConnection>,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let left = ATTEMPTS; ; left--) {
    const connection = await resolve();
    end.attach(connection);
    try {
      await connection.connect(depthsFor(end.plan, end.device));
      return;
    } catch (error) {
      if (left === 1 || !TOO_EARLY.has((error as { code?: string }).code)) throw error;
      await delay(PAUSE_MS, undefined, { ...(signal !== undefined && { signal }) });
    }
  }
}
