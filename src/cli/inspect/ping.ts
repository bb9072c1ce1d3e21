/**
 * `riser ping`: round trips of NOP-Out in a session (RFC 7143 11.18), or of SendTargets in a discovery session, where
 * a target accepts nothing else (RFC 7143 4.3).
 */

import { Session } from '../../initiator/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl, sessionOptionsOf } from '../connection-options.js';
import type { Interruption } from '../interruption.js';
import { print, printJson } from '../output.js';
import { formatPortal } from '../portal.js';
import { measureRoundTrips, type RoundTripFlags, type RoundTripTimes } from '../round-trips.js';

export interface PingFlags extends ClientFlags, RoundTripFlags {
  json?: boolean;
  /** Bytes of data. */
  size: number;
}

/** With a target's name in a session with it, else in a discovery session. */
export async function runPing(text: string, flags: PingFlags, interruption: Interruption): Promise<number> {
  const options = sessionOptionsOf(parsePortalOrUrl(text), flags, interruption.signal);
  const session = await Session.open(options);
  const { host, port } = session.portal;
  let times: RoundTripTimes;
  try {
    const where = formatPortal({ address: host, port });
    // Longer data than the target receives would be a protocol error (RFC 7143 13.12).
    const size = Math.min(flags.size, session.parameters.targetMaxRecvDataSegmentLength);
    const data = Buffer.alloc(size, 'riser ping ');
    const isDiscovery = session.targetName === null;
    const measured = {
      answer: `${isDiscovery ? 'answer' : `${data.length} bytes`} from ${where}`,
      perform: () => roundTrip(session, data),
    };
    times = await measureRoundTrips(measured, flags, interruption);
  } finally {
    await session.close();
  }
  if (flags.json === true)
    await printJson({ portal: { host, port }, target: session.targetName, ...times.toJSON() });
  else await print(times.summary());
  return times.exitCode;
}

/** One round trip; of `data` where the session is a normal one. Throws when there is no answer, or another one than is due. */
export function roundTrip(session: Session, data: Buffer): Promise<void> {
  return session.targetName === null ? sendTargets(session) : echo(session, data);
}

async function sendTargets(session: Session): Promise<void> {
  await session.text([{ key: 'SendTargets', value: 'All' }]);
}

async function echo(session: Session, data: Buffer): Promise<void> {
  const answer = await session.ping(data);
  // RFC 7143 11.19.3: the target returns the data as it was; it may shorten it to its own limit.
  if (!answer.equals(data.subarray(0, answer.length))) throw new Error('the data came back changed');
}
