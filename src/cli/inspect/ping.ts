/**
 * `riser ping`: round trips of NOP-Out in a session (RFC 7143 11.18), or of SendTargets in a discovery session, where
 * a target accepts nothing else (RFC 7143 4.3).
 */

import { setTimeout as delay } from 'node:timers/promises';
import { Session } from '../../initiator/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl, sessionOptionsOf } from '../connection-options.js';
import { ExitCode, messageOf } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { note, print, printJson } from '../output.js';
import { formatPortal } from '../portal.js';

export interface PingFlags extends ClientFlags {
  /** How many; without end, until SIGINT, by default. */
  count?: number;
  /** Milliseconds from one to the next. */
  interval: number;
  /** Bytes of data. */
  size: number;
}

/** With a target's name in a session with it, else in a discovery session. */
export async function runPing(text: string, flags: PingFlags, interruption: Interruption): Promise<number> {
  const { count = Infinity, interval, json = false } = flags;
  const options = sessionOptionsOf(parsePortalOrUrl(text), flags, interruption.signal);
  const session = await Session.open(options);
  const stop = new AbortController();
  interruption.whenCame(() => {
    stop.abort();
  });
  const { host, port } = session.portal;
  const where = formatPortal({ address: host, port });
  // Longer data than the target receives would be a protocol error (RFC 7143 13.12).
  const size = Math.min(flags.size, session.parameters.targetMaxRecvDataSegmentLength);
  const data = Buffer.alloc(size, 'riser ping ');
  const what = session.targetName === null ? 'answer' : `${data.length} bytes`;
  const times = new RoundTripTimes();
  const isGone = (): boolean => stop.signal.aborted;
  let sent = 0;
  try {
    while (sent < count && !isGone()) {
      const start = performance.now();
      sent++;
      try {
        await roundTrip(session, data, stop.signal);
        const time = performance.now() - start;
        times.add(time);
        if (!json && !(await print(`${what} from ${where}: seq=${sent} time=${ms(time)}\n`))) stop.abort();
      } catch (error) {
        // A ping that a signal cut short is none.
        if (isGone()) sent--;
        else note(`no answer to seq=${sent}: ${messageOf(error)}`);
      }
      const rest = interval - (performance.now() - start);
      if (sent < count && !isGone()) await delay(Math.max(0, rest), undefined, stop).catch(() => undefined);
    }
  } finally {
    await session.close();
  }
  const received = times.count;
  if (json) {
    const { minimumMs, averageMs, maximumMs } = times;
    const portal = { host, port };
    await printJson({ portal, target: session.targetName, sent, received, minimumMs, averageMs, maximumMs });
  } else await print(`${sent} sent, ${received} received${times.summary()}\n`);
  return received === sent ? ExitCode.SUCCESS : ExitCode.FAILURE;
}

/** Milliseconds; null while there is none. */
class RoundTripTimes {
  count = 0;
  minimumMs: number | null = null;
  maximumMs: number | null = null;
  #sum = 0;

  add(time: number): void {
    this.count++;
    this.#sum += time;
    this.minimumMs = Math.min(this.minimumMs ?? time, time);
    this.maximumMs = Math.max(this.maximumMs ?? time, time);
  }

  get averageMs(): number | null {
    return this.count === 0 ? null : this.#sum / this.count;
  }

  summary(): string {
    if (this.count === 0) return '';
    return `; min/avg/max ${ms(this.minimumMs!)}/${ms(this.averageMs!)}/${ms(this.maximumMs!)}`;
  }
}

/** Throws when there is no answer, or another one than was sent; the signal's reason when it is aborted. */
async function roundTrip(session: Session, data: Buffer, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', onAbort, { once: true });
    const answered = session.targetName === null ? sendTargets(session) : echo(session, data);
    answered.then(resolve, reject).finally(() => {
      signal.removeEventListener('abort', onAbort);
    });
  });
}

async function sendTargets(session: Session): Promise<void> {
  await session.text([{ key: 'SendTargets', value: 'All' }]);
}

async function echo(session: Session, data: Buffer): Promise<void> {
  const answer = await session.ping(data);
  // RFC 7143 11.19.3: the target returns the data as it was; it may shorten it to its own limit.
  if (!answer.equals(data.subarray(0, answer.length))) throw new Error('the data came back changed');
}

function ms(time: number): string {
  return `${time.toFixed(3)} ms`;
}
