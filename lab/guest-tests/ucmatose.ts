/** Runs in the guest: the library and ucmatose of rdma-core, each as the other's client, on the device RISER_DEVICE at RISER_ADDRESS. */

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { after, test } from 'node:test';
import { promisify } from 'node:util';

import { NativeProvider } from '../../src/rdma/index.js';
import { End, until } from '../../test/support/verbs-pair.js';
import { listening } from '../harness/rdma.js';
import { exchange, postReceives, UCMATOSE_MESSAGES, UCMATOSE_PORT } from '../harness/ucmatose.js';

const run = promisify(execFile);
const address = process.env['RISER_ADDRESS']!;
const device = await new NativeProvider().open(process.env['RISER_DEVICE']!);
// Which fails if something of it is left.
after(() => device.close());

/** Run it to its end. */
async function ucmatose(...options: string[]): Promise<void> {
  const { stdout } = await run('ucmatose', [...options, ...UCMATOSE_MESSAGES]);
  assert.match(stdout, /return status 0/);
}

test('ucmatose is the client', async () => {
  const end = new End(device);
  let accepted = Promise.resolve();
  const listener = await device.listen(
    { address, port: 0 },
    {
      requested: (request) => {
        end.attach(request);
        postReceives(end);
        accepted = request.accept();
      },
    },
  );
  const running = ucmatose('-s', address, '-p', String(listener.port));
  await until(() => end.isAttached, 'the request of ucmatose');
  await accepted;
  await exchange(end);
  // Who listened is to end it.
  end.connection.disconnect();
  await running;
  end.close();
  await listener.close();
});

test('ucmatose is the server', async () => {
  const running = ucmatose('-b', address, '-p', String(UCMATOSE_PORT));
  await run('bash', ['-c', listening(UCMATOSE_PORT)]);
  const end = new End(device);
  end.attach(await device.resolve({ host: address, port: UCMATOSE_PORT }));
  postReceives(end);
  await end.connection.connect();
  await exchange(end);
  end.connection.disconnect();
  await running;
  end.close();
});
