/** Parts of the /proc and /sys of Linux machines, for fake ones, and what to ask of findings. */

import type { Finding, Subject } from '../../src/cli/doctor/finding.js';
import { below, type FakeMachine } from './fake-machine.js';

/** Of the kernel. */
export const RELEASE = '6.1.0-56-amd64';

/** A kernel that has all modules, of which `loaded` are. */
export function kernel(...loaded: string[]): Record<string, string> {
  const names = [
    'ib_core',
    'iw_cm',
    'rdma_cm',
    'ib_uverbs',
    'rdma_ucm',
    'ib_iser',
    'ib_isert',
    'iscsi_tcp',
    'siw',
  ];
  return {
    'proc/sys/kernel/osrelease': RELEASE,
    'proc/modules': loaded.map((name) => `${name} 49152 0 - Live 0xffffffffc054a000`).join('\n'),
    [`lib/modules/${RELEASE}/modules.dep`]: [...names, 'rdma-rxe']
      .map((name) => `kernel/drivers/${name}.ko.xz: kernel/fs/configfs/configfs.ko.xz`)
      .join('\n'),
    [`lib/modules/${RELEASE}/modules.builtin`]: 'kernel/fs/configfs/configfs.ko',
  };
}

/** The limit of a process, in /proc. */
export function limits(locked: string, effective = '0000000000000000'): Record<string, string> {
  return {
    'proc/self/limits': `Limit  Soft Limit  Hard Limit  Units\nMax locked memory         ${locked}                ${locked}                bytes     `,
    'proc/self/status': `Name:\tnode\nCapEff:\t${effective}`,
  };
}

/** A port as sysfs has it. */
export function port(settings: { state?: string; physical?: string; layer?: string; rate?: string }) {
  const {
    state = '4: ACTIVE',
    physical = '5: LinkUp',
    layer = 'Ethernet',
    rate = '100 Gb/sec (4X EDR)',
  } = settings;
  return { state, phys_state: physical, link_layer: layer, rate };
}

/** A GID that maps an IPv4 address, from its eight digits. */
export const V4 = (hex: string): string => `0000:0000:0000:0000:0000:ffff:${hex}`;
const NO_GID = '0000:0000:0000:0000:0000:0000:0000:0000';
/** What a port has by itself. */
export const LINK_LOCAL = 'fe80:0000:0000:0000:0a3f:72ff:fe00:0001';
const MLX = 'sys/devices/pci0000:00/0000:01:00.0/infiniband/mlx5_0';
/** Where the card is. */
export const PCI = 'sys/devices/pci0000:00/0000:01:00.0';

/** A ConnectX card with one port. */
export function mlx5(settings: Record<string, string>, more: Partial<FakeMachine> = {}): FakeMachine {
  return {
    ...more,
    files: {
      ...below(MLX, { node_type: '1: CA', fw_ver: '16.35.2000', node_desc: 'box mlx5_0', ...settings }),
      'sys/class/infiniband_verbs/uverbs0/ibdev': 'mlx5_0',
      'dev/infiniband/uverbs0': '',
      'dev/infiniband/rdma_cm': '',
      ...kernel('ib_core', 'ib_uverbs', 'rdma_cm', 'rdma_ucm', 'iw_cm', 'ib_iser'),
      ...limits('unlimited'),
      ...more.files,
    },
    links: {
      'sys/class/infiniband/mlx5_0': '../../devices/pci0000:00/0000:01:00.0/infiniband/mlx5_0',
      [`${MLX}/device`]: '../..',
      [`${PCI}/driver`]: '../../../bus/pci/drivers/mlx5_core',
      ...more.links,
    },
  };
}

/** GIDs as mlx5 has them: of the MAC address and of an IP address, in both versions, then empty ones. */
export const MLX_GIDS = below('ports/1', {
  'gids/0': LINK_LOCAL,
  'gids/1': LINK_LOCAL,
  'gids/2': V4('c000:0207'),
  'gids/3': V4('c000:0207'),
  'gids/10': NO_GID,
  'gid_attrs/types/0': 'IB/RoCE v1',
  'gid_attrs/types/1': 'RoCE v2',
  'gid_attrs/types/2': 'IB/RoCE v1',
  'gid_attrs/types/3': 'RoCE v2',
  'gid_attrs/ndevs/0': 'enp1s0f0',
});
/** Arguments of `dcb`, and what it prints. */
export const PFC_SHOW = '-j pfc show dev enp1s0f0';
export const pfc = (...on: number[]): string =>
  JSON.stringify({
    pfc_cap: 8,
    macsec_bypass: false,
    delay: 0,
    prio_pfc: Array.from({ length: 8 }, (_, i) => on.includes(i)),
  });

/** `state: says` of a subject. */
export function said(findings: readonly Finding[], subject: Subject): string[] {
  return findings.filter((one) => one.subject === subject).map(({ state, says }) => `${state}: ${says}`);
}

/** All remedies of a subject. */
export function remedies(findings: readonly Finding[], subject: Subject): string {
  return findings.flatMap((one) => (one.subject === subject ? [one.remedy ?? ''] : [])).join('\n');
}

export const hasProblem = (findings: readonly Finding[]): boolean =>
  findings.some(({ state }) => state === 'problem');
