/** `riser doctor`: what stands between this machine, a portal, and iSER. */

import type { IscsiUrl } from '../../initiator/index.js';
import { listDevices } from '../../rdma/index.js';
import type { ClientFlags } from '../connection-flags.js';
import { parsePortalOrUrl } from '../connection-options.js';
import { ExitCode } from '../failure.js';
import type { Interruption } from '../interruption.js';
import { printable } from '../log.js';
import { print, printJson } from '../output.js';
import { SOFTWARE } from '../transport.js';
import { inspectDevices } from './devices.js';
import { type Finding, findingsAbout, type FindingState, SUBJECTS } from './finding.js';
import { inspectLockedMemory } from './locked-memory.js';
import { Machine } from './machine.js';
import { inspectModules } from './modules.js';
import { inspectMtu, inspectNetwork } from './network.js';
import { inspectOpenIscsi } from './open-iscsi.js';
import { inspectPortal, type PortalReport } from './portal.js';
import { isUp, type RdmaPort, readRdmaPorts } from './rdma-ports.js';
import { inspectRiser } from './riser.js';
import { inspectAddresses } from './roce.js';

const MARKS: Readonly<Record<FindingState, string>> = { good: 'ok', notice: 'note', problem: 'PROBLEM' };
const MARK_WIDTH = 8;
const MARGIN = ' '.repeat(2 + MARK_WIDTH);
/** Columns of the lines; commands in remedies stay whole. */
const WIDTH = 110;

/** @returns 1 if there is a problem, else 0 */
export async function runDoctor(
  portal: string | undefined,
  flags: ClientFlags,
  interruption: Interruption,
): Promise<number> {
  const url = portal === undefined ? null : parsePortalOrUrl(portal);
  const machine = new Machine();
  const ports = readRdmaPorts(machine);
  const report =
    url === null ? null : await inspectPortal(machine, url, askedFor(portal!, url), flags, interruption);
  const findings = [...(await inspectMachine(machine, ports, report)), ...(report?.findings ?? [])];
  const used = new Set((await listDevices()).map(({ info }) => info.name));
  const verdict = verdictOf(ports, report, used);
  if (flags.json === true) await printJson({ portal: report?.where ?? null, findings, verdict });
  else await print(describe(findings, verdict));
  return findings.some(({ state }) => state === 'problem') ? ExitCode.FAILURE : ExitCode.SUCCESS;
}

/** The transport that the user names by a scheme. */
function askedFor(portal: string, { transport }: IscsiUrl): 'iSER' | 'iSCSI over TCP' | null {
  if (!portal.includes('://') || transport === 'auto') return null;
  return transport === 'iser' ? 'iSER' : 'iSCSI over TCP';
}

/** Everything but the portal. */
export async function inspectMachine(
  machine: Machine,
  ports: readonly RdmaPort[] = readRdmaPorts(machine),
  report: PortalReport | null = null,
): Promise<Finding[]> {
  const path = report?.netdev ?? null;
  const isPathInspected = ports.some(({ netdev }) => netdev === path);
  const findings = [
    ...(await inspectRiser(ports)),
    ...inspectDevices(machine, ports),
    ...inspectModules(machine),
    ...inspectLockedMemory(machine, ports),
    ...inspectAddresses(machine, ports),
    ...inspectNetwork(machine, ports),
    ...(path === null || isPathInspected ? [] : inspectMtu(machine, path, false)),
    ...inspectOpenIscsi(machine),
  ];
  return [...findings, ...inspectDenied(machine)];
}

function inspectDenied({ denied }: Machine): Finding[] {
  if (denied.size === 0) return [];
  return [
    findingsAbout('not looked at').notice(
      `this user may not read ${[...denied].join(', ')}`,
      'Run riser doctor as root once more to have that looked at.',
    ),
  ];
}

/** The last line. `used`: devices that Riser works with. */
export function verdictOf(
  ports: readonly RdmaPort[],
  report: PortalReport | null,
  used: ReadonlySet<string> = new Set(),
): string {
  const adapter = aboutAdapters(ports, used);
  if (report === null) return `iSER works here through software iWARP; ${adapter}.`;
  const { where, answered } = report;
  if (answered.length === 0) return `${where} cannot be used.`;
  if (!answered.includes('iSER')) return `${where} answers iSCSI over TCP, and does not offer iSER.`;
  const way = report.device === null || report.device === SOFTWARE ? 'software iWARP' : report.device;
  return `${where} answers ${answered.join(' and ')}, through ${way}; ${adapter}.`;
}

function aboutAdapters(ports: readonly RdmaPort[], used: ReadonlySet<string>): string {
  const up = ports.filter((port) => isUp(port) && port.kind === 'adapter').map(({ device }) => device);
  const adapters = [...new Set(up)];
  if (adapters.length === 0) return 'no adapter is needed for it';
  const own = adapters.filter((name) => used.has(name));
  if (own.length > 0) return `Riser works with ${own.join(', ')}, too`;
  return `${adapters.join(', ')} is for the kernel's initiator; Riser cannot use it as things are`;
}

/** A section for each subject, a line for each finding, the remedy under it. */
export function describe(findings: readonly Finding[], verdict: string): string {
  const lines: string[] = [];
  for (const subject of SUBJECTS) {
    const own = findings.filter((finding) => finding.subject === subject);
    if (own.length === 0) continue;
    lines.push(subject);
    for (const { state, says, remedy } of own) {
      const [first, ...rest] = wrap(printable(says), WIDTH - MARGIN.length);
      lines.push(`  ${MARKS[state].padEnd(MARK_WIDTH)}${first}`, ...rest.map((line) => MARGIN + line));
      if (remedy !== undefined) lines.push(`${MARGIN}-> ${printable(remedy)}`);
    }
    lines.push('');
  }
  const count = (state: FindingState): number => findings.filter((finding) => finding.state === state).length;
  const plural = (number: number, word: string): string => `${number} ${word}${number === 1 ? '' : 's'}`;
  lines.push(
    `${plural(count('problem'), 'problem')}, ${plural(count('notice'), 'notice')}. ${printable(verdict)}`,
  );
  return `${lines.join('\n')}\n`;
}

/** Lines of at most `width` characters, as far as its words are short enough; at least one. */
function wrap(text: string, width: number): [string, ...string[]] {
  const lines: [string, ...string[]] = [''];
  for (const word of text.split(' ')) {
    const last = lines.at(-1)!;
    if (last === '') lines[lines.length - 1] = word;
    else if (last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
