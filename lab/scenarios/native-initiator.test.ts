/** Riser's initiator in a guest uses LIO and tgt there by rdma_rxe and by siw, and Riser on the host by siw. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { before, test } from 'node:test';

import { riserInGuest, tryRiserInGuest } from '../harness/guest-riser.js';
import { TARGET } from '../harness/host-riser.js';
import { startLio } from '../harness/lio.js';
import { addRdmaDevices, listening, type RdmaDevice, RXE, SIW } from '../harness/rdma.js';
import { type Lab, scenario } from '../harness/scenario.js';
import { startTgt } from '../harness/tgt.js';

const SIZE = 8 << 20;
const PORT = 3260;
/** The guest's own: the name that tgt lets in. */
const INITIATOR = 'iqn.2026-11.lab:guest';

/** Where a target is, as the initiator in the guest has it. */
interface Place {
  readonly portal: string;
  readonly target: string;
  readonly lun: number;
  readonly stop: () => Promise<void>;
}

/** Each starts a target and waits until it listens. */
type Start = (lab: Lab, portal: string) => Promise<Place>;

const startedLio: Start = async ({ guest }, portal) => {
  const lio = await startLio(guest, { portal, iser: true, size: String(SIZE) });
  await guest.sh(listening(PORT));
  return lio;
};

const startedTgt: Start = async ({ guest }, portal) => {
  const tgt = await startTgt(guest, String(SIZE));
  await guest.sh(listening(PORT));
  return { portal, ...tgt };
};

/** On the host, by iWARP in software. */
const startedRiser: Start = async (lab) => {
  const riser = await lab.serveWith({ rdma: true }, { memory: String(SIZE) });
  return { portal: riser.portal(), target: TARGET, lun: 0, stop: () => riser.stop() };
};

const TARGETS: readonly { name: string; device: RdmaDevice; start: Start }[] = [
  ...[RXE, SIW].flatMap((device) => [
    { name: 'LIO', device, start: startedLio },
    { name: 'tgt', device, start: startedTgt },
  ]),
  { name: 'Riser on the host', device: SIW, start: startedRiser },
];

/** Writes and reads of several lengths, a command that the target does not know, and a read after it. */
const program = (url: string, device: string): string => `
  import { randomBytes } from 'node:crypto';
  import { connect } from '/riser/dist/initiator/index.js';
  const lun = await connect('${url}', { initiatorName: '${INITIATOR}', device: '${device}' });
  for (const length of [512, 4096, 8192, 65536, 1 << 20]) {
    const data = randomBytes(length);
    await lun.write(1 << 20, data);
    console.log(length, (await lun.read(1 << 20, length)).equals(data));
  }
  const { status } = await lun.command(Buffer.from('ff0000000000', 'hex'), {});
  console.log('refused', status);
  await lun.read(0, 4096);
  await lun.close();`;

scenario('native-initiator', { limit: 1500 }, (lab) => {
  before(async () => {
    await addRdmaDevices(lab.guest);
    writeFileSync(lab.file('in.img'), randomBytes(SIZE));
  });

  for (const { name, device, start } of TARGETS) {
    const by = `--device ${device.name} --initiator-name ${INITIATOR}`;
    const riser = (command: string): Promise<string> => riserInGuest(lab.guest, `${command} ${by}`);

    test(`${name} by ${device.name}: discovery, copies there and back, load, and errors`, async (t) => {
      const { portal, target, lun, stop } = await start(lab, `${device.address}:${PORT}`);
      t.after(stop);
      const url = `iser://${portal}/${target}/${lun}`;

      assert.match(await riser(`discover iser://${portal}`), new RegExp(target));
      assert.match(await riser(`info ${url}`), new RegExp(`transport +iSER by ${device.name}$`, 'm'));
      await riser(`copy /lab/in.img ${url} --verify`);
      await riser(`compare /lab/in.img ${url}`);
      await riser(`copy ${url} /tmp/out.img --verify`);
      await lab.guest.sh('cmp /lab/in.img /tmp/out.img; rm /tmp/out.img');

      writeFileSync(lab.file('commands.mjs'), program(url, device.name));
      assert.equal(
        await lab.guest.sh('ulimit -l unlimited; node /lab/commands.mjs', { limit: 180 }),
        '512 true\n4096 true\n8192 true\n65536 true\n1048576 true\nrefused 2',
      );

      const bench = await riser(`bench ${url} --seconds 2 --depth 16 --json`);
      const { iops } = JSON.parse(bench) as { iops: number };
      assert.ok(iops > 0);
      t.diagnostic(`${iops.toFixed(0)} random reads of 4 KiB in a second`);

      const missing = await tryRiserInGuest(lab.guest, `info iser://${portal}/${target}-no/0 ${by}`);
      assert.notEqual(missing.status, 0);
      assert.match(
        missing.stderr,
        /^error: the target (refused the login: |closed the connection during login)/m,
      );

      assert.equal(
        await lab.guest.sh(`rdma resource show qp link ${device.name} | grep -F '[node]' || true`),
        '',
      );
    });
  }
});
