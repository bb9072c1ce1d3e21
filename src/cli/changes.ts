/** The difference between the configuration that is served and a new one. */

import {
  type Configuration,
  isSame,
  type LunConfiguration,
  type PortGroupConfiguration,
  type TargetConfiguration,
} from './configuration.js';
import { formatPortal, type Portal } from './portal.js';

/** A logical unit of a target that stays. */
export interface LunChange {
  target: string;
  lun: LunConfiguration;
}

/** A target port group of a target that stays, with another state or preference. */
export interface PortGroupChange {
  target: string;
  group: PortGroupConfiguration;
}

/** What to do, in the order of the fields: what goes makes room for what comes. */
export interface Changes {
  removedTargets: TargetConfiguration[];
  removedLuns: LunChange[];
  addedTargets: TargetConfiguration[];
  addedLuns: LunChange[];
  /** Drives that stay and get another disc. */
  changedDiscs: LunChange[];
  /** Targets that stay, and admit others from now on. */
  securedTargets: TargetConfiguration[];
  /** Targets that stay, and send initiators elsewhere from now on, or elsewhere than before. */
  redirectedTargets: TargetConfiguration[];
  /** Targets that stay, and are served here again. */
  returnedTargets: TargetConfiguration[];
  changedGroups: PortGroupChange[];
  /** Whether what all targets share of {@link ServerSecurity} is another. */
  securesServer: boolean;
  /** Whether another iSNS server is told, or one for the first time, or none any more. */
  changesIsns: boolean;
  removedPortals: Portal[];
  addedPortals: Portal[];
}

/**
 * The changes that lead from `before` to `after`.
 *
 * A logical unit with any other setting is removed and added, but a CD drive gets its other disc; a target with another alias or recovery
 * too, because initiators learn these when they log in, and one with other target port groups. Other states of those, other rules or
 * secrets leave sessions alone; a redirection ends them, so that initiators follow it.
 */
export function changesBetween(before: Configuration, after: Configuration): Changes {
  const changes: Changes = {
    removedTargets: [],
    removedLuns: [],
    addedTargets: [],
    addedLuns: [],
    changedDiscs: [],
    securedTargets: [],
    redirectedTargets: [],
    returnedTargets: [],
    changedGroups: [],
    securesServer: !isSame(serverSecurity(before), serverSecurity(after)),
    changesIsns: !isSame(before.isns, after.isns),
    removedPortals: without(before.portals, after.portals, formatPortal),
    addedPortals: without(after.portals, before.portals, formatPortal),
  };
  const keyOf = (target: TargetConfiguration): string =>
    JSON.stringify([target.name, target.alias, target.recovery, portGroupsOf(target)]);
  changes.removedTargets = without(before.targets, after.targets, keyOf);
  changes.addedTargets = without(after.targets, before.targets, keyOf);

  for (const target of after.targets) {
    const old = before.targets.find((other) => keyOf(other) === keyOf(target));
    if (old === undefined) continue;
    if (!isSame(targetSecurity(old), targetSecurity(target))) changes.securedTargets.push(target);
    if (!isSame(old.redirect, target.redirect))
      (target.redirect === undefined ? changes.returnedTargets : changes.redirectedTargets).push(target);
    for (const group of target.alua?.groups ?? []) {
      if (old.alua?.groups.some((other) => isSame(other, group)) !== true)
        changes.changedGroups.push({ target: target.name, group });
    }
    const isIn = (luns: LunConfiguration[], lun: LunConfiguration) =>
      luns.some((other) => isSame(other, lun));
    for (const lun of old.luns) {
      if (!isIn(target.luns, lun) && !target.luns.some((other) => isSameDrive(lun, other)))
        changes.removedLuns.push({ target: target.name, lun });
    }
    for (const lun of target.luns) {
      if (isIn(old.luns, lun)) continue;
      const isDrive = old.luns.some((other) => isSameDrive(lun, other));
      (isDrive ? changes.changedDiscs : changes.addedLuns).push({ target: target.name, lun });
    }
  }
  return changes;
}

/** Whether two logical units are one CD drive, if maybe with different discs. */
function isSameDrive(a: LunConfiguration, b: LunConfiguration): boolean {
  return a.type === 'cdrom' && isSame({ ...a, medium: null }, { ...b, medium: null });
}

export function isEmpty(changes: Changes): boolean {
  const { securesServer, changesIsns, ...lists } = changes;
  return !securesServer && !changesIsns && Object.values(lists).every((list: unknown[]) => list.length === 0);
}

/** What stays as it is while the target is served: all but states and preferences. */
const portGroupsOf = ({ alua }: TargetConfiguration) =>
  alua && [
    alua.explicit,
    alua.transitionTime,
    alua.groups.map(({ group, portals }) => [group, portals.map(formatPortal)]),
  ];
const targetSecurity = ({ access, authentication }: TargetConfiguration) => ({ access, authentication });
const serverSecurity = ({ discoveryAuthentication, failedLogins }: Configuration) => ({
  discoveryAuthentication,
  failedLogins,
});

/** The items of `items` whose key none of `others` has. */
function without<T>(items: T[], others: T[], keyOf: (item: T) => string): T[] {
  const keys = new Set(others.map(keyOf));
  return items.filter((item) => !keys.has(keyOf(item)));
}
