/** Access rules: which initiators may use a target, from where, as whom, and which logical units they find. */

import { BlockList, isIP } from 'node:net';
import { receiveIscsiName } from '../iscsi/index.js';
import { MAX_LUN } from '../scsi/index.js';
import { RiserError } from '../util/errors.js';

/** Whom it admits: those that all of its conditions fit. An absent condition fits everybody, an empty one nobody. */
export interface AccessRule {
  /** iSCSI names of initiators. A name is a claim, which only CHAP proves. */
  initiators?: readonly string[];
  /** IP addresses and CIDR blocks: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`. */
  addresses?: readonly string[];
  /** CHAP users of the target. */
  users?: readonly string[];
  /** The LUNs that are seen, and the target's own LUN behind each; absent: all, under the target's own LUNs. */
  luns?: Readonly<Record<number, number>>;
}

/** A rule that fits an initiator's name and address. */
export interface Grant {
  /** Null: any. */
  readonly users: ReadonlySet<string> | null;
  /** From the LUN that is seen to the target's own; null: all are seen as they are. */
  readonly luns: ReadonlyMap<number, number> | null;
}

/** What an initiator is granted where there are no rules. */
const EVERYTHING: readonly Grant[] = [{ users: null, luns: null }];

interface CompiledRule extends Grant {
  readonly initiators: ReadonlySet<string> | null;
  readonly addresses: BlockList | null;
}

/** The rules of one target; the first that fits decides. */
export class AccessList {
  readonly #rules: readonly CompiledRule[] | null;

  /**
   * @param rules null admits everybody, an empty list nobody
   * @param users the target's CHAP users; null if it has no CHAP
   * @throws RiserError `ACCESS_RULE`
   */
  constructor(rules: readonly AccessRule[] | null, users: ReadonlySet<string> | null) {
    this.#rules = rules?.map((rule) => compile(rule, users)) ?? null;
  }

  /** Whether everybody is admitted. */
  get isOpen(): boolean {
    return this.#rules === null;
  }

  /**
   * The rules that fit an initiator of this normalised name at this address, in order; none if it may not know that
   * the target exists.
   */
  grants(initiatorName: string, address: string): readonly Grant[] {
    if (this.#rules === null) return EVERYTHING;
    const family = isIP(address) === 6 ? 'ipv6' : 'ipv4';
    return this.#rules.filter(
      ({ initiators, addresses }) =>
        (initiators === null || initiators.has(initiatorName)) &&
        (addresses === null || addresses.check(address, family)),
    );
  }
}

/** The first of `grants` for this user, null if nobody was authenticated. */
export function grantOf(grants: readonly Grant[], user: string | null): Grant | undefined {
  return grants.find(({ users }) => users === null || (user !== null && users.has(user)));
}

function compile(rule: AccessRule, users: ReadonlySet<string> | null): CompiledRule {
  for (const user of rule.users ?? []) {
    if (users === null) throw wrong('a rule names CHAP users, but the target has no CHAP', 'Give it users.');
    if (!users.has(user)) {
      throw wrong(`a rule names the CHAP user ${JSON.stringify(user)}, whom the target does not have`);
    }
  }
  return {
    initiators: rule.initiators === undefined ? null : new Set(rule.initiators.map(nameOf)),
    addresses: rule.addresses === undefined ? null : parseAddresses(rule.addresses),
    users: rule.users === undefined ? null : new Set(rule.users),
    luns: rule.luns === undefined ? null : parseLuns(rule.luns),
  };
}

function nameOf(text: string): string {
  const name = receiveIscsiName(text);
  if (name === null) throw wrong(`${JSON.stringify(text)} is not an iSCSI name`);
  return name;
}

/** @throws RiserError `ACCESS_RULE` */
export function parseAddresses(texts: readonly string[]): BlockList {
  const list = new BlockList();
  for (const text of texts) {
    const [address = '', prefix, ...rest] = text.split('/');
    const version = isIP(address);
    const bits = version === 6 ? 128 : 32;
    const length = prefix === undefined ? bits : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Infinity;
    if (version === 0 || address.includes('%') || length > bits || rest.length > 0) {
      throw wrong(
        `${JSON.stringify(text)} is neither an IP address nor a CIDR block`,
        'Write 192.0.2.7, 192.0.2.0/24, 2001:db8::7 or 2001:db8::/32.',
      );
    }
    list.addSubnet(address, length, version === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

function parseLuns(luns: Readonly<Record<number, number>>): ReadonlyMap<number, number> {
  const map = new Map<number, number>();
  const owns = new Set<number>();
  for (const [text, own] of Object.entries(luns)) {
    const seen = Number(text);
    for (const lun of [seen, own]) {
      if (!Number.isInteger(lun) || lun < 0 || lun > MAX_LUN) {
        throw wrong(`${lun} is no LUN: give a number from 0 to ${MAX_LUN}`);
      }
    }
    if (owns.has(own)) throw wrong(`a rule shows LUN ${own} twice`, 'Show each logical unit once.');
    owns.add(own);
    map.set(seen, own);
  }
  return map;
}

function wrong(message: string, remedy?: string): RiserError {
  return new RiserError('ACCESS_RULE', message, {
    by: 'local',
    costs: 'task',
    ...(remedy !== undefined && { remedy }),
  });
}
