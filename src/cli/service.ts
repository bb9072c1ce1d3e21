/**
 * A configuration in service: opens its media, gives them to a {@link TargetServer}, and turns it into
 * another one while sessions go on.
 */

import { DEFAULT_LIMITS, type Target, type TargetServer } from '../target/index.js';
import type { Logger } from '../util/logger.js';
import { changesBetween, isEmpty } from './changes.js';
import type {
  Configuration,
  LunConfiguration,
  PortGroupConfiguration,
  ServerSecurity,
  TargetConfiguration,
} from './configuration.js';
import { messageOf, portalError } from './failure.js';
import { IsnsRegistration } from './isns-registration.js';
import { describeLun, describeMedium, type OpenMedium, openMedium } from './media.js';
import { securityWarnings } from './security-warnings.js';
import { formatSize } from './size.js';
import { formatPortal, type Portal } from './portal.js';

/**
 * How often an image is looked at for growth, milliseconds. Looking is one fstat. A file watch would
 * wake the server on its own every write, and tells nothing of changes made by another host.
 */
const GROWTH_INTERVAL = 2000;

interface ServedLun extends OpenMedium {
  readonly configuration: LunConfiguration;
}

interface ServedTarget {
  configuration: TargetConfiguration;
  target: Target;
  /** By LUN. */
  luns: Map<number, ServedLun>;
}

export class Service {
  readonly #server: TargetServer;
  readonly #log: Logger;
  readonly #targets = new Map<string, ServedTarget>();
  /** As configured: the port may be 0. */
  readonly #portals: Portal[] = [];
  /** Portal group tags of those that listen, or are about to: 1 for the first of the configuration, and so on. */
  readonly #tags = new Map<string, number>();
  #lastTag = 0;
  /** With the ports that they really have. */
  readonly #listening: (Portal & { portalGroupTag: number })[] = [];
  readonly #isns: IsnsRegistration;
  #security: ServerSecurity = {};
  /** Warnings that the log has. */
  readonly #warned = new Set<string>();
  #growthTimer: NodeJS.Timeout | null = null;

  constructor(server: TargetServer, log: Logger) {
    this.#server = server;
    this.#log = log;
    this.#isns = new IsnsRegistration(log);
  }

  /**
   * Open everything and listen.
   *
   * @returns the portals with the ports that they really have
   * @throws RiserError with everything closed again
   */
  async start(configuration: Configuration): Promise<Portal[]> {
    const portals: Portal[] = [];
    try {
      this.#secure(configuration);
      const tags = this.#number(configuration.portals);
      for (const target of configuration.targets) this.#addTarget(target, await this.#openMedia(target.luns));
      for (const [i, portal] of configuration.portals.entries())
        portals.push(await this.#listen(portal, tags[i]!));
      this.#warn();
      await this.#register(configuration);
    } catch (error) {
      await this.close(0).catch((failure: unknown) => {
        this.#logFailures([failure]);
      });
      throw error;
    }
    this.#growthTimer = setInterval(() => void this.#lookForGrowth(), GROWTH_INTERVAL).unref();
    return portals;
  }

  /**
   * Serve `configuration` instead. What is in both stays untouched.
   *
   * @throws RiserError when a new image cannot be opened; then nothing has changed
   */
  async reload(configuration: Configuration): Promise<void> {
    const changes = changesBetween(this.#served(), configuration);
    if (isEmpty(changes)) {
      this.#log.info('configuration re-read: nothing changed');
      return;
    }
    const added = [
      ...changes.addedTargets.flatMap((target) => target.luns),
      ...changes.addedLuns.map((change) => change.lun),
      ...changes.changedDiscs.map((change) => change.lun),
    ];
    const opened = await this.#openMedia(added.filter((lun) => !this.#isServed(lun)));

    if (changes.securesServer) this.#secure(configuration);
    for (const target of changes.securedTargets) this.#secureTarget(target);
    // Sessions end before their logical units go, and come again when those are there.
    for (const target of changes.redirectedTargets) this.#redirectTarget(target);
    for (const { name } of changes.removedTargets) await this.#removeTarget(name);
    for (const { target, lun } of changes.removedLuns)
      await this.#removeLun(this.#targets.get(target)!, lun.lun);
    // An image that was served under other settings could not be opened before it was let go.
    for (const lun of added) {
      if (opened.has(lun)) continue;
      try {
        opened.set(lun, await openMedium(lun, this.#log));
      } catch (error) {
        this.#log.error(`LUN ${lun.lun} is not served: ${messageOf(error)}`);
      }
    }
    const tags = this.#number(changes.addedPortals);
    for (const target of changes.addedTargets) this.#addTarget(target, opened);
    for (const { target, group } of changes.changedGroups) this.#changeGroup(target, group);
    for (const { target, lun } of changes.addedLuns) this.#addLun(this.#targets.get(target)!, lun, opened);
    for (const { target, lun } of changes.changedDiscs)
      await this.#changeDisc(this.#targets.get(target)!, lun, opened);
    for (const target of changes.returnedTargets) this.#redirectTarget(target);
    for (const portal of changes.removedPortals) {
      this.#log.warn(`portal ${formatPortal(portal)} stays open until the server is started anew`);
    }
    for (const [i, portal] of changes.addedPortals.entries()) {
      await this.#listen(portal, tags[i]!).catch((error: unknown) => this.#log.error(messageOf(error)));
    }
    this.#warn();
    await this.#register(configuration);
    this.#log.info('configuration re-read');
  }

  /**
   * Tell the initiators, end all sessions within `graceMs` milliseconds, make all data stable, and let go.
   *
   * @throws the first failure, when all that can be closed is closed; the others are in the log
   */
  async close(graceMs: number): Promise<void> {
    if (this.#growthTimer !== null) clearInterval(this.#growthTimer);
    const media = [...this.#targets.values()].flatMap(({ luns }) => [...luns.values()]);
    this.#targets.clear();
    // Those who look for targets are not to find what goes away.
    const failures = await failuresOf([
      () => this.#isns.close(),
      () => this.#server.close({ graceMs }),
      ...closing(media),
    ]);
    if (failures.length === 0) return;
    this.#logFailures(failures.slice(1));
    throw failures[0];
  }

  /** What is served now, which lacks what could not be opened. */
  #served(): Configuration {
    const targets = [...this.#targets.values()].map(({ configuration, luns }) => ({
      ...configuration,
      luns: [...luns.values()].map((lun) => lun.configuration),
    }));
    const isns = this.#isns.server;
    return { portals: this.#portals, ...(isns !== undefined && { isns }), ...this.#security, targets };
  }

  /** Have the iSNS server know what is served now. */
  #register({ isns }: Configuration): Promise<void> {
    const targets = this.#served().targets.map(({ name, alias, alua }) => ({
      name,
      alias,
      portalGroupTags: alua?.groups.flatMap(({ portals }) => this.#tagsOf(portals)) ?? null,
    }));
    return this.#isns.update(isns, targets, this.#listening);
  }

  #secure({ discoveryAuthentication, failedLogins }: ServerSecurity): void {
    this.#server.authenticateDiscovery(discoveryAuthentication ?? null);
    this.#server.limitFailedLogins(failedLogins ?? DEFAULT_LIMITS);
    this.#security = {
      ...(discoveryAuthentication !== undefined && { discoveryAuthentication }),
      ...(failedLogins !== undefined && { failedLogins }),
    };
  }

  #secureTarget(configuration: TargetConfiguration): void {
    const served = this.#targets.get(configuration.name)!;
    served.target.secure(configuration);
    served.configuration = configuration;
    this.#log.info(`target ${configuration.name}: other access rules or secrets, for logins from now on`);
  }

  #redirectTarget(configuration: TargetConfiguration): void {
    const { name, redirect } = configuration;
    const served = this.#targets.get(name)!;
    served.configuration = configuration;
    served.target.redirectTo(redirect ?? null);
    this.#log.info(`target ${name}: ${describeRedirect(redirect)}`);
  }

  #changeGroup(name: string, group: PortGroupConfiguration): void {
    const served = this.#targets.get(name)!;
    const { alua } = served.configuration;
    const groups = alua!.groups.map((old) => (old.group === group.group ? group : old));
    served.configuration = { ...served.configuration, alua: { ...alua!, groups } };
    served.target.setPortGroup(group.group, group);
    const preferred = group.preferred ? ', preferred' : '';
    this.#log.info(`target ${name}: target port group ${group.group} is ${group.state}${preferred}`);
  }

  /** Tell what is open, once. */
  #warn(): void {
    for (const warning of securityWarnings({ ...this.#served(), portals: this.#listening })) {
      if (!this.#warned.has(warning)) this.#log.warn(warning);
      this.#warned.add(warning);
    }
  }

  /** Portal group tags for `portals`, in their order. One that could not be listened on keeps its tag for the next time. */
  #number(portals: readonly Portal[]): number[] {
    const taken = new Set(this.#portals.map(formatPortal));
    return portals.map((portal) => {
      const name = formatPortal(portal);
      const known = this.#tags.get(name);
      const tag = known === undefined || taken.has(name) ? ++this.#lastTag : known;
      taken.add(name);
      this.#tags.set(name, tag);
      return tag;
    });
  }

  #tagsOf(portals: readonly Portal[]): number[] {
    return portals.map((portal) => this.#tags.get(formatPortal(portal))!);
  }

  async #listen(portal: Portal, portalGroupTag: number): Promise<Portal> {
    try {
      const actual = await this.#server.listen(portal, portalGroupTag);
      this.#portals.push(portal);
      this.#listening.push({ ...actual, portalGroupTag });
      this.#log.info(`listening on ${formatPortal(actual)}`, { address: actual.address, port: actual.port });
      return actual;
    } catch (error) {
      throw portalError(portal, error);
    }
  }

  /** Opens all or none. */
  async #openMedia(luns: LunConfiguration[]): Promise<Map<LunConfiguration, OpenMedium>> {
    const opened = new Map<LunConfiguration, OpenMedium>();
    try {
      for (const lun of luns) opened.set(lun, await openMedium(lun, this.#log));
    } catch (error) {
      await this.#letGo([...opened.values()]);
      throw error;
    }
    return opened;
  }

  /** Whether the medium is open for a logical unit now. */
  #isServed({ medium }: LunConfiguration): boolean {
    if ('memory' in medium) return false;
    for (const { luns } of this.#targets.values()) {
      for (const { configuration } of luns.values()) {
        if (describeMedium(configuration.medium) === describeMedium(medium)) return true;
      }
    }
    return false;
  }

  #addTarget(configuration: TargetConfiguration, media: Map<LunConfiguration, OpenMedium>): void {
    const { name, alua, ...others } = configuration;
    const groups = alua?.groups.map(({ portals, ...group }) => ({
      ...group,
      portals: this.#tagsOf(portals),
    }));
    const target = this.#server.addTarget({
      name,
      ...others,
      ...(groups !== undefined && { alua: { ...alua, groups } }),
    });
    const served: ServedTarget = { configuration, target, luns: new Map() };
    this.#targets.set(name, served);
    if (others.redirect !== undefined) this.#log.info(`target ${name}: ${describeRedirect(others.redirect)}`);
    for (const lun of configuration.luns) this.#addLun(served, lun, media);
  }

  #addLun(served: ServedTarget, lun: LunConfiguration, media: Map<LunConfiguration, OpenMedium>): void {
    const medium = media.get(lun);
    if (medium === undefined) return;
    const { device, reservations, sanitize } = medium;
    served.target.addLun(lun.lun, {
      device,
      type: lun.type,
      provisioning: lun.provisioning,
      removable: lun.removable,
      ...(lun.physicalBlockSize !== undefined && { physicalBlockSize: lun.physicalBlockSize }),
      ...(lun.serial !== undefined && { serial: lun.serial }),
      ...(reservations !== null && { reservations }),
      ...(sanitize !== null && { sanitize }),
    });
    served.luns.set(lun.lun, { configuration: lun, ...medium });
    this.#logLun(served, lun.lun, describeLun(lun, device.size));
  }

  async #changeDisc(
    served: ServedTarget,
    lun: LunConfiguration,
    media: Map<LunConfiguration, OpenMedium>,
  ): Promise<void> {
    const medium = media.get(lun);
    const before = served.luns.get(lun.lun);
    if (medium === undefined || before === undefined) return;
    served.target.changeDisc(lun.lun, medium.device);
    served.luns.set(lun.lun, { configuration: lun, ...medium });
    await this.#letGo([before]);
    this.#logLun(served, lun.lun, `another disc: ${describeLun(lun, medium.device.size)}`);
  }

  async #removeTarget(name: string): Promise<void> {
    const served = this.#targets.get(name)!;
    this.#targets.delete(name);
    this.#server.removeTarget(name);
    this.#log.info(`target ${name} removed`, { target: name });
    await this.#letGo([...served.luns.values()]);
  }

  async #removeLun(served: ServedTarget, lun: number): Promise<void> {
    const entry = served.luns.get(lun);
    if (entry === undefined) return;
    served.luns.delete(lun);
    served.target.removeLun(lun);
    await this.#letGo([entry]);
    this.#logLun(served, lun, `removed: ${describeMedium(entry.configuration.medium)}`);
  }

  /** Close media; what goes wrong is for the log, and keeps nobody from going on. */
  async #letGo(media: readonly OpenMedium[]): Promise<void> {
    this.#logFailures(await failuresOf(closing(media)));
  }

  #logFailures(failures: readonly unknown[]): void {
    for (const failure of failures) this.#log.error(messageOf(failure));
  }

  #logLun(served: ServedTarget, lun: number, news: string): void {
    const target = served.configuration.name;
    this.#log.info(`${target} LUN ${lun}: ${news}`, { target, lun });
  }

  async #lookForGrowth(): Promise<void> {
    for (const { luns } of this.#targets.values()) {
      for (const { configuration, device } of luns.values()) {
        if ('memory' in configuration.medium) continue;
        const before = device.size;
        try {
          await device.refresh();
          if (device.size !== before)
            this.#log.info(`${device.description} has ${formatSize(device.size)} now`);
        } catch (error) {
          this.#log.debug(`cannot look at ${device.description}: ${messageOf(error)}`);
        }
      }
    }
  }
}

function describeRedirect(redirect: TargetConfiguration['redirect']): string {
  if (redirect === undefined) return 'served here again';
  return `initiators are sent to ${redirect.to}${redirect.permanent ? ', permanently' : ''}`;
}

/** What closes `media`. */
function closing(media: readonly OpenMedium[]): (() => Promise<void>)[] {
  return media.flatMap(({ device, reservations, sanitize }) => [
    () => device.close(),
    async () => reservations?.close(),
    async () => sanitize?.close(),
  ]);
}

/** Take each of `steps` in turn, whatever became of those before it. */
async function failuresOf(steps: readonly (() => Promise<void>)[]): Promise<unknown[]> {
  const failures: unknown[] = [];
  for (const step of steps) await step().catch((failure: unknown) => failures.push(failure));
  return failures;
}
