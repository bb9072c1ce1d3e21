/** From URLs and flags of the command line to what a session needs. */

import { isIPv6 } from 'node:net';
import {
  type ConnectOptions,
  type IscsiUrl,
  isIscsiUrl,
  parseIscsiUrl,
  type SessionOptions,
  sessionOptions,
} from '../initiator/index.js';
import type { InitiatorAuthenticationOptions } from '../iscsi/index.js';
import type { Secret } from '../util/secret.js';
import type { ConnectionFlags } from './connection-flags.js';
import { usageError } from './failure.js';
import { textLog } from './log.js';
import { readSecret } from './secrets.js';

/**
 * A portal as `HOST[:PORT]`, or any iSCSI URL.
 *
 * @throws RiserError `URL`, `USAGE`
 */
export function parsePortalOrUrl(text: string): IscsiUrl {
  if (text.includes('://')) return parseUrl(text);
  return parseUrl(`iscsi://${isIPv6(text) ? `[${text}]` : text}`);
}

/**
 * A URL from the command line, which everybody on this machine can read: no secret may be in it.
 *
 * @throws RiserError `URL`, `USAGE`
 */
export function parseUrl(text: string): IscsiUrl {
  if (!isIscsiUrl(text))
    throw usageError(
      'this is no iSCSI URL',
      'Example: iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0; or iser:// for iSER, or auto:// for either.',
    );
  const url = parseIscsiUrl(text);
  if (url.secret !== null) {
    throw usageError(
      'the URL has a secret in it, and a command line is no secret: every user of this machine can read it',
      `Leave %SECRET out of the URL, and consider the secret as known to others: ${SECRET_VARIABLE} in the environment or --chap-secret-file has it instead.`,
    );
  }
  return url;
}

/** @throws RiserError `USAGE` unless `url` names a LUN */
export function requireLun(url: IscsiUrl): asserts url is IscsiUrl & { targetName: string; lun: number } {
  if (url.targetName !== null && url.lun !== null) return;
  throw usageError(
    'the URL names no LUN',
    'Example: iscsi://192.0.2.7/iqn.2026-11.com.example:disk/0; riser ls lists what there is.',
  );
}

/** What `connect` of the library gets. Lines of the log go to standard error; `signal` gives up connecting. */
export function connectOptions(url: IscsiUrl, flags: ConnectionFlags, signal: AbortSignal): ConnectOptions {
  const { initiatorName, headerDigest, dataDigest, errorRecoveryLevel, connections, device, timeout } = flags;
  if (device !== undefined && url.transport === 'tcp')
    throw usageError('--device is for iSER, and the URL asks for TCP', 'Write iser:// or auto://.');
  const authentication = authenticationOf(url.user, flags);
  return {
    ...(initiatorName !== undefined && { initiatorName }),
    ...(headerDigest !== undefined && { headerDigest }),
    ...(dataDigest !== undefined && { dataDigest }),
    ...(errorRecoveryLevel !== undefined && { errorRecoveryLevel }),
    ...(connections !== undefined && { connections }),
    ...(device !== undefined && { device }),
    ...(timeout !== undefined && {
      limits: { connectTimeoutMs: timeout, loginTimeoutMs: timeout, recoveryTimeoutMs: timeout },
    }),
    ...(authentication !== null && { authentication }),
    signal,
    log: textLog(flags.logLevel ?? 'warn', (line) => process.stderr.write(line)),
  };
}

/** What `Session.open` and `discover` get. */
export function sessionOptionsOf(url: IscsiUrl, flags: ConnectionFlags, signal: AbortSignal): SessionOptions {
  return sessionOptions(url, connectOptions(url, flags, signal));
}

/** The environment variables that secrets are taken from where no file is named. */
export const SECRET_VARIABLE = 'RISER_CHAP_SECRET';
export const TARGET_SECRET_VARIABLE = 'RISER_CHAP_TARGET_SECRET';

/** How to prove who we are; null where nothing is said of it. The one place where a command gets its secrets from. */
function authenticationOf(
  urlUser: string | null,
  { chapUser, chapSecretFile, chapTargetUser, chapTargetSecretFile }: ConnectionFlags,
): InitiatorAuthenticationOptions | null {
  const user = chapUser ?? urlUser;
  const isMutual =
    chapTargetUser !== undefined ||
    chapTargetSecretFile !== undefined ||
    process.env[TARGET_SECRET_VARIABLE] !== undefined;
  if (user === null) {
    if (chapSecretFile === undefined && chapTargetSecretFile === undefined && chapTargetUser === undefined)
      return null;
    throw usageError(
      'there is a CHAP secret, and no user',
      'Name it: --chap-user NAME, or iscsi://NAME@HOST/...',
    );
  }
  const secretOf = (file: string | undefined, env: string): Secret =>
    readSecret(file === undefined ? { env } : { file });
  return {
    user: { name: user, secret: secretOf(chapSecretFile, SECRET_VARIABLE) },
    ...(isMutual && {
      target: {
        name: chapTargetUser ?? null,
        secret: secretOf(chapTargetSecretFile, TARGET_SECRET_VARIABLE),
      },
    }),
  };
}
