/** The way to a portal, which transports it answers, and how fast. */

import type { IscsiUrl } from '../../initiator/url.js';
import { adapterProviders, listDevices } from '../../rdma/index.js';
import { RiserError } from '../../util/errors.js';
import type { ClientFlags } from '../connection-flags.js';
import type { Interruption } from '../interruption.js';
import { formatPortal } from '../portal.js';
import type { RoundTripTimes } from '../round-trips.js';
import { formatSize } from '../size.js';
import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';
import { askIwarp, type IwarpAnswer, LOAD, SessionProbe, type TransportProbe } from './probes.js';

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
  /** The RDMA device that iSER went by. */
  readonly device: string | null;
}

/**
 * iWARP is asked first, and nothing else where it answers, unless `asked` for: a connection that does not begin with MPA's
 * startup can end a listener of the kernel's siw (seen with Linux 6.1), while targets over TCP turn away what they do not know.
 *
 * @param asked the transport that is wanted; null where any will do
 */
export async function inspectPortal(
  machine: Machine,
  url: IscsiUrl,
  asked: TransportProbe['transport'] | null,
  flags: ClientFlags,
  interruption: Interruption,
): Promise<PortalReport> {
  const where = formatPortal({ address: url.portal.host, port: url.portal.port });
  const { signal } = interruption;
  const timeout = flags.timeout ?? DEFAULT_TIMEOUT;
  const { device, ...others } = flags;
  const probeOf = (transport: IscsiUrl['transport']): TransportProbe =>
    new SessionProbe(
      { ...url, transport },
      { ...others, timeout, ...(transport !== 'tcp' && device !== undefined && { device }) },
      interruption,
    );
  const iwarp = await askIwarp(url, timeout, signal);
  // What they speak has ports of its own, which say nothing of TCP's, nor these of them.
  const hasAdapters = (await listDevices(adapterProviders())).length > 0;
  if (typeof iwarp.outcome !== 'number' && isUnreached(iwarp.outcome, iwarp.localAddress)) {
    const probe = probeOf('iser');
    const { doesAnswer, findings } = hasAdapters ? await ask(probe, url, signal) : NOT_THERE;
    return doesAnswer
      ? { where, findings, netdev: null, answered: ['iSER'], device: probe.device }
      : { where, findings: [unreached(iwarp.outcome)], netdev: null, answered: [], device: null };
  }

  const netdev = isLocal(iwarp) ? null : machine.interfaceOf(iwarp.localAddress);
  const findings = [good(`${where} is reached ${describePath(iwarp, netdev)}`)];
  const answered: TransportProbe['transport'][] = [];
  const iser = probeOf('iser');
  const isIwarp = typeof iwarp.outcome === 'number' || iwarp.outcome.code === 'RDMA_REJECTED';
  const add = ({ transport, doesAnswer, findings: own }: Answer): void => {
    if (doesAnswer) answered.push(transport);
    // One of them is enough, unless it was another one that was asked for.
    const isAmiss = !doesAnswer && transport === asked;
    findings.push(...own.map((one) => (isAmiss ? { ...one, state: 'problem' as const } : one)));
  };
  if (isIwarp && asked !== 'iSCSI over TCP') findings.push(notice(NOT_ASKED));
  else add(await ask(probeOf('tcp'), url, signal));
  if (typeof iwarp.outcome === 'number') {
    const time = milliseconds(iwarp.outcome);
    findings.push(good(`iSER: the portal answers over iWARP; connecting took ${time}`));
    add(await ask(iser, url, signal));
  } else if (hasAdapters) {
    add(await ask(iser, url, signal));
  } else {
    const own = [unanswered(iwarp.outcome, answered.length > 0)];
    add({ transport: 'iSER', doesAnswer: false, findings: own });
  }
  if (answered.length === 0)
    findings.push(
      problem(`what listens on ${where} is no iSCSI target`, 'Check the port: 3260 unless told otherwise.'),
    );
  return { where, findings, netdev, answered, device: iser.device };
}

/** What is not asked. */
const NOT_THERE: Pick<Answer, 'doesAnswer' | 'findings'> = { doesAnswer: false, findings: [] };

const NOT_ASKED =
  'iSCSI over TCP: not asked, for the port speaks iWARP, and what does not may disturb it; iscsi:// asks all the same';

/** Where a connection came about it has an address here; one that is closed at once may have lost it again. */
function isUnreached({ code }: RiserError, localAddress: string): boolean {
  return localAddress === '' && code !== 'RDMA_CLOSED';
}

function isLocal({ localAddress, remoteAddress }: IwarpAnswer): boolean {
  return localAddress === remoteAddress;
}

function describePath(answer: IwarpAnswer, netdev: string | null): string {
  if (answer.localAddress === '') return 'and closes connections at once';
  if (isLocal(answer)) return 'within this machine';
  return `from ${answer.localAddress}${netdev === null ? '' : ` by ${netdev}`}`;
}

function unreached({ message }: RiserError): Finding {
  return problem(
    message,
    'Check address and port (3260 unless told otherwise), that the target is running, and that no firewall is in between. A portal for RoCE or InfiniBand alone is reached by an adapter only.',
  );
}

interface Answer {
  readonly transport: TransportProbe['transport'];
  readonly doesAnswer: boolean;
  readonly findings: readonly Finding[];
}

/** Log in, and with a LUN measure. */
async function ask(probe: TransportProbe, url: IscsiUrl, signal: AbortSignal): Promise<Answer> {
  const { transport } = probe;
  const answer = (doesAnswer: boolean, ...findings: Finding[]): Answer => ({
    transport,
    doesAnswer,
    findings,
  });
  let times: RoundTripTimes;
  try {
    times = await probe.roundTrips();
  } catch (error) {
    const { code, message, remedy } = reasonOf(error, signal);
    if (REFUSALS.has(code)) {
      // Which target is meant was not said: another one may let us in.
      const report = url.targetName === null ? notice : problem;
      return answer(true, report(`${transport}: answers, but ${message}`, remedy));
    }
    return answer(false, notice(`${transport}: no login: ${message}`, remedy));
  }
  const found = good(`${transport}: answers; round trips took ${describeTimes(times)}`);
  return url.lun === null ? answer(true, found) : answer(true, found, await measure(probe, signal));
}

/** Why no iWARP connection came about. `isTarget`: it has answered over TCP. */
function unanswered({ code, message, remedy }: RiserError, isTarget: boolean): Finding {
  if (code === 'RDMA_REJECTED')
    return notice('iSER: what listens speaks iWARP, but rejects the connection', ISER_AT_TARGET);
  if (!NO_IWARP.test(code)) return notice(`iSER: does not answer: ${message}`, remedy);
  if (isTarget)
    return notice(
      'iSER: does not answer: the portal speaks iSCSI over TCP only on this port',
      ISER_AT_TARGET,
    );
  return notice(`iSER: does not answer, for it speaks no iWARP: ${message}`);
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
