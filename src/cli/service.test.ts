/** The service lets go of all its media, whatever becomes of one of them. */

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../test/support/temporary.js';
import { createImage, FileDevice, MemoryDevice } from '../block/index.js';
import { connect } from '../initiator/index.js';
import { NbdServer } from '../nbd/index.js';
import { TargetServer } from '../target/index.js';
import { type Logger, silentLogger } from '../util/logger.js';
import type { LunConfiguration, Medium } from './configuration.js';
import { Service } from './service.js';

const NAME = 'iqn.2026-11.com.example:disk';
const SIZE = 1 << 20;

function lunOf(medium: Medium, lun: number): LunConfiguration {
  return {
    lun,
    type: 'disk',
    medium,
    readOnly: false,
    removable: false,
    provisioning: 'thin',
    blockSize: 512,
  };
}

/** Serves two exports of NBD servers, LUNs 0 and 1, and an image, LUN 2; the servers go when all was written to. */
async function serveAndLose(
  folder: string,
): Promise<{ service: Service; luns: LunConfiguration[]; image: string; errors: string[]; port: number }> {
  const image = join(folder, 'disk.img');
  await createImage(image, SIZE);
  const servers = [0, 1].map(() => new NbdServer(new MemoryDevice({ size: SIZE })));
  const uris = await Promise.all(
    servers.map((server, i) => server.listen({ socket: join(folder, `socket-${i}`) })),
  );
  const luns = [...uris.map((nbd) => ({ nbd })), { image }].map(lunOf);
  const errors: string[] = [];
  const log: Logger = { ...silentLogger, error: (message) => errors.push(message) };
  const service = new Service(new TargetServer(), log);
  const [portal] = await service.start({
    portals: [{ address: '127.0.0.1', port: 0 }],
    targets: [{ name: NAME, luns }],
  });
  const { port } = portal!;
  for (const { lun } of luns) {
    const disk = await connect(`iscsi://127.0.0.1:${port}/${NAME}/${lun}`);
    await disk.write(0, Buffer.alloc(512, 1));
    await disk.close();
  }
  await Promise.all(servers.map((server) => server.close()));
  return { service, luns, image, errors, port };
}

test('closing lets go of every medium, tells the first failure and logs the others', async () => {
  const { service, image, errors } = await serveAndLose(temporaryFolder());
  await assert.rejects(service.close(0), { code: 'NBD_NOT_FLUSHED', message: /socket-0/ });
  assert.equal(errors.length, 1);
  assert.match(errors[0]!, /socket-1.*may be lost/);
  // Nobody holds its lock.
  await (await FileDevice.open(image, { blockSize: 512 })).close();
});

test('what cannot be closed well when it is removed is logged, and the rest of the change made', async () => {
  const { service, luns, image, errors, port } = await serveAndLose(temporaryFolder());
  const portals = [{ address: '127.0.0.1', port: 0 }];
  await service.reload({ portals, targets: [{ name: NAME, luns: luns.slice(1) }] });
  assert.match(errors.join('\n'), /^.*socket-0.*may be lost.*$/);
  const other = 'iqn.2026-11.com.example:other';
  await service.reload({ portals, targets: [{ name: other, luns: [lunOf({ image }, 0)] }] });
  assert.match(errors.join('\n'), /^.*socket-0.*\n.*socket-1.*may be lost.*$/);
  const disk = await connect(`iscsi://127.0.0.1:${port}/${other}/0`);
  assert.equal((await disk.read(0, 512))[0], 1);
  await disk.close();
  await service.close(0);
});
