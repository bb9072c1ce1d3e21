/** `riser discover`: which targets are behind a portal. */

import { discover, type DiscoveredTarget, type TargetPortal } from '../../initiator/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl, sessionOptionsOf } from '../connection-options.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { print, printJson, table } from '../output.js';
import { formatPortal } from '../portal.js';

export async function runDiscover(
  portal: string,
  flags: ClientFlags,
  { signal }: Interruption,
): Promise<number> {
  const targets = await discover(sessionOptionsOf(parsePortalOrUrl(portal), flags, signal));
  if (flags.json === true) await printJson({ targets });
  else await print(describeTargets(targets));
  return ExitCode.SUCCESS;
}

function describeTargets(targets: readonly DiscoveredTarget[]): string {
  if (targets.length === 0) return 'no targets for this initiator\n';
  return table(targets.flatMap(({ name, portals }) => portals.map((portal) => [name, addressOf(portal)])));
}

/** `192.0.2.7:3260,1` */
function addressOf({ host, port, portalGroupTag }: TargetPortal): string {
  const address = formatPortal({ address: host, port });
  return portalGroupTag === null ? address : `${address},${portalGroupTag}`;
}
