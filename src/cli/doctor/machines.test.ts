/** What `riser doctor` says of machines of all kinds. */

import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { below, type FakeMachine, fakeMachine } from '../../../test/support/fake-machine.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { describe as show, inspectMachine, verdictOf } from './doctor.js';
import type { Finding, Subject } from './finding.js';
import { readRdmaPorts } from './rdma-ports.js';

const folder = temporaryFolder();
const RELEASE = '6.1.0-56-amd64';

/** A kernel that has all modules, of which `loaded` are. */
function kernel(...loaded: string[]): Record<string, string> {
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
function limits(locked: string, effective = '0000000000000000'): Record<string, string> {
  return {
    'proc/self/limits': `Limit  Soft Limit  Hard Limit  Units\nMax locked memory         ${locked}                ${locked}                bytes     `,
    'proc/self/status': `Name:\tnode\nCapEff:\t${effective}`,
  };
}

/** A port as sysfs has it. */
function port(settings: { state?: string; physical?: string; layer?: string; rate?: string }) {
  const {
    state = '4: ACTIVE',
    physical = '5: LinkUp',
    layer = 'Ethernet',
    rate = '100 Gb/sec (4X EDR)',
  } = settings;
  return { state, phys_state: physical, link_layer: layer, rate };
}

const V4 = (hex: string): string => `0000:0000:0000:0000:0000:ffff:${hex}`;
const NO_GID = '0000:0000:0000:0000:0000:0000:0000:0000';
const LINK_LOCAL = 'fe80:0000:0000:0000:0a3f:72ff:fe00:0001';
const MLX = 'sys/devices/pci0000:00/0000:01:00.0/infiniband/mlx5_0';
const PCI = 'sys/devices/pci0000:00/0000:01:00.0';

/** A ConnectX card with one port. */
function mlx5(settings: Record<string, string>, more: Partial<FakeMachine> = {}): FakeMachine {
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
const MLX_GIDS = below('ports/1', {
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
const PFC_SHOW = '-j pfc show dev enp1s0f0';
const pfc = (...on: number[]): string =>
  JSON.stringify({
    pfc_cap: 8,
    macsec_bypass: false,
    delay: 0,
    prio_pfc: Array.from({ length: 8 }, (_, i) => on.includes(i)),
  });

async function inspect(fake: FakeMachine): Promise<Finding[]> {
  return inspectMachine(fakeMachine(folder, fake).machine);
}

/** `state: says` of a subject. */
function said(findings: readonly Finding[], subject: Subject): string[] {
  return findings.filter((one) => one.subject === subject).map(({ state, says }) => `${state}: ${says}`);
}

function remedies(findings: readonly Finding[], subject: Subject): string {
  return findings.flatMap((one) => (one.subject === subject ? [one.remedy ?? ''] : [])).join('\n');
}

const hasProblem = (findings: readonly Finding[]): boolean =>
  findings.some(({ state }) => state === 'problem');

describe('riser doctor on a machine', () => {
  test('a laptop without anything: no problem, and what could be had', async () => {
    const findings = await inspect({ files: { ...kernel(), ...limits('8388608') } });
    assert.equal(hasProblem(findings), false);
    assert.match(said(findings, 'Riser')[0]!, /^good: RDMA by "iwarp": iWARP, in software, over TCP/);
    assert.match(said(findings, 'RDMA devices').join(), /^notice: none: /);
    assert.match(remedies(findings, 'RDMA devices'), /rdma link add siw0 type siw netdev/);
    assert.match(
      said(findings, 'kernel modules').join(),
      /^notice: not loaded, but there: ib_core .*ib_iser .*rdma_rxe/,
    );
    assert.match(remedies(findings, 'kernel modules'), /modprobe .*ib_iser or/);
    assert.match(
      said(findings, 'locked memory').join(),
      /^good: the limit is 8 MiB; nothing here locks memory/,
    );
    assert.match(said(findings, 'open-iscsi').join(), /^notice: open-iscsi is not installed/);
    assert.deepEqual([...said(findings, 'network'), ...said(findings, 'RoCE and GIDs')], []);
  });

  test('a Mellanox card with RoCE v2, PFC off, MTU 1500', async () => {
    const fake = mlx5(
      { ...below('ports/1', port({})), ...MLX_GIDS },
      {
        files: { 'sys/class/net/enp1s0f0/mtu': '1500' },
        programs: { dcb: { [PFC_SHOW]: pfc() } },
      },
    );
    const findings = await inspect(fake);
    assert.equal(hasProblem(findings), false);
    assert.deepEqual(said(findings, 'RDMA devices'), [
      'good: mlx5_0 port 1: RoCE, adapter (mlx5_core, firmware 16.35.2000), interface enp1s0f0, ACTIVE, 100 Gb/sec (4X EDR)',
      'good: programs reach all of them through /dev/infiniband',
    ]);
    assert.deepEqual(said(findings, 'RoCE and GIDs'), ['good: mlx5_0 port 1: RoCE v2 for 192.0.2.7 (GID 3)']);
    assert.match(said(findings, 'Riser').join('\n'), /^notice: it does not use mlx5_0 yet/m);
    assert.deepEqual(said(findings, 'locked memory'), ['good: no limit']);
    const [mtu, flowControl, ecn] = said(findings, 'network');
    assert.equal(mtu, "notice: enp1s0f0: MTU 1500, so RoCE's packets carry 1024 bytes, and could 4096");
    assert.match(flowControl!, /^notice: enp1s0f0: priority flow control \(PFC\) is off/);
    assert.match(ecn!, /^notice: .*cannot be told: there is no \/sys\/class\/net\/enp1s0f0\/ecn/);
    assert.match(remedies(findings, 'network'), /dcb pfc set dev enp1s0f0 prio-pfc 3:on/);
    assert.match(
      said(findings, 'kernel modules')[0]!,
      /^good: loaded: ib_core .*ib_iser \(the kernel's iSER initiator\)$/,
    );
  });

  test('the same with PFC and ECN on and long packets; without dcb that is not told', async () => {
    const files = {
      'sys/class/net/enp1s0f0/mtu': '4200',
      ...below('sys/class/net/enp1s0f0/ecn', {
        'roce_np/enable/3': '1',
        'roce_np/enable/4': '1',
        'roce_rp/enable/3': '1',
        'roce_rp/enable/4': '0',
      }),
    };
    const card = { ...below('ports/1', port({})), ...MLX_GIDS };
    const on = await inspect(mlx5(card, { files, programs: { dcb: { [PFC_SHOW]: pfc(3, 5) } } }));
    assert.deepEqual(said(on, 'network'), [
      "good: enp1s0f0: MTU 4200, so RoCE's packets carry 4096 bytes",
      'good: enp1s0f0: priority flow control (PFC) is on for priorities 3, 5',
      'good: enp1s0f0: explicit congestion notification (ECN) of RoCE is on for priority 3',
    ]);
    const ecnOnly = await inspect(mlx5(card, { files, programs: { dcb: { [PFC_SHOW]: pfc() } } }));
    assert.equal(said(ecnOnly, 'network')[1], 'good: enp1s0f0: priority flow control (PFC) is off');
    const untold = await inspect(mlx5(card, { files }));
    assert.match(said(untold, 'network')[1]!, /^notice: .* cannot be told without the program dcb/);
    for (const answer of ['', '{', '[]', '{"prio_pfc":7}', 'null']) {
      const odd = await inspect(mlx5(card, { files, programs: { dcb: { [PFC_SHOW]: answer } } }));
      assert.match(said(odd, 'network')[1]!, /^notice: .* its driver does not tell/, answer);
    }
  });

  test('RoCE without an address, with v1 only, with v1 preferred', async () => {
    const up = below('ports/1', port({}));
    const macOnly = {
      'ports/1/gids/0': LINK_LOCAL,
      'ports/1/gid_attrs/types/0': 'RoCE v2',
      'ports/1/gid_attrs/ndevs/0': 'enp1s0f0',
    };
    const bare = await inspect(mlx5({ ...up, ...macOnly }));
    assert.match(
      said(bare, 'RoCE and GIDs').join(),
      /^problem: mlx5_0 port 1 has no GID of an IP address, only of fe80::a3f:72ff:fe00:1: its interface enp1s0f0 has no/,
    );
    assert.match(remedies(bare, 'RoCE and GIDs'), /ip address add .* dev enp1s0f0/);

    const first = { 'ports/1/gids/0': V4('0a00:0001'), 'ports/1/gid_attrs/types/0': 'IB/RoCE v1' };
    const old = await inspect(mlx5({ ...up, ...first }));
    assert.match(said(old, 'RoCE and GIDs').join(), /^notice: .*RoCE v1 only, for 10\.0\.0\.1 \(GID 0\)/);

    const mode = 'sys/kernel/config/rdma_cm/mlx5_0/ports/1/default_roce_mode';
    for (const [text, count] of [
      ['IB/RoCE v1', 2],
      ['RoCE v2', 1],
    ] as const) {
      const findings = await inspect(mlx5({ ...up, ...MLX_GIDS }, { files: { [mode]: text } }));
      assert.equal(said(findings, 'RoCE and GIDs').length, count);
      if (count === 2) assert.match(remedies(findings, 'RoCE and GIDs'), /cma_roce_mode -d mlx5_0 -p 1 -m 2/);
    }
  });

  test('a second port without cable is no problem, an only one is', async () => {
    const one = below('ports/1', port({ state: '1: DOWN', physical: '3: Disabled' }));
    const alone = await inspect(mlx5({ ...one, ...MLX_GIDS }));
    assert.match(said(alone, 'RDMA devices')[0]!, /^problem: .*interface enp1s0f0, DOWN \(Disabled\)$/);
    assert.match(remedies(alone, 'RDMA devices'), /ip link set enp1s0f0 up/);
    const two = { ...one, ...below('ports/2', port({})), 'ports/2/gids/0': V4('c000:0208') };
    const both = await inspect(mlx5(two));
    assert.match(said(both, 'RDMA devices')[0]!, /^notice: mlx5_0 port 1: .*DOWN/);
    assert.equal(hasProblem(both), false);
  });

  test('InfiniBand: link down, no subnet manager, no IP interface, all well', async () => {
    const state = (number: string, physical: string) =>
      below('ports/1', { ...port({ state: number, physical, layer: 'InfiniBand' }), 'gids/0': LINK_LOCAL });
    const down = await inspect(mlx5(state('1: DOWN', '2: Polling')));
    assert.match(
      said(down, 'RDMA devices')[0]!,
      /^problem: mlx5_0 port 1: InfiniBand, adapter .*, DOWN \(Polling\)$/,
    );
    assert.match(remedies(down, 'RDMA devices'), /^Check cable/);
    assert.deepEqual(said(down, 'RoCE and GIDs'), []);

    const unmanaged = await inspect(mlx5(state('2: INIT', '5: LinkUp')));
    assert.match(remedies(unmanaged, 'RDMA devices'), /opensm/);

    const up = state('4: ACTIVE', '5: LinkUp');
    const nameless = await inspect(mlx5(up));
    assert.match(said(nameless, 'RoCE and GIDs').join(), /^problem: mlx5_0 port 1 has no IP interface/);
    const files = {
      [`${PCI}/net/ib0/x`]: '',
      'sys/class/net/ib0/type': '32',
      'sys/class/net/ib0/dev_port': '0',
    };
    const unset = await inspect(mlx5(up, { files }));
    assert.match(said(unset, 'RoCE and GIDs').join(), /^problem: .* its IP interface ib0 has no address/);
    const well = await inspect(mlx5(up, { files, addresses: { ib0: '192.0.2.9' } }));
    assert.deepEqual(said(well, 'RoCE and GIDs'), [
      'good: mlx5_0 port 1: reached by IP address 192.0.2.9 of ib0',
    ]);
    assert.equal(hasProblem(well), false);
  });

  test('devices in software, as Linux 6.1 tells them', async () => {
    const virtual = 'sys/devices/virtual/infiniband';
    const rxe = {
      ...below(`${virtual}/rxe0`, {
        parent: 'roce0',
        node_type: '1: CA',
        node_desc: 'rxe',
        fw_ver: '',
        ...below('ports/1', port({ rate: '2.5 Gb/sec (1X SDR)' })),
        'ports/1/gids/0': 'fe80:0000:0000:0000:60b0:93ff:fec3:8fb2',
        'ports/1/gids/1': V4('0a09:0001'),
        'ports/1/gid_attrs/types/0': 'RoCE v2',
        'ports/1/gid_attrs/types/1': 'RoCE v2',
      }),
      'sys/class/net/roce0/mtu': '1500',
    };
    const siw = {
      ...below(`${virtual}/siw0`, {
        node_type: '4: RNIC',
        node_desc: 'Software iWARP stack',
        node_guid: '5054:00ff:fe00:0000',
        fw_ver: '',
        ...below('ports/1', port({ rate: '2.5 Gb/sec (1X SDR)' })),
        'ports/1/gids/0': '5254:0000:0000:0000:0000:0000:0000:0000',
        'ports/1/gid_attrs/types/0': 'IB/RoCE v1',
      }),
      ...below('sys/class/net', {
        'eth0/address': '52:54:00:00:00:00',
        'eth0/mtu': '9000',
        'lo/address': '00:00:00:00:00:00',
      }),
    };
    const findings = await inspect({
      files: { ...rxe, ...siw, ...limits('8388608') },
      links: {
        'sys/class/infiniband/rxe0': '../../devices/virtual/infiniband/rxe0',
        'sys/class/infiniband/siw0': '../../devices/virtual/infiniband/siw0',
      },
    });
    const [first, second, verbs, cm] = said(findings, 'RDMA devices');
    assert.equal(
      first,
      "good: rxe0 port 1: RoCE, in software, by the kernel's rdma_rxe, interface roce0, ACTIVE",
    );
    assert.equal(
      second,
      "good: siw0 port 1: iWARP, in software, by the kernel's siw, interface eth0, ACTIVE",
    );
    assert.match(verbs!, /^notice: programs do not reach rxe0, siw0/);
    assert.match(cm!, /^notice: programs cannot make RDMA connections/);
    assert.deepEqual(said(findings, 'RoCE and GIDs'), ['good: rxe0 port 1: RoCE v2 for 10.9.0.1 (GID 1)']);
    // Nothing about flow control, which software has none of.
    assert.deepEqual(said(findings, 'network').length, 2);
    assert.equal(said(findings, 'network')[1], 'good: eth0: MTU 9000');
    assert.match(
      said(findings, 'locked memory').join(),
      /^notice: the limit is 8 MiB: programs that use rxe0/,
    );
    assert.equal(hasProblem(findings), false);
  });

  test('a container: little memory to lock, and no /lib/modules', async () => {
    const card = { ...below('ports/1', port({})), ...MLX_GIDS };
    const container = mlx5(card);
    const files = Object.fromEntries(
      Object.entries(container.files!).filter(
        ([path]) => !path.startsWith('lib/') && !path.startsWith('dev/'),
      ),
    );
    const inside = await inspect({ ...container, files: { ...files, ...limits('65536'), '.dockerenv': '' } });
    assert.match(
      said(inside, 'locked memory').join(),
      /^notice: the limit is 64 KiB: programs that use mlx5_0/,
    );
    assert.match(remedies(inside, 'locked memory'), /docker run --ulimit memlock=-1/);
    assert.match(
      said(inside, 'kernel modules')[1]!,
      /^notice: not loaded: ib_isert.*no \/lib\/modules\/6\.1/,
    );
    assert.match(remedies(inside, 'RDMA devices'), /--device=\/dev\/infiniband/);

    const outside = await inspect({ ...container, files: { ...container.files, ...limits('65536') } });
    assert.match(remedies(outside, 'locked memory'), /LimitMEMLOCK=infinity/);
    const root = await inspect({
      ...container,
      files: { ...container.files, ...limits('65536', '000001ffffffffff') },
    });
    assert.match(said(root, 'locked memory').join(), /^good: .*CAP_IPC_LOCK/);
    // Every capability but that one.
    const almost = await inspect({
      ...container,
      files: { ...container.files, ...limits('65536', '000001ffffffbfff') },
    });
    assert.match(said(almost, 'locked memory').join(), /^notice: /);
  });

  test('kernels: some modules missing, built in, or none can be loaded', async () => {
    const some = kernel('ib_core');
    some[`lib/modules/${RELEASE}/modules.dep`] = 'kernel/drivers/infiniband/core/ib_core.ko.zst:';
    some[`lib/modules/${RELEASE}/modules.builtin`] = 'kernel/drivers/scsi/iscsi_tcp.ko';
    const partial = await inspect({ files: some });
    const [loaded, missing] = said(partial, 'kernel modules');
    assert.match(loaded!, /^good: loaded: ib_core \([^)]*\), iscsi_tcp \([^)]*\)$/);
    assert.match(missing!, /^notice: not part of this kernel \(6\.1\.0-56-amd64\): iw_cm/);

    const fixed = await inspect({
      files: { 'proc/sys/kernel/osrelease': '6.18.44', 'sys/module/ib_core/x': '' },
    });
    assert.match(said(fixed, 'kernel modules')[1]!, /^notice: this kernel \(6\.18\.44\) loads no modules/);
  });

  test('open-iscsi: installed, running, with records over TCP and over iSER', async () => {
    const programs = { iscsiadm: {} };
    const idle = await inspect({ programs, files: { 'run/iscsid.pid': '77', 'proc/77/comm': 'bash' } });
    assert.match(said(idle, 'open-iscsi')[0]!, /^notice: iscsid does not run/);
    assert.match(said(idle, 'open-iscsi')[1]!, /^notice: .*does not offer .* interface "iser" of/);
    assert.match(remedies(idle, 'open-iscsi'), /modprobe ib_iser; .* -I iser/);

    const record = (transport: string): string =>
      `# BEGIN RECORD 2.1.8\nnode.name = x\niface.transport_name = ${transport}\n# END RECORD`;
    const nodes = {
      'etc/iscsi/nodes/iqn.2026-11.x.y:a/192.0.2.7,3260,1/default': record('tcp'),
      'etc/iscsi/nodes/iqn.2026-11.x.y:a/192.0.2.8,3260': record('tcp'),
    };
    const running = { 'proc/77/comm': 'iscsid', 'sys/class/iscsi_transport/iser/handle': '1' };
    const tcp = await inspect({ programs, files: { ...running, ...nodes } });
    assert.deepEqual(said(tcp, 'open-iscsi').slice(0, 1), ['good: iscsid runs']);
    assert.match(said(tcp, 'open-iscsi')[1]!, /^good: the kernel offers its transport "iser"/);
    assert.equal(said(tcp, 'open-iscsi')[2], 'notice: 2 records of targets, 0 of them over iSER');
    const iser = await inspect({
      programs,
      files: {
        ...running,
        ...nodes,
        'var/lib/iscsi/nodes/iqn.2026-11.x.y:b/192.0.2.7,3260,1/iser': record('iser'),
        'var/lib/iscsi/ifaces/mine': 'iface.transport_name = iser',
      },
    });
    assert.match(said(iser, 'open-iscsi')[1]!, /interfaces "iser", "mine" of iscsiadm/);
    assert.equal(said(iser, 'open-iscsi')[2], 'good: 3 records of targets, 1 of them over iSER');
  });

  test('what this user may not read is told, and the rest is looked at', async (t) => {
    const { machine, root } = fakeMachine(folder, {
      programs: { iscsiadm: {} },
      files: { 'etc/iscsi/nodes/x/y': '', 'run/iscsid.pid': '1', ...limits('unlimited'), ...kernel() },
    });
    const isRoot = process.getuid?.() === 0;
    if (process.platform === 'win32') {
      t.skip('files have no modes here');
      return;
    }
    chmodSync(join(root, 'etc/iscsi/nodes'), 0);
    chmodSync(join(root, 'run/iscsid.pid'), 0);
    chmodSync(root, 0o755);
    chmodSync(folder, 0o755);
    let findings: Finding[];
    if (isRoot) process.seteuid!(65534);
    try {
      findings = await inspectMachine(machine);
    } finally {
      if (isRoot) process.seteuid!(0);
      chmodSync(join(root, 'etc/iscsi/nodes'), 0o755);
    }
    assert.deepEqual(said(findings, 'not looked at'), [
      'notice: this user may not read /run/iscsid.pid, /etc/iscsi/nodes',
    ]);
    assert.deepEqual(said(findings, 'locked memory'), ['good: no limit']);
  });

  test('other systems: what Riser itself does', async () => {
    const findings = await inspect({ platform: 'darwin' });
    assert.deepEqual([...new Set(findings.map(({ subject }) => subject))], ['Riser', 'RDMA devices']);
    assert.match(said(findings, 'RDMA devices').join(), /^notice: .* on Linux only, and this is darwin/);
  });

  test('files full of nonsense harm nothing', async () => {
    const nonsense = ['', '\u0000\u001b[2J', '-1', 'x'.repeat(100_000), '9'.repeat(400)];
    for (const text of nonsense) {
      const card = mlx5({
        node_type: text,
        node_guid: text,
        fw_ver: text,
        'ports/1/state': text,
        'ports/1/gids/0': text,
        'ports/x/state': text,
      });
      const files = {
        ...card.files,
        'proc/modules': text,
        'proc/self/limits': `Max locked memory ${text} ${text}`,
        'sys/class/net/enp1s0f0/mtu': text,
      };
      const { machine } = fakeMachine(folder, { ...card, files, programs: { iscsiadm: {} } });
      const findings = await inspectMachine(machine);
      assert.ok(findings.length > 3);
      assert.doesNotMatch(show(findings, ''), /[\u0000-\u0009\u000b-\u001f]/);
    }
  });
});

describe('the report', () => {
  const findings: Finding[] = [
    { subject: 'network', state: 'good', says: 'eth0: MTU 9000' },
    { subject: 'Riser', state: 'notice', says: 'words '.repeat(30).trim(), remedy: 'modprobe ib_iser' },
    { subject: 'network', state: 'problem', says: 'eth1: \u001b[31mbroken' },
  ];

  test('has a section for each subject, a mark for each finding, and a verdict', () => {
    const lines = show(findings, 'It works.').split('\n');
    assert.equal(lines[0], 'Riser');
    assert.match(lines[1]!, /^ {2}note {4}words/);
    assert.match(lines[2]!, /^ {10}words/);
    assert.equal(lines[3], '          -> modprobe ib_iser');
    assert.deepEqual(lines.slice(4), [
      '',
      'network',
      '  ok      eth0: MTU 9000',
      '  PROBLEM eth1: \\x1b[31mbroken',
      '',
      '1 problem, 1 notice. It works.',
      '',
    ]);
    assert.ok(lines.every((line) => line.length <= 110));
  });

  test('the verdict names adapters that work', () => {
    const { machine } = fakeMachine(folder, mlx5({ ...below('ports/1', port({})), ...MLX_GIDS }));
    assert.match(
      verdictOf(readRdmaPorts(machine), null),
      /mlx5_0 is for the kernel's initiator, not for Riser yet/,
    );
    assert.match(verdictOf([], null), /no adapter is needed/);
  });
});
