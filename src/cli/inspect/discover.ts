/** `riser discover`: which targets are behind a portal, or known to an iSNS server. */

import { type DiscoveredTarget, discoverBy, type TargetPortal, withSession } from '../../initiator/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl, sessionOptionsOf } from '../connection-options.js';
import { ExitCode } from '../failure.js';
import { isIsnsUrl } from '../isns-server.js';
import type { Interruption } from '../interruption.js';
import { note, print, printJson, table } from '../output.js';
import { formatPortal } from '../portal.js';
import { describeTransport } from '../transport.js';

export async function runDiscover(
  portal: string,
  flags: ClientFlags,
  { signal }: Interruption,
): Promise<number> {
  if (isIsnsUrl(portal)) {
    const { runIsnsDiscover } = await import('./discover-isns.js');
    return runIsnsDiscover(portal, flags, signal);
  }
  const url = parsePortalOrUrl(portal);
  const options = { ...sessionOptionsOf(url, flags, signal), targetName: null };
  const { targets, ...answered } = await withSession(options, async (session) => {
    const { transport, device, whyNotIser } = session;
    return { transport, device, whyNotIser, targets: await discoverBy(session) };
  });
  if (flags.json === true) await printJson({ ...answered, targets });
  else {
    if (url.transport !== 'tcp') note(`answered over ${describeTransport(answered)}`);
    await print(describeTargets(targets));
  }
  return ExitCode.SUCCESS;
}

/** A line for each portal of each target. */
export function describeTargets(targets: readonly DiscoveredTarget[]): string {
  if (targets.length === 0) return 'no targets for this initiator\n';
  return table(
    targets.flatMap(({ name, portals }) =>
      portals.length === 0 ? [[name, 'no portal']] : portals.map((portal) => [name, addressOf(portal)]),
    ),
  );
}

/** `192.0.2.7:3260,1` */
function addressOf({ host, port, portalGroupTag }: TargetPortal): string {
  const address = formatPortal({ address: host, port });
  return portalGroupTag === null ? address : `${address},${portalGroupTag}`;
}
