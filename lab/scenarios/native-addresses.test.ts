/**
 * Addresses and several devices: rdma_rxe on two interfaces and siw, IPv4, IPv6, and the addresses of links; a portal on all of them, while
 * addresses and devices come and go. Riser, rping and the kernel's initiator in one guest.
 */

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import {
  GUEST_PROGRAM,
  type GuestRiser,
  NAME,
  riserInGuest,
  startGuestRiser,
} from '../harness/guest-riser.js';
import {
  connectionsOf,
  discoverOverIser,
  initiatorStarts,
  loginOverIser,
  logoutOverIser,
  withoutMultipath,
} from '../harness/iser-initiator.js';
import { addRdmaDevices, listening, RXE, SIW } from '../harness/rdma.js';
import { scenario } from '../harness/scenario.js';
import { verifiedIo } from '../harness/verified-io.js';

const PING_PORT = 7174;
const PINGS = 5;
/** Seconds for a script in which Riser starts. */
const LIMIT = 180;

/** Besides {@link RXE} and {@link SIW}, which have IPv4 addresses. */
const IPV6 = { rxe0: 'fd00:9::1', siw0: 'fd00:2::15' } as const;
const SECOND = { name: 'rxe1', address: '10.10.0.1', ipv6: 'fd00:10::1' } as const;
/** On an interface that loses all that is sent, with a neighbour that nobody is. */
const MUTE = { name: 'siw1', address: '10.8.0.1', peer: '10.8.0.99' } as const;
/** Added and removed while the portal listens. */
const LATE = '10.9.0.7';

interface Port {
  state: string;
  activeMtu: number | null;
  gids: { gid: string; type: string; address: string | null; interface: string | null }[];
}

scenario('native-addresses', { limit: 1500 }, (lab) => {
  let riser: GuestRiser;
  const session = (portal: string, what: string): string =>
    `iscsiadm -m node -T ${NAME} -p ${portal} -I iser ${what}`;
  /** Log in, and read from every disk that there is. */
  const reads = `
    udevadm settle
    for disk in /sys/class/iscsi_session/session*/device/target*/*/block/*; do
      dd if=/dev/$(basename $disk) of=/dev/null bs=64k count=4 iflag=direct status=none
    done`;
  const logIn = (portal: string): Promise<string> =>
    lab.guest.sh(
      `iscsiadm -m node -o new -T ${NAME} -p ${portal} -I iser >/dev/null; ${session(portal, '--login')}; ${reads}`,
      { limit: LIMIT },
    );
  /** Until the log has a line since `since`. */
  const logged = (pattern: string): Promise<string> =>
    lab.guest.sh(`until grep -qE '${pattern}' /lab/riser.log; do sleep 0.2; done`);

  before(async () => {
    await withoutMultipath(lab.guest);
    await addRdmaDevices(lab.guest);
    await lab.guest.sh(`
      ip address add ${IPV6.rxe0}/64 dev roce0 nodad
      ip address add ${IPV6.siw0}/64 dev eth0 nodad
      ip link add roce1 type dummy
      ip link set roce1 up
      ip address add ${SECOND.address}/24 dev roce1
      ip address add ${SECOND.ipv6}/64 dev roce1 nodad
      rdma link add ${SECOND.name} type rxe netdev roce1
      sleep 1`);
  });

  test('riser rdma devices: ports, MTUs, GIDs and addresses', async (t) => {
    t.diagnostic(await riserInGuest(lab.guest, 'rdma devices'));
    const { providers } = JSON.parse(await riserInGuest(lab.guest, 'rdma devices --json')) as {
      providers: { provider: string; devices: { name: string; addresses: string[]; ports: Port[] }[] }[];
    };
    const devices = providers.find(({ provider }) => provider === 'verbs')!.devices;
    const named = (name: string) => devices.find((device) => device.name === name)!;
    for (const [name, iface, address, ipv6] of [
      [RXE.name, 'roce0', RXE.address, IPV6.rxe0],
      [SECOND.name, 'roce1', SECOND.address, SECOND.ipv6],
    ] as const) {
      const { addresses, ports } = named(name);
      assert.ok([address, ipv6].every((one) => addresses.includes(one)));
      assert.match(addresses.join(' '), new RegExp(`fe80::[0-9a-f:]+%${iface}`));
      const [port] = ports;
      assert.deepEqual([ports.length, port!.state, port!.activeMtu], [1, 'ACTIVE', 1024]);
      for (const one of [address, ipv6]) {
        const gid = port!.gids.find((entry) => entry.address === one);
        assert.deepEqual([gid?.type, gid?.interface], ['RoCE v2', iface]);
      }
    }
    const { addresses, ports } = named(SIW.name);
    assert.ok([SIW.address, IPV6.siw0].every((one) => addresses.includes(one)));
    assert.deepEqual(
      ports.map(({ state, activeMtu, gids }) => [state, activeMtu, gids]),
      [['ACTIVE', null, []]],
    );
  });

  for (const { name, iface, ipv6, pathMtu } of [
    { name: RXE.name, iface: 'roce0', ipv6: IPV6.rxe0, pathMtu: 1024 },
    { name: SIW.name, iface: 'eth0', ipv6: IPV6.siw0, pathMtu: null },
  ]) {
    const by = `--device ${name} --port ${PING_PORT}`;
    for (const [what, address] of [
      ['an IPv6 address', ipv6],
      [
        'the address of a link',
        `$(ip -6 -o address show dev ${iface} scope link | awk '{sub("/.*", "", $4); print $4}')%${iface}`,
      ],
    ] as const) {
      test(`${name}: ${what}, with rping on either side`, async () => {
        const ping = `${GUEST_PROGRAM} rdma ping "$address" ${by} --count ${PINGS} --interval 0.001 --verify --json`;
        const output = await lab.guest.sh(
          `ulimit -l unlimited
          address=${address}
          rping -s -a :: -p ${PING_PORT} -C ${PINGS} &
          trap 'kill $! 2>/dev/null || true' EXIT
          ${listening(PING_PORT)}
          ${ping}
          wait $!
          ${GUEST_PROGRAM} rdma serve --address "$address" ${by} >/lab/serve.out 2>&1 &
          trap 'kill $! 2>/dev/null || true' EXIT
          ${listening(PING_PORT)}
          rping -c -a "$address" -p ${PING_PORT} -C ${PINGS} -v >/tmp/rping.out
          grep -c '^ping data' /tmp/rping.out >&2
          kill -TERM $!
          wait $!`,
          { limit: LIMIT },
        );
        const result = JSON.parse(output) as Record<string, number | null>;
        assert.deepEqual([result['received'], result['pathMtu']], [PINGS, pathMtu]);
        assert.match(lab.read('serve.out').toString(), new RegExp(`ended after ${PINGS} pings`));
      });
    }
  }

  test(`${RXE.name}: ucmatose as client and as server, by IPv6`, async () => {
    const output = await lab.guest.sh(
      `cd /riser
      RISER_DEVICE=${RXE.name} RISER_ADDRESS=${IPV6.rxe0} node --import tsx --test --test-reporter=tap lab/guest-tests/ucmatose.ts`,
      { limit: LIMIT },
    );
    assert.match(output, /^# pass 2$/m);
    assert.match(output, /^# fail 0$/m);
  });

  test('a process ends although siw still connects', async () => {
    const { stderr, status } = await lab.guest.run(
      `ip link add mute0 type dummy
      ip address add ${MUTE.address}/24 dev mute0
      ip link set mute0 up
      rdma link add ${MUTE.name} type siw netdev mute0
      ip neighbour add ${MUTE.peer} lladdr 02:00:00:00:00:99 dev mute0 nud permanent
      # TCP would try for two minutes.
      ulimit -l unlimited
      timeout 90 ${GUEST_PROGRAM} rdma ping ${MUTE.peer} --device ${MUTE.name} --timeout 2`,
      { limit: LIMIT },
    );
    assert.match(stderr, /the peer has not answered within 2 s/);
    assert.notEqual(status, 124);
    await lab.guest.sh(`rdma link delete ${MUTE.name}`, { limit: LIMIT });
  });

  test('a portal listens on every device, on all of their addresses', async () => {
    writeFileSync(
      lab.file('riser.yaml'),
      JSON.stringify({
        portals: ['0.0.0.0:3260', '[::]:3260'],
        targets: [{ name: NAME, luns: [{ lun: 0, memory: '64M' }] }],
      }),
    );
    await lab.guest.sh('sysctl -q vm.nr_hugepages=2');
    riser = await startGuestRiser(lab.guest, lab.folder, {
      configuration: 'riser.yaml',
      portal: '',
      flags: '--huge-pages',
    });
    for (const [name, address] of [
      [RXE.name, RXE.address],
      [RXE.name, IPV6.rxe0],
      [RXE.name, 'fe80::.*%roce0'],
      [SECOND.name, SECOND.address],
      [SECOND.name, SECOND.ipv6],
    ])
      assert.match(riser.log(), new RegExp(`listening on .*${name}, ${address} port 3260, for iSER`));
    assert.match(
      await riserInGuest(lab.guest, `discover iser://[${IPV6.rxe0}]:3260 --device ${RXE.name}`),
      new RegExp(`\\[${IPV6.rxe0}\\]:3260`),
    );
    assert.match(
      await riserInGuest(lab.guest, `info iser://[${IPV6.siw0}]/${NAME}/0 --device ${SIW.name}`),
      /iSER by siw0/,
    );
  });

  test('looking at them every few seconds does not fill the log of the kernel', async () => {
    const lines = `dmesg | grep -c 'speed is unknown' || true`;
    const [before, after] = (await lab.guest.sh(`${lines}; sleep 12; ${lines}`)).split('\n');
    assert.ok(Number(before) > 0);
    assert.equal(after, before);
  });

  test('sessions by two devices and by software iWARP at once; one goes on when another device is taken away', async () => {
    await lab.guest.sh(initiatorStarts());
    for (const portal of [`${RXE.address}:3260`, `[${SECOND.ipv6}]:3260`, `${SIW.address}:3260`])
      await logIn(portal);
    for (const name of [RXE.name, SECOND.name])
      assert.match(riser.log(), new RegExp(`session opened: .* over iSER by ${name}`));
    const since = riser.log().length;
    await lab.guest.sh(`timeout 60 rdma link delete ${SECOND.name}`);
    await logged(`${SECOND.name} is lost`);
    await lab.guest.sh(`${session(`[${SECOND.ipv6}]:3260`, '--logout')} || true; ${reads}`, { limit: LIMIT });
    assert.doesNotMatch(riser.log().slice(since), new RegExp(`session closed: .*by ${RXE.name}`));
    assert.equal(
      await lab.guest.sh(`iscsiadm -m session | grep -c '^iser:.*\\(${RXE.address}\\|${SIW.address}\\)'`),
      '2',
    );
  });

  test('its buffers are on huge pages', async () => {
    const used = `awk '/HugePages_(Total|Free)/ {n = $2 - n} END {print -n}' /proc/meminfo`;
    assert.ok(Number(await lab.guest.sh(used)) > 0);
  });

  test('an address that is added is served; the sessions of one that is removed end, others do not', async () => {
    await lab.guest.sh(`ip address add ${LATE}/24 dev roce0`);
    await logged(`listening on .*${RXE.name}, ${LATE} port 3260`);
    await logIn(`${LATE}:3260`);
    const since = riser.log().length;
    await lab.guest.sh(`ip address del ${LATE}/24 dev roce0`);
    await logged(`session closed: .*the address ${LATE} is not there any more`);
    await lab.guest.sh(`${session(`${LATE}:3260`, '--logout')} || true; ${reads}`, { limit: LIMIT });
    assert.equal(
      riser
        .log()
        .slice(since)
        .match(/session closed/g)?.length,
      1,
    );
    assert.equal(await lab.guest.sh(`iscsiadm -m session | grep -c ' ${RXE.address}:3260'`), '1');
    await lab.guest.sh('iscsiadm -m node --logoutall=all', { limit: LIMIT });
    await riser.stop();
  });

  test('what is written over IPv6 is read again; where there are no huge pages that is said once', async () => {
    await lab.guest.sh('sysctl -q vm.nr_hugepages=0');
    const portal = `[${IPV6.rxe0}]:3260`;
    riser = await startGuestRiser(lab.guest, lab.folder, {
      configuration: 'riser.yaml',
      portal,
      flags: '--huge-pages',
    });
    await discoverOverIser(lab.guest, portal);
    const lun = { portal, target: NAME, lun: 0 };
    const disk = await loginOverIser(lab.guest, lun);
    await verifiedIo(lab.guest, disk, { rw: 'randrw', blockSizes: '4k-1m', depth: 16, mebibytes: 16 });
    assert.match(await connectionsOf(lab.guest, RXE), new RegExp(`state CONNECT .*${IPV6.rxe0}`));
    assert.match(riser.log(), new RegExp(`${IPV6.rxe0}: connected by ${RXE.name}, path MTU 1024"`));
    assert.match(riser.log(), new RegExp(`session opened: .* over iSER by ${RXE.name}`));
    await logoutOverIser(lab.guest, lun);
    await riser.stop();
    assert.equal(
      riser.log().match(/buffers are not on huge pages .*Cannot allocate memory.*vm\.nr_hugepages/g)?.length,
      1,
    );
  });
});
