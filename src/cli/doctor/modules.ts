/** Modules of the kernel: which are loaded, which could be, which are not there. */

import { type Finding, findingsAbout } from './finding.js';
import type { Machine } from './machine.js';

const { good, notice } = findingsAbout('kernel modules');

/** What each is for. */
const MODULES: Readonly<Record<string, string>> = {
  ib_core: 'RDMA at all',
  iw_cm: 'iWARP connections',
  rdma_cm: 'connections by IP address',
  ib_uverbs: 'RDMA for programs',
  rdma_ucm: 'connections for programs',
  ib_iser: "the kernel's iSER initiator",
  ib_isert: "the kernel's iSER target",
  iscsi_tcp: "the kernel's iSCSI initiator over TCP",
  siw: 'iWARP in software',
  rdma_rxe: 'RoCE in software',
};

/** The others bring these along. */
const BROUGHT_ALONG: ReadonlySet<string> = new Set(['ib_core', 'iw_cm', 'rdma_cm']);

type ModuleState = 'loaded' | 'built in' | 'available' | 'missing';

export function inspectModules(machine: Machine): Finding[] {
  if (machine.platform !== 'linux') return [];
  const release = machine.read('proc/sys/kernel/osrelease') ?? '';
  const folder = `lib/modules/${release}`;
  const dependencies = machine.read(`${folder}/modules.dep`);
  const available = namesIn(dependencies);
  const builtIn = namesIn(machine.read(`${folder}/modules.builtin`));
  const loaded = new Set(
    machine
      .read('proc/modules')
      ?.split('\n')
      .map((line) => line.split(' ')[0]!),
  );

  const stateOf = (name: string): ModuleState => {
    if (loaded.has(name)) return 'loaded';
    if (builtIn.has(name)) return 'built in';
    // Of a built-in module the folder tells, too, where that has parameters.
    if (machine.exists(`sys/module/${name}`)) return 'loaded';
    return available.has(name) ? 'available' : 'missing';
  };
  const inState = (...states: ModuleState[]): string[] =>
    Object.keys(MODULES).filter((name) => states.includes(stateOf(name)));
  const describe = (names: string[]): string => names.map((name) => `${name} (${MODULES[name]!})`).join(', ');

  const findings: Finding[] = [];
  const there = inState('loaded', 'built in');
  if (there.length > 0) findings.push(good(`loaded: ${describe(there)}`));
  const loadable = inState('available');
  if (loadable.length > 0) {
    const others = loadable.filter((name) => !BROUGHT_ALONG.has(name));
    const wanted = others.length > 0 ? others : loadable;
    findings.push(
      notice(
        `not loaded, but there: ${describe(loadable)}`,
        `Load what you need, as root: modprobe ${wanted.join(' or ')}`,
      ),
    );
  }
  const missing = inState('missing');
  if (missing.length > 0)
    findings.push(notice(...describeMissing(machine, missing, describe, release, dependencies)));
  return findings;
}

function describeMissing(
  machine: Machine,
  missing: string[],
  describe: (names: string[]) => string,
  release: string,
  dependencies: string | null,
): [says: string, remedy: string] {
  if (dependencies !== null) {
    return [
      `not part of this kernel (${release}): ${describe(missing)}`,
      'Install the package with the rest of its modules (linux-modules-extra-... on Ubuntu, kernel-modules-extra on Fedora), or another kernel; Debian builds none with siw.',
    ];
  }
  if (!machine.exists('proc/modules')) {
    return [
      `this kernel (${release}) loads no modules, and has not built in: ${describe(missing)}`,
      "Riser's own iWARP needs none of them; the kernel's initiator needs another kernel.",
    ];
  }
  return [
    `not loaded: ${describe(missing)}; whether they could be cannot be told, for there is no /lib/modules/${release}`,
    'In a container, load them on the host: modprobe ib_iser',
  ];
}

/** Names of modules in the lines of `modules.dep` and `modules.builtin`: `kernel/drivers/infiniband/sw/siw/siw.ko.xz: ...` */
function namesIn(text: string | null): Set<string> {
  const names = new Set<string>();
  for (const [, name] of text?.matchAll(/^(?:[^:\s]*\/)?([^/:\s]+)\.ko(?:\.\w+)?(?::|$)/gm) ?? [])
    names.add(name!.replaceAll('-', '_'));
  return names;
}
