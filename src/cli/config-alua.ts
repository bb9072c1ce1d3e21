/** The part of the configuration file that says how a target is reached by which portals: asymmetric access (ALUA). */

import { z } from 'zod';
import { ACCESS_STATES, type AccessStateName } from '../target/index.js';
import { formatPortal, type Portal } from './portal.js';
import { portal } from './schema.js';

const STATES = Object.keys(ACCESS_STATES) as AccessStateName[];

const group = z.strictObject({
  group: z.int().min(1).max(65535),
  portals: z.array(portal).min(1),
  state: z.enum(STATES).default('active/optimized'),
  preferred: z.boolean().default(false),
});

export const alua = z
  .strictObject({
    explicit: z.boolean().default(false),
    transitionTime: z.int().min(0).max(255).default(0),
    groups: z.array(group).min(1),
  })
  .optional();

/** Called with what is wrong at a place below the key `alua`. */
type Complain = (path: (string | number)[], problem: string) => void;

/** What no schema can say: groups and portals are named once, and `portals`, those of the server, has them. */
export function checkGroups(
  groups: z.infer<typeof group>[],
  portals: readonly Portal[],
  complain: Complain,
): void {
  const served = portals.map(formatPortal);
  const numbers = new Set<number>();
  const taken = new Set<string>();
  groups.forEach((each, i) => {
    if (numbers.has(each.group))
      complain(['groups', i, 'group'], 'another group of this target has this number');
    numbers.add(each.group);
    each.portals.map(formatPortal).forEach((name, j) => {
      const path = ['groups', i, 'portals', j];
      const count = served.filter((other) => other === name).length;
      if (count === 0) complain(path, `${name} is not among the portals of the server`);
      else if (count > 1) complain(path, `the server has ${count} portals ${name}`);
      else if (taken.has(name)) complain(path, `${name} is in another group of this target`);
      taken.add(name);
    });
  });
}
