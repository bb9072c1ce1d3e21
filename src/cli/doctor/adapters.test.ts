/** What `riser doctor` says of RDMA adapters: RoCE and InfiniBand, well and not. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import {
  limits,
  port,
  V4,
  LINK_LOCAL,
  PCI,
  mlx5,
  MLX_GIDS,
  PFC_SHOW,
  pfc,
  said,
  remedies,
  hasProblem,
} from '../../../test/support/fake-linux.js';
import { below, inspect } from '../../../test/support/fake-machine.js';

describe('riser doctor and an adapter', () => {
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
    assert.match(said(findings, 'Riser').join('\n'), /^notice: it cannot use mlx5_0 as things are/m);
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
});
