/**
 * Asymmetric logical unit access (SPC-4 5.15): the target port groups of a target, and the state in which each gives access. All
 * logical units of the target share them, which makes these one logical unit group. States change at once; what they are
 * is not kept over a restart.
 */

import type { Nexus } from './nexus.js';
import { Sense, type SenseCode } from './sense.js';

/** Target port asymmetric access states (SPC-4 table 307), the less restricted first. */
export const AccessState = {
  ACTIVE_OPTIMIZED: 0x0,
  ACTIVE_NON_OPTIMIZED: 0x1,
  STANDBY: 0x2,
  UNAVAILABLE: 0x3,
  /** Nobody comes in: the transport sees to it. Told about to those who ask by another group. */
  OFFLINE: 0xe,
  TRANSITIONING: 0xf,
} as const;
export type AccessState = (typeof AccessState)[keyof typeof AccessState];

/** As people write them. */
export type AccessStateName =
  'active/optimized' | 'active/non-optimized' | 'standby' | 'unavailable' | 'offline' | 'transitioning';
export const ACCESS_STATES: Readonly<Record<AccessStateName, AccessState>> = {
  'active/optimized': AccessState.ACTIVE_OPTIMIZED,
  'active/non-optimized': AccessState.ACTIVE_NON_OPTIMIZED,
  standby: AccessState.STANDBY,
  unavailable: AccessState.UNAVAILABLE,
  offline: AccessState.OFFLINE,
  transitioning: AccessState.TRANSITIONING,
};

export function accessStateName(state: number): string {
  return Object.entries(ACCESS_STATES).find(([, value]) => value === state)?.[0] ?? `state ${state}`;
}

/** Why a group is in its state (STATUS CODE, SPC-4 table 308). */
export const AccessStatus = { NONE: 0, EXPLICIT: 1, IMPLICIT: 2 } as const;
export type AccessStatus = (typeof AccessStatus)[keyof typeof AccessStatus];

export interface TargetPortGroup {
  /** TARGET PORT GROUP, 0 to 65535. */
  readonly id: number;
  /** Relative target port identifiers. */
  readonly ports: readonly number[];
  readonly state: AccessState;
  /** PREF. */
  readonly preferred: boolean;
  readonly status: AccessStatus;
}

export interface TargetPortGroupOptions {
  id: number;
  ports: readonly number[];
  /** Active/optimized by default. */
  state?: AccessState;
  preferred?: boolean;
}

export interface AsymmetricAccessOptions {
  groups: readonly TargetPortGroupOptions[];
  /** Whether initiators may change states by SET TARGET PORT GROUPS; no by default. */
  explicit?: boolean;
  /** IMPLICIT TRANSITION TIME: seconds that initiators are told to wait for the end of transitioning, 0 to 255; 0, the default: not told. */
  transitionTime?: number;
}

type MutableGroup = { -readonly [K in keyof TargetPortGroup]: TargetPortGroup[K] };

export class TargetPortGroups {
  /** Whether any group is not active: until then commands are let through without a look. */
  isRestricted = false;
  readonly explicit: boolean;
  readonly transitionTime: number;
  readonly #groups: readonly MutableGroup[];
  /** Looked up for every command while any group is not active. */
  readonly #stateOfPort = new Map<number, AccessState>();

  constructor({ groups, explicit = false, transitionTime = 0 }: AsymmetricAccessOptions) {
    this.explicit = explicit;
    this.transitionTime = transitionTime;
    this.#groups = groups.map(({ id, ports, state = AccessState.ACTIVE_OPTIMIZED, preferred = false }) => ({
      id,
      ports,
      state,
      preferred,
      status: AccessStatus.NONE,
    }));
    this.#look();
  }

  /** `1 active/optimized, 2 standby` */
  toString(): string {
    return this.#groups.map(({ id, state }) => `${id} ${accessStateName(state)}`).join(', ');
  }

  get groups(): readonly TargetPortGroup[] {
    return this.#groups;
  }

  /** The group that a target port is in, or null. */
  groupOf(relativeTargetPort: number): TargetPortGroup | null {
    return this.#groups.find(({ ports }) => ports.includes(relativeTargetPort)) ?? null;
  }

  /** Why a command that runs up to the state `limit` does not run now when it comes from `nexus`; null if it does. */
  refusal({ relativeTargetPort }: Nexus, limit: AccessState): SenseCode | null {
    const state = this.#stateOfPort.get(relativeTargetPort) ?? AccessState.ACTIVE_OPTIMIZED;
    return state <= limit ? null : senseOf(state);
  }

  /** Bring groups into other states, by id; true when any was in another one. */
  change(states: ReadonlyMap<number, AccessState>, status: AccessStatus): boolean {
    let hasChanged = false;
    for (const group of this.#groups) {
      const state = states.get(group.id) ?? group.state;
      if (state === group.state) continue;
      group.state = state;
      group.status = status;
      hasChanged = true;
    }
    this.#look();
    return hasChanged;
  }

  prefer(id: number, preferred: boolean): void {
    for (const group of this.#groups) if (group.id === id) group.preferred = preferred;
  }

  #look(): void {
    for (const { ports, state } of this.#groups) for (const port of ports) this.#stateOfPort.set(port, state);
    this.isRestricted = this.#groups.some(({ state }) => state > AccessState.ACTIVE_NON_OPTIMIZED);
  }
}

/** What TEST UNIT READY answers through a port whose group is in `state`; null where it is active. */
export function senseOf(state: AccessState): SenseCode | null {
  switch (state) {
    case AccessState.STANDBY:
      return Sense.TARGET_PORT_IN_STANDBY_STATE;
    case AccessState.UNAVAILABLE:
    case AccessState.OFFLINE:
      return Sense.TARGET_PORT_IN_UNAVAILABLE_STATE;
    case AccessState.TRANSITIONING:
      return Sense.ASYMMETRIC_ACCESS_STATE_TRANSITION;
    default:
      return null;
  }
}

/** Of who has none configured: every port gives the same access. */
export const SYMMETRIC_ACCESS = new TargetPortGroups({ groups: [] });
