/** URLs of LUNs, in the form that libiscsi, QEMU and fio know. */

import { parseIscsiName } from '../iscsi/index.js';
import { MAX_LUN } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';

/** Where a target listens. */
export interface PortalAddress {
  /** Name, IPv4 or IPv6 address, without brackets. */
  readonly host: string;
  readonly port: number;
}

/** Port of iSCSI portals (RFC 7143 4.2.7.1). */
export const ISCSI_PORT = 3260;

/** How a session is to be carried: over TCP, over RDMA, or over RDMA if that can be. */
export type Transport = 'tcp' | 'iser' | 'auto';

const SCHEMES: Readonly<Record<string, Transport>> = { iscsi: 'tcp', iser: 'iser', auto: 'auto' };

/** The scheme of URLs that ask for a transport: `iscsi`, `iser`, `auto`. */
export function schemeOf(transport: Transport): string {
  return Object.keys(SCHEMES).find((scheme) => SCHEMES[scheme] === transport)!;
}

export interface IscsiUrl {
  readonly transport: Transport;
  readonly portal: PortalAddress;
  /** Null when the URL ends with the portal. */
  readonly targetName: string | null;
  /** Null when the URL ends with the target. */
  readonly lun: number | null;
  readonly user: string | null;
  readonly secret: string | null;
}

const FORM = 'iscsi://[USER[%SECRET]@]HOST[:PORT]/TARGET-NAME/LUN, or that with iser:// or auto://';

/** Whether `text` is meant to be a URL of this form, right or wrong. */
export function isIscsiUrl(text: string): boolean {
  return /^(?:iscsi|iser|auto):\/\//i.test(text);
}

/**
 * Parse `iscsi://[USER[%SECRET]@]HOST[:PORT][/TARGET-NAME[/LUN]]`, or the same with `iser://` or
 * `auto://`. An IPv6 address is in brackets.
 *
 * @throws RiserError `URL`; the message has no secret in it
 */
export function parseIscsiUrl(text: string): IscsiUrl {
  const match =
    /^(iscsi|iser|auto):\/\/(?:([^@/]*)@)?(\[[^\]/]*\]|[^:/@[\]]*)(?::([^/]*))?(?:\/([^/]*)(?:\/([^/]*))?)?\/?$/i.exec(
      text,
    );
  if (match === null) throw urlError(`it is not of the form ${FORM}`);
  const [, scheme, credentials, host, port, target, lun] = match;
  // What follows would be quoted, and may be the end of a secret.
  if (credentials === undefined && text.includes('@')) throw urlError('there is a "/" before the "@"');
  if (host === undefined || host === '' || host === '[]') throw urlError('the host is missing');
  const [user, ...secret] = credentials?.split('%') ?? [];
  return {
    transport: SCHEMES[scheme!.toLowerCase()]!,
    portal: { host: host.replace(/^\[|\]$/g, ''), port: parsePort(port) },
    targetName: parseTarget(target),
    lun: parseLun(lun),
    user: user === undefined || user === '' ? null : user,
    secret: secret.length === 0 ? null : secret.join('%'),
  };
}

function parsePort(text: string | undefined): number {
  if (text === undefined) return ISCSI_PORT;
  const port = Number(text);
  if (!/^\d{1,5}$/.test(text) || port < 1 || port > 65535)
    throw urlError(`${JSON.stringify(text)} is no port`);
  return port;
}

function parseTarget(text: string | undefined): string | null {
  if (text === undefined || text === '') return null;
  const parsed = parseIscsiName(text);
  if ('error' in parsed) throw urlError(`the target name ${JSON.stringify(text)}: ${parsed.error}`);
  return parsed.name;
}

function parseLun(text: string | undefined): number | null {
  if (text === undefined || text === '') return null;
  const lun = Number(text);
  if (!/^\d{1,5}$/.test(text) || lun > MAX_LUN)
    throw urlError(`${JSON.stringify(text)} is no LUN (0 to ${MAX_LUN})`);
  return lun;
}

function urlError(problem: string): RiserError {
  return new RiserError('URL', `the URL cannot be used: ${problem}`, {
    by: 'local',
    costs: 'task',
    remedy: 'Example: iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0',
  });
}
