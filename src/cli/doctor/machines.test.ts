/** What `riser doctor` says of machines without adapters, and how it shows what it says. */

import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';

import {
  kernel,
  RELEASE,
  limits,
  port,
  V4,
  mlx5,
  MLX_GIDS,
  said,
  remedies,
  hasProblem,
} from '../../../test/support/fake-linux.js';
import { below, fakeMachine, inspect } from '../../../test/support/fake-machine.js';
import { describe as show, inspectMachine, verdictOf } from './doctor.js';
import type { Finding } from './finding.js';
import { readRdmaPorts } from './rdma-ports.js';

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
    const { machine, root } = fakeMachine({
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
    chmodSync(dirname(root), 0o755);
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
      const findings = await inspect({ ...card, files, programs: { iscsiadm: {} } });
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
    const { machine } = fakeMachine(mlx5({ ...below('ports/1', port({})), ...MLX_GIDS }));
    assert.match(
      verdictOf(readRdmaPorts(machine), null),
      /mlx5_0 is for the kernel's initiator; Riser cannot use it as things are/,
    );
    assert.match(
      verdictOf(readRdmaPorts(machine), null, new Set(['mlx5_0'])),
      /Riser works with mlx5_0, too/,
    );
    assert.match(verdictOf([], null), /no adapter is needed/);
  });
});
