/** `riser discover isns://HOST[:PORT]`: which targets an iSNS server shows to this initiator. */

import { defaultInitiatorName } from '../../initiator/index.js';
import { discoverByIsns } from '../../isns/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { ExitCode, usageError } from '../failure.js';
import { parseIsnsUrl } from '../isns-server.js';
import { print, printJson } from '../output.js';
import { describeTargets } from './discover.js';

/** Options of sessions, of which there is none. */
const OF_SESSIONS = {
  headerDigest: '--header-digest',
  dataDigest: '--data-digest',
  errorRecoveryLevel: '--error-recovery-level',
  connections: '--connections',
  device: '--device',
  chapUser: '--chap-user',
  chapSecretFile: '--chap-secret-file',
  chapTargetUser: '--chap-target-user',
  chapTargetSecretFile: '--chap-target-secret-file',
} as const satisfies Partial<Record<keyof ClientFlags, string>>;

/** For the connection, and for each answer, milliseconds. */
const DEFAULT_TIMEOUT = 10_000;

export async function runIsnsDiscover(url: string, flags: ClientFlags, signal: AbortSignal): Promise<number> {
  const server = parseIsnsUrl(url);
  for (const [key, option] of Object.entries(OF_SESSIONS)) {
    if (flags[key as keyof typeof OF_SESSIONS] !== undefined)
      throw usageError(`${option} is for targets, and the URL is one of an iSNS server`);
  }
  const targets = await discoverByIsns(server, {
    initiatorName: flags.initiatorName ?? defaultInitiatorName(),
    timeoutMs: flags.timeout ?? DEFAULT_TIMEOUT,
    signal,
  });
  if (flags.json === true) await printJson({ server, targets });
  else await print(describeTargets(targets));
  return ExitCode.SUCCESS;
}
