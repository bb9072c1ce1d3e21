import assert from 'node:assert/strict';
import { afterEach, describe, it } from 'node:test';
import { MemoryDevice } from '../block/index.js';
import { CHAP_ALGORITHMS } from '../iscsi/index.js';
import { TargetServer, type TargetServerOptions, type TargetOptions } from '../target/index.js';
import { Secret } from '../util/secret.js';
import { connect, type ConnectOptions, discover } from './index.js';

const NAME = 'iqn.2026-11.com.example:disk';
const ALICE = { name: 'alice', secret: new Secret('correct horse battery') };
const DISK = { name: 'disk', secret: new Secret('staple staple staple') };
const WRONG = new Secret('wrong horse battery');

describe('CHAP, from riser/initiator to riser/target', () => {
  let server: TargetServer | null = null;
  afterEach(async () => {
    await server?.close();
    server = null;
  });

  async function serve(target: Partial<TargetOptions>, options: TargetServerOptions = {}): Promise<number> {
    server = new TargetServer(options);
    server
      .addTarget({ name: NAME, ...target })
      .addLun(0, { device: new MemoryDevice({ size: 1 << 20, blockSize: 512 }) });
    return (await server.listen({ address: '127.0.0.1', port: 0 })).port;
  }

  const tryIt = async (
    port: number,
    authentication?: ConnectOptions['authentication'],
    credentials = '',
  ): Promise<void> => {
    const options = authentication === undefined ? {} : { authentication };
    const lun = await connect(`iscsi://${credentials}127.0.0.1:${port}/${NAME}/0`, options);
    await lun.read(0, 512);
    await lun.close();
  };

  for (const { name } of CHAP_ALGORITHMS) {
    it(`${name}: both ways, one way, and with wrong secrets`, async () => {
      const chap = { users: [ALICE], mutual: DISK, algorithms: [name] };
      const port = await serve({ authentication: { chap } });
      await tryIt(port, { user: ALICE });
      await tryIt(port, { user: ALICE, target: DISK });
      await tryIt(port, { user: ALICE, target: { name: null, secret: DISK.secret } });
      await assert.rejects(tryIt(port, { user: { ...ALICE, secret: WRONG } }), { code: 'LOGIN_REFUSED' });
      await assert.rejects(tryIt(port, { user: ALICE, target: { ...DISK, secret: WRONG } }), {
        code: 'AUTHENTICATION',
      });
      await assert.rejects(tryIt(port, { user: ALICE, target: { ...DISK, name: 'another' } }), {
        code: 'AUTHENTICATION',
      });
    });
  }

  it('takes user and secret from the URL', async () => {
    const port = await serve({ authentication: { chap: { users: [ALICE] } } });
    await tryIt(port, undefined, 'alice%correct horse battery@');
    await assert.rejects(tryIt(port, undefined, 'alice%wrong horse battery@'), { code: 'LOGIN_REFUSED' });
    await assert.rejects(tryIt(port), { code: 'LOGIN_REFUSED' });
  });

  it('does without where the target wants none', async () => {
    const port = await serve({});
    await tryIt(port, { user: ALICE, allowNone: true });
    await assert.rejects(tryIt(port, { user: ALICE }), { code: 'LOGIN_REFUSED' });
  });

  it('authenticates discovery apart from the rest', async () => {
    const port = await serve({}, { discoveryAuthentication: { chap: { users: [ALICE] } } });
    const ask = (authentication?: ConnectOptions['authentication']): Promise<unknown[]> =>
      discover({
        portal: { host: '127.0.0.1', port },
        initiatorName: 'iqn.2026-11.com.example:me',
        ...(authentication !== undefined && { authentication }),
      });
    assert.equal((await ask({ user: ALICE })).length, 1);
    await assert.rejects(ask(), { code: 'LOGIN_REFUSED' });
    await tryIt(port);
  });
});
