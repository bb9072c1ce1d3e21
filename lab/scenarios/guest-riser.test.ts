/** Riser in the guest: its kernel's initiator uses it, and so does an initiator on the host. */

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { test } from 'node:test';

import { readWriteCdb } from '../../test/support/cdb.js';
import { ROOT } from '../../test/support/files.js';
import { freePort } from '../../test/support/free-port.js';
import { Initiator } from '../../test/support/initiator.js';
import { PROGRAM } from '../harness/host-riser.js';
import { scenario } from '../harness/scenario.js';

/** The same program as on the host, where the guest sees it. */
const program = join('/riser', relative(ROOT, PROGRAM));
const NAME = 'iqn.2026-11.lab:inside';
const READ_16 = 0x88;
const port = await freePort();

scenario('guest-riser', { forward: [[port, 3260]] }, (lab) => {
  test('it starts, with all that it needs of the system', async () => {
    await lab.guest.sh(`
      setsid node ${program} serve --memory 64M --name ${NAME} --portal 0.0.0.0:3260 >/lab/riser.log 2>&1 &
      until grep -q ready /lab/riser.log; do sleep 0.2; done
      ! grep warn /lab/riser.log | grep -v 'open to other machines'`);
  });

  test("what the guest's kernel writes, the host reads", async () => {
    const data = randomBytes(1024 * 1024);
    writeFileSync(lab.file('data'), data);
    await lab.guest.sh(`
      modprobe iscsi_tcp
      iscsid
      iscsiadm -m discovery -t st -p 127.0.0.1
      iscsiadm -m node --login
      disk=/dev/disk/by-path/ip-127.0.0.1:3260-iscsi-${NAME}-lun-0
      udevadm wait --timeout=60 $disk
      dd if=/lab/data of=$disk bs=64k seek=16 oflag=direct status=none`);
    const initiator = await Initiator.login({ port, targetName: NAME });
    const blocks = data.length / 512;
    const read = await initiator.command(0, readWriteCdb(READ_16, 2048, blocks, false), {
      dataIn: data.length,
    });
    await initiator.logout();
    assert.ok(read.data.equals(data));
  });
});
