/** What both sides do around the loops, in the order of perftest with `-R` (docs/PEERS.md). */

import type { RdmaDevice } from '../verbs.js';
import { BandwidthReceiver, BandwidthRequester } from './bandwidth.js';
import type { Control, Role } from './control.js';
import type { DataEnd } from './data-end.js';
import { ReadLatency, SendLatency, WriteLatency } from './latency.js';
import type { Plan } from './plan.js';
import { type Bandwidth, bandwidthOf, type Latency, latencyOf, reportOf, resultOf } from './results.js';
import {
  checkVersion,
  decodeDestination,
  decodeNumber,
  decodeReport,
  encodeDestination,
  encodeMtu,
  encodeNumber,
  encodeReport,
  encodeVersion,
} from './wire.js';

export type Result = Bandwidth | Latency;

const PAGE_BYTES = 4096;
const CACHE_LINE_BYTES = 64;
const MTU_4096 = 5;
/** Sends under way in a latency test: those whose completions were not looked for yet count. */
const LATENCY_DEPTH = 4;

/** Versions, pages, cache lines, MTUs; bytes of a page, the larger of both sides'. @throws RiserError `BENCH_PEER` */
export async function agree(control: Control): Promise<number> {
  checkVersion(await control.exchange(encodeVersion()));
  const page = decodeNumber(await control.exchange(encodeNumber(PAGE_BYTES)));
  await control.exchange(encodeNumber(CACHE_LINE_BYTES));
  await control.exchange(encodeMtu(MTU_4096));
  return Math.max(PAGE_BYTES, page);
}

/** Requests that this side has under way. */
export function sendDepth(plan: Plan, depth: number): number {
  return plan.isLatency ? LATENCY_DEPTH : Math.min(depth, plan.iterations);
}

/** RDMA Reads of the measured connection: none unless they are what is measured. */
export function depthsFor({ operation }: Plan, { attributes }: RdmaDevice) {
  const isRead = operation === 'read';
  return {
    responderResources: isRead ? attributes.maxResponderResources : 0,
    initiatorDepth: isRead ? attributes.maxInitiatorDepth : 0,
  };
}

/** Keep in step, without news. */
export async function meet(control: Control, patience?: number): Promise<void> {
  await control.exchange(encodeDestination(NOWHERE), patience);
}

const NOWHERE = { outstandingReads: 0, queuePairNumber: 0, addressHigh: 0, addressLow: 0, remoteKey: 0 };

/** From the connected data end to its result; null on the side that only answers reads. */
export async function measure(control: Control, end: DataEnd, role: Role): Promise<Result | null> {
  const { plan } = end;
  if (plan.operation === 'send') prepareReceives(end, role);
  await introduce(control, end);
  if (plan.isLatency) return measureLatency(control, end, role);
  if (plan.operation === 'send') return measureSends(control, end, role);
  return role === 'client' ? measureOneSided(control, end) : awaitReport(control);
}

function prepareReceives(end: DataEnd, role: Role): void {
  if (end.plan.isLatency) SendLatency.prepare(end);
  else if (role === 'server') BandwidthReceiver.prepare(end);
}

/** Tell of the own memory, and learn of the peer's: the same, again and again, as often as perftest does. */
async function introduce(control: Control, end: DataEnd): Promise<void> {
  const isOneSidedBandwidth = !end.plan.isLatency && end.plan.operation !== 'send';
  const own = encodeDestination(end.destination);
  const isFirstEmpty = end.plan.isLatency && end.plan.operation !== 'send';
  if (isFirstEmpty) await control.exchange(own);
  for (let left = isOneSidedBandwidth || isFirstEmpty ? 3 : 4; left > 0; left--)
    end.peer = decodeDestination(await control.exchange(own));
}

async function measureLatency(control: Control, end: DataEnd, role: Role): Promise<Latency | null> {
  const { plan } = end;
  const isClient = role === 'client';
  if (plan.operation === 'read' && !isClient) {
    await meet(control, Infinity);
    return null;
  }
  const loop =
    plan.operation === 'read'
      ? new ReadLatency(end)
      : plan.operation === 'send'
        ? new SendLatency(end, isClient)
        : new WriteLatency(end, isClient);
  await end.run(loop);
  if (plan.operation !== 'write') await meet(control);
  return latencyOf(plan, loop.times);
}

async function measureSends(control: Control, end: DataEnd, role: Role): Promise<Bandwidth> {
  const loop = role === 'client' ? new BandwidthRequester(end) : new BandwidthReceiver(end);
  await end.run(loop);
  // The receiver may have much to take yet.
  await meet(control, Infinity);
  return bandwidthOf(end.plan, loop.times);
}

async function measureOneSided(control: Control, end: DataEnd): Promise<Bandwidth> {
  const loop = new BandwidthRequester(end);
  await end.run(loop);
  await meet(control);
  const result = bandwidthOf(end.plan, loop.times);
  for (const field of encodeReport(reportOf(result))) await control.exchange(field);
  await meet(control);
  return result;
}

/** The side that is written to or read from has nothing to do but to hear how it was. */
async function awaitReport(control: Control): Promise<Bandwidth> {
  await meet(control, Infinity);
  const fields: Buffer[] = [];
  const own = encodeReport({ size: 0, iterations: 0, peak: 0, average: 0, messageRate: 0 });
  for (const field of own) fields.push(await control.exchange(field));
  await meet(control);
  return resultOf(decodeReport(fields));
}
