/** The way to a portal, which transports it answers, and how fast. */

import { dialPortal } from '../../initiator/dial.js';
import type { IscsiUrl } from '../../initiator/url.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import type { Interruption } from '../interruption.js';
import { formatPortal } from '../portal.js';
import type { RoundTripTimes } from '../round-trips.js';
import { formatSize } from '../size.js';
import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import { IserProbe, LOAD, TcpProbe, type TransportProbe } from './probes.js';

const { good, notice, problem } = findingsAbout('portal');

/** Milliseconds for each connection and login, unless told otherwise. */
const DEFAULT_TIMEOUT = 5000;
/** What a target says that answers, and does not want us. */
const REFUSALS: ReadonlySet<string> = new Set(['LOGIN_REFUSED', 'AUTHENTICATION']);
/** What listens took MPA's request for something broken, or waits for more of it. */
const NO_IWARP = /^(RDMA_CLOSED|RDMA_VIOLATION|RDMA_TIMEOUT|MPA_\w+)$/;
const ISER_AT_TARGET =
  'Switch iSER on at the target, on an iWARP device: targetcli has enable_iser for a portal, tgt has --lld iser. Targets without RDMA have iSCSI over TCP only.';

export interface PortalReport {
  /** `192.0.2.7:3260` */
  readonly where: string;
  readonly findings: readonly Finding[];
  /** The interface that leads there; null on this machine, or when nobody is there. */
  readonly netdev: string | null;
  /** Transports that it answers. */
  readonly answered: readonly TransportProbe['transport'][];
}

/** `asked`: the transport that is wanted; null where any will do. */
export async function inspectPortal(
  machine: Machine,
  url: IscsiUrl,
  asked: TransportProbe['transport'] | null,
  flags: ClientFlags,
  interruption: Interruption,
): Promise<PortalReport> {
  const where = formatPortal({ address: url.portal.host, port: url.portal.port });
  const probeFlags = { ...flags, timeout: flags.timeout ?? DEFAULT_TIMEOUT };
  const { signal } = interruption;
  const path = await findPath(machine, url, probeFlags.timeout, signal);
  if (path instanceof RiserError)
    return { where, findings: [problem(path.message, unreachedRemedy(path))], netdev: null, answered: [] };

  const findings = [good(`${where} is reached ${path.how}`)];
  const answered: TransportProbe['transport'][] = [];
  for (const probe of [
    new TcpProbe({ ...url, transport: 'tcp' }, probeFlags, interruption),
    new IserProbe({ ...url, transport: 'iser' }, probeFlags, interruption),
  ]) {
    const answer = await ask(probe, url, answered.length > 0, signal);
    if (answer.doesAnswer) answered.push(probe.transport);
    // One of them is enough, unless it was another one that was asked for.
    const isAmiss = !answer.doesAnswer && probe.transport === asked;
    findings.push(...answer.findings.map((one) => (isAmiss ? { ...one, state: 'problem' as const } : one)));
    if (answer.isUsable && url.lun !== null) findings.push(await measure(probe, signal));
  }
  if (answered.length === 0)
    findings.push(
      problem(`what listens on ${where} is no iSCSI target`, 'Check the port: 3260 unless told otherwise.'),
    );
  return { where, findings, netdev: path.netdev, answered };
}

/** By a plain connection, which tells which address of ours it comes from. */
async function findPath(
  machine: Machine,
  { portal }: IscsiUrl,
  timeout: number,
  signal: AbortSignal,
): Promise<{ netdev: string | null; how: string } | RiserError> {
  try {
    const socket = await dialPortal(portal, timeout, signal);
    const { localAddress = '', remoteAddress = '' } = socket;
    socket.destroy();
    if (localAddress === remoteAddress) return { netdev: null, how: 'within this machine' };
    const netdev = machine.interfaceOf(localAddress);
    return { netdev, how: `from ${localAddress}${netdev === null ? '' : ` by ${netdev}`}` };
  } catch (error) {
    return reasonOf(error, signal);
  }
}

function unreachedRemedy({ remedy = '' }: RiserError): string {
  return `${remedy} A firewall may be in between. A portal for RoCE or InfiniBand alone is out of reach: Riser speaks iWARP, which is over TCP.`;
}

interface Answer {
  readonly doesAnswer: boolean;
  /** A login went well. */
  readonly isUsable: boolean;
  readonly findings: readonly Finding[];
}

/** `isTarget`: it has answered another transport. */
async function ask(
  probe: TransportProbe,
  url: IscsiUrl,
  isTarget: boolean,
  signal: AbortSignal,
): Promise<Answer> {
  const { transport } = probe;
  const findings: Finding[] = [];
  let connected: number | null;
  try {
    connected = await probe.connects();
    if (connected !== null)
      findings.push(good(`${transport}: answers over iWARP; connecting took ${milliseconds(connected)}`));
  } catch (error) {
    const finding = unanswered(transport, reasonOf(error, signal), isTarget);
    return { doesAnswer: false, isUsable: false, findings: [finding] };
  }
  try {
    findings.push(good(`${transport}: answers; round trips took ${describeTimes(await probe.roundTrips())}`));
    return { doesAnswer: true, isUsable: true, findings };
  } catch (error) {
    const reason = reasonOf(error, signal);
    if (REFUSALS.has(reason.code)) {
      // Which target is meant was not said: another one may let us in.
      const report = url.targetName === null ? notice : problem;
      findings.push(report(`${transport}: answers, but ${reason.message}`, reason.remedy));
      return { doesAnswer: true, isUsable: false, findings };
    }
    if (connected !== null && reason.code === 'TRANSPORT') {
      findings.push(notice(`${transport}: no login was tried, nor anything measured: ${reason.message}`));
      return { doesAnswer: true, isUsable: false, findings };
    }
    findings.push(notice(`${transport}: no login: ${reason.message}`, reason.remedy));
    return { doesAnswer: false, isUsable: false, findings };
  }
}

/** Why a connection did not come about. */
function unanswered(transport: TransportProbe['transport'], reason: RiserError, isTarget: boolean): Finding {
  const { code, message, remedy } = reason;
  if (code === 'RDMA_REJECTED')
    return notice(`${transport}: what listens speaks iWARP, but rejects the connection`, ISER_AT_TARGET);
  if (!NO_IWARP.test(code)) return notice(`${transport}: does not answer: ${message}`, remedy);
  if (isTarget)
    return notice(
      `${transport}: does not answer: the portal speaks iSCSI over TCP only on this port`,
      ISER_AT_TARGET,
    );
  return notice(`${transport}: does not answer, for it speaks no iWARP: ${message}`);
}

async function measure(probe: TransportProbe, signal: AbortSignal): Promise<Finding> {
  const { transport } = probe;
  try {
    const rate = await probe.bandwidth();
    const { seconds, depth, blockSize } = LOAD;
    return good(
      `${transport}: ${formatSize(Math.round(rate))}/s, by ${seconds} s of reads of ${formatSize(blockSize)}, ${depth} at a time`,
    );
  } catch (error) {
    const { message, remedy } = reasonOf(error, signal);
    return problem(`${transport}: the LUN could not be read: ${message}`, remedy);
  }
}

/** What is to be told of; anything else, such as that a signal came, goes on. */
function reasonOf(error: unknown, signal: AbortSignal): RiserError {
  signal.throwIfAborted();
  if (error instanceof RiserError) return error;
  throw error;
}

function describeTimes({ minimumMs, averageMs, maximumMs }: RoundTripTimes): string {
  return `${milliseconds(averageMs!)} (${minimumMs!.toFixed(2)} to ${maximumMs!.toFixed(2)})`;
}

function milliseconds(time: number): string {
  return `${time.toFixed(2)} ms`;
}
