/**
 * Who gets in: what one connection may know of, how its initiator proves itself, and what it finds then. Rules
 * and secrets are those of the moment when its login begins.
 */

import {
  type AuthenticationExchange,
  type AuthenticationStep,
  type Authenticator,
  type ChallengeSource,
  type LoginIdentity,
  type LoginRefusal,
  LoginStatus,
} from '../iscsi/index.js';
import { type LogicalUnitView, MappedUnits } from '../scsi/index.js';
import type { Logger } from '../util/logger.js';
import { type Grant, grantOf } from './access.js';
import type { ChapUsers } from './authentication.js';
import type { FailedLogins } from './failed-logins.js';
import type { Target } from './target.js';

/** What is the same for all connections of a server. */
export interface AdmissionOptions {
  targets: ReadonlyMap<string, Target>;
  /** Who may ask which targets there are; null: everybody. */
  discoveryUsers: () => ChapUsers | null;
  failedLogins: FailedLogins;
  challenges: ChallengeSource;
  /** Milliseconds since some moment; only ever forward. */
  now: () => number;
  log: Logger;
}

/** A target as an initiator was admitted to it. */
interface Admitted {
  readonly target: Target;
  readonly grants: readonly Grant[];
  readonly users: ChapUsers | null;
}

export class Admission implements Authenticator {
  readonly #options: AdmissionOptions;
  readonly #address: string;
  #admitted: Admitted | null = null;

  /** `address`: the initiator's, IPv4 or IPv6 without a zone. */
  constructor(options: AdmissionOptions, address: string) {
    this.#options = options;
    this.#address = address;
  }

  /** The targets that exist for an initiator of this name here. */
  targetsFor(initiatorName: string): Map<string, Admitted> {
    const found = new Map<string, Admitted>();
    for (const target of this.#options.targets.values()) {
      const { access, users } = target.security;
      const grants = access.grants(initiatorName, this.#address);
      if (grants.length > 0) found.set(target.name, { target, grants, users });
    }
    return found;
  }

  /** The target of this name, if there is one for this initiator. */
  find(name: string, initiatorName: string): Target | LoginRefusal {
    const refused = this.checkAddress();
    if (refused !== null) return refused;
    // All targets are looked at whatever the name, so that one that is hidden takes as long as one that is not there.
    this.#admitted = this.targetsFor(initiatorName).get(name) ?? null;
    if (this.#admitted !== null) return this.#admitted.target;
    const reason = this.#options.targets.has(name)
      ? `the access rules of ${name} do not admit ${JSON.stringify(initiatorName)} from ${this.#address}`
      : `there is no target ${JSON.stringify(name)}`;
    return { refusal: LoginStatus.NOT_FOUND, reason };
  }

  /** Why nobody may log in from this address now, or null. */
  checkAddress(): LoginRefusal | null {
    const { failedLogins, now } = this.#options;
    if (!failedLogins.isRefused(this.#address, now())) return null;
    return { refusal: LoginStatus.SERVICE_UNAVAILABLE, reason: 'too many failed logins from this address' };
  }

  /** The target that was found, if it is still there. */
  get target(): Target | null {
    const target = this.#admitted?.target ?? null;
    return target !== null && this.#options.targets.get(target.name) === target ? target : null;
  }

  /** The logical units of the target for this user, null if nobody was authenticated. */
  viewFor(user: string | null): LogicalUnitView | null {
    if (this.#admitted === null) return null;
    const { target, grants } = this.#admitted;
    const grant = grantOf(grants, user);
    if (grant === undefined) return new MappedUnits(target.inventory, new Map());
    return grant.luns === null ? null : new MappedUnits(target.inventory, grant.luns);
  }

  /**
   * What an initiator of this name, authenticated here as `user` if not null, would find by logging in to the other targets
   * from the same address: those that ask for no proof, and those that have the same secret for the same user.
   */
  *viewsElsewhere(initiatorName: string, user: string | null): Iterable<LogicalUnitView> {
    const own = this.#admitted;
    for (const { target, grants, users } of this.targetsFor(initiatorName).values()) {
      if (target === own?.target) continue;
      const proven = users !== null && user !== null && users.hasSameSecret(user, own?.users ?? null);
      if (users !== null && !proven) continue;
      const grant = grantOf(grants, proven ? user : null);
      if (grant === undefined) continue;
      yield grant.luns === null ? target.inventory : new MappedUnits(target.inventory, grant.luns);
    }
  }

  // ---- Authenticator ----

  methods(identity: LoginIdentity): readonly string[] {
    return this.#usersFor(identity) === null ? ['None'] : ['CHAP'];
  }

  begin(_method: string, identity: LoginIdentity): AuthenticationExchange {
    const users = this.#usersFor(identity)!;
    const grants = identity.sessionType === 'Discovery' ? null : this.#admitted!.grants;
    const admitted = (user: string): boolean => grants === null || grantOf(grants, user) !== undefined;
    const exchange = users.begin(this.#options.challenges, admitted);
    return { step: (keys) => this.#count(exchange, keys) };
  }

  #usersFor({ sessionType }: LoginIdentity): ChapUsers | null {
    return sessionType === 'Discovery' ? this.#options.discoveryUsers() : this.#admitted!.users;
  }

  /** A step of `exchange`, unless the address has failed too often, on other connections too. */
  #count(exchange: AuthenticationExchange, keys: ReadonlyMap<string, string>): AuthenticationStep {
    const { failedLogins, now, log } = this.#options;
    const refused = this.checkAddress();
    if (refused !== null) return { state: 'failed', reason: refused.reason, status: refused.refusal };
    const step = exchange.step(keys);
    if (step.state === 'done') failedLogins.succeeded(this.#address);
    if (step.state === 'failed' && failedLogins.failed(this.#address, now())) {
      const { failedLogins: count, failedLoginPauseMs } = failedLogins.limits;
      log.warn(`${this.#address}: refused for ${failedLoginPauseMs / 1000} s after ${count} failed logins`);
    }
    return step;
  }
}
