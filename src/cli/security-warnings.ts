/** What a configuration leaves open that its owner may not be aware of. */

import type { Authentication } from '../target/index.js';
import { Secret } from '../util/secret.js';
import type { Configuration } from './configuration.js';
import { formatPortal, isLoopback } from './portal.js';

/** Sentences for the log. */
export function securityWarnings(configuration: Configuration): string[] {
  return [...openTargets(configuration), ...sharedSecrets(configuration)];
}

function openTargets({ portals, targets }: Configuration): string[] {
  const open = portals.filter((portal) => !isLoopback(portal)).map(formatPortal);
  if (open.length === 0) return [];
  const where = `${open.join(', ')} ${open.length === 1 ? 'is' : 'are'} open to other machines`;
  return targets
    .filter(({ authentication, redirect }) => authentication === undefined && redirect === undefined)
    .map(({ name, access }) => {
      const who =
        access === undefined
          ? 'whoever reaches it can read and write'
          : 'whoever its access rules admit by address, or by a name that anybody can claim, can read and write';
      return `${where}, and there is no authentication for ${name}: ${who}`;
    });
}

/** RFC 7143 9.2.1: users with the same secret can pass for each other. */
function sharedSecrets({ targets, discoveryAuthentication }: Configuration): string[] {
  const seen: { name: string; secret: Secret }[] = [];
  const warnings: string[] = [];
  const look = ({ chap }: Authentication): void => {
    for (const { name, secret } of chap.users) {
      if (!(secret instanceof Secret)) continue;
      const other = seen.find((each) => each.name !== name && each.secret.equals(secret));
      if (other !== undefined) {
        warnings.push(
          `CHAP users ${other.name} and ${name} have the same secret: each can pass for the other`,
        );
      }
      seen.push({ name, secret });
    }
  };
  for (const { authentication } of targets) if (authentication !== undefined) look(authentication);
  if (discoveryAuthentication !== undefined) look(discoveryAuthentication);
  return warnings;
}
