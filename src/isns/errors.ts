/** What goes wrong with an iSNS server, with what to do about it. */

import { RiserError } from '../util/errors.js';
import { Status, statusName } from './wire/codes.js';

/** Where a server listens. */
export interface ServerAddress {
  /** Name, IPv4 or IPv6 address, without brackets. */
  readonly host: string;
  readonly port: number;
}

export function formatServer({ host, port }: ServerAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** A server that answered with another status than Successful. */
export class IsnsRefusal extends RiserError {
  readonly status: number;

  /** `what`: such as "the registration". */
  constructor(server: ServerAddress, what: string, status: number) {
    const remedy = REMEDIES[status];
    super(
      'ISNS_REFUSED',
      `the iSNS server ${formatServer(server)} refused ${what}: ${statusName(status)} (status ${status})`,
      { by: 'peer', costs: 'task', ...(remedy !== undefined && { remedy }) },
    );
    this.status = status;
  }
}

const REMEDIES: Readonly<Record<number, string>> = {
  3: 'Look in its log which attribute or object it means; one of that name may belong to another entity until that expires.',
  [Status.SOURCE_UNKNOWN]:
    'It answers nodes that are registered there only: register this name, or use one that is.',
  [Status.SOURCE_ABSENT]:
    'It answers nodes that are registered there only: register this name, or use one that is.',
  [Status.SOURCE_UNAUTHORIZED]:
    'Its policy does not let this node do that, or it wants authentication, which Riser does not have (isnsd: Security = 0).',
  12: 'Try again later.',
  [Status.ESI_NOT_AVAILABLE]: 'Let it send Entity Status Inquiries (isnsd: ESIRetries above 0).',
};

/** `cause`: null when nobody answered within the time. */
export function unreachable(server: ServerAddress, cause: unknown): RiserError {
  const why =
    cause === null ? 'no answer in time' : cause instanceof Error ? cause.message : JSON.stringify(cause);
  return new RiserError(
    'ISNS_UNREACHABLE',
    `the iSNS server ${formatServer(server)} cannot be reached: ${why}`,
    {
      by: 'peer',
      costs: 'connection',
      cause,
      remedy: 'Look whether it runs, and whether a firewall lets its port through; 3205 is the usual one.',
    },
  );
}

/** The connection ended, or time ran out, before the answer to a request. */
export function unanswered(server: ServerAddress, why: string, cause?: unknown): RiserError {
  return new RiserError('ISNS_UNANSWERED', `the iSNS server ${formatServer(server)} did not answer: ${why}`, {
    by: 'peer',
    costs: 'connection',
    cause,
    remedy: 'Look in its log; what listens there may be no iSNS server.',
  });
}
