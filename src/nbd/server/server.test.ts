import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { statSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { pattern } from '../../../test/support/pattern.js';
import { NbdTestClient, text, u32, type NbdTestRequest } from '../../../test/support/nbd-client.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { MemoryDevice, type BlockDevice } from '../../block/index.js';
import { SlowDevice } from '../../scsi/testing/slow-device.js';
import { serveNbd, type NbdServerOptions } from './server.js';

const SIZE = 1 << 20;
const EINVAL = 22;
const ENOSPC = 28;

describe('NBD server', { timeout: 60_000 }, () => {
  const folder = temporaryFolder();
  let count = 0;
  const cleanups: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  });

  async function serve(device: BlockDevice, options?: NbdServerOptions): Promise<string> {
    const socket = join(folder, `s${count++}`);
    const server = await serveNbd(device, { socket }, options);
    cleanups.push(() => server.close());
    return socket;
  }

  const memory = (): MemoryDevice => new MemoryDevice({ size: SIZE });

  test('haggles: lists, tells, refuses, and goes on', async () => {
    const client = await NbdTestClient.connect(await serve(memory(), { exportName: 'disk' }));
    const [server, ack] = await client.option(3);
    assert.deepEqual([server!.type, server!.data.toString('utf8', 4, 8), ack!.type], [2, 'disk', 1]);
    assert.equal((await client.option(3, Buffer.from('x')))[0]!.type, 0x8000_0003);
    assert.equal((await client.option(5))[0]!.type, 0x8000_0001, 'no TLS');
    assert.equal((await client.option(99, Buffer.alloc(100)))[0]!.type, 0x8000_0001);
    assert.equal((await client.option(99, Buffer.alloc(100_000)))[0]!.type, 0x8000_0009);
    const go = (name: string) => Buffer.concat([text(name), Buffer.from([0, 1, 0, 3])]);
    assert.equal((await client.option(6, go('other')))[0]!.type, 0x8000_0006);
    for (const bad of [
      Buffer.alloc(0),
      Buffer.alloc(5),
      u32(1000),
      Buffer.concat([text('disk'), Buffer.from([0, 9])]),
    ]) {
      assert.equal((await client.option(6, bad))[0]!.type, 0x8000_0003);
    }
    const context = (name: string, ...queries: string[]) =>
      Buffer.concat([text(name), u32(queries.length), ...queries.map(text)]);
    assert.equal((await client.option(10, context('disk', 'base:allocation')))[0]!.type, 0x8000_0003);
    assert.deepEqual(
      (await client.option(8)).map((reply) => reply.type),
      [1],
    );
    const found = async (option: number, ...queries: string[]) =>
      (await client.option(option, context('disk', ...queries))).map((reply) => reply.type);
    assert.deepEqual(await found(9), [4, 1]);
    assert.deepEqual(await found(9, 'base:'), [4, 1]);
    assert.deepEqual(await found(9, 'x-other:'), [1]);
    assert.deepEqual(await found(10, 'base:'), [1]);
    assert.deepEqual(await found(10, 'base:nothing', 'base:allocation'), [4, 1]);
    const bad = Buffer.concat([text('disk'), u32(2), text('base:allocation')]);
    assert.equal((await client.option(10, bad))[0]!.type, 0x8000_0003);

    const told = await client.option(7, go('disk'));
    assert.deepEqual(
      told.map((reply) => reply.type),
      [3, 3, 1],
    );
    assert.equal(told[0]!.data.readBigUInt64BE(2), BigInt(SIZE));
    assert.equal(told[1]!.data.readUInt32BE(2), 512);
    // The failed selection took the one before back.
    client.request(7, { length: 4096 });
    assert.equal(await client.error(), EINVAL);
  });

  test('takes EXPORT_NAME, with zeroes and without', async () => {
    const path = await serve(memory());
    for (const [flags, zeroes] of [
      [1, 124],
      [3, 0],
    ] as const) {
      const client = await NbdTestClient.connect(path, flags);
      client.sendOption(1);
      const reply = await client.read(10 + zeroes);
      assert.equal(reply.readBigUInt64BE(), BigInt(SIZE));
      assert.ok(reply.subarray(10).every((byte) => byte === 0));
      client.request(0, { cookie: 0x0123456789abcdefn, length: 512 });
      const { type, cookie, payload } = await client.chunk();
      assert.deepEqual([type, cookie, payload.readUInt32BE()], [-1, 0x0123456789abcdefn, 0]);
      await client.read(512);
      client.socket.destroy();
    }
    const client = await NbdTestClient.connect(path);
    client.sendOption(1, Buffer.from('other'));
    await client.ended();
  });

  test('ends with ABORT, and with DISC after what is under way', async () => {
    const path = await serve(memory());
    const aborting = await NbdTestClient.connect(path);
    assert.equal((await aborting.option(2))[0]!.type, 1);
    await aborting.ended();

    const device = new SlowDevice({ size: SIZE });
    const client = await NbdTestClient.transmitting(await serve(device));
    client.request(1, { length: 512, data: Buffer.alloc(512, 1) });
    client.request(2);
    while (device.pending.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    device.completeAll();
    assert.equal(await client.error(), 0);
    await client.ended();
  });

  for (const structured of [false, true]) {
    test(`reads and writes, with ${structured ? 'structured' : 'simple'} replies`, async () => {
      for (const device of [memory(), new SlowDevice({ size: SIZE }, false)]) {
        const client = await NbdTestClient.transmitting(await serve(device), { structured });
        const data = pattern(300 * 512, 1);
        client.request(1, { offset: 512n, length: data.length, data, flags: 1 });
        assert.equal(await client.error(), 0);
        client.request(0, { offset: 512n, length: data.length, cookie: 9n, flags: structured ? 4 : 0 });
        const reply = await client.chunk();
        assert.equal(reply.cookie, 9n);
        if (structured) {
          assert.deepEqual([reply.type, reply.flags, reply.payload.readBigUInt64BE()], [1, 1, 512n]);
          assert.ok(reply.payload.subarray(8).equals(data));
        } else {
          assert.ok((await client.read(data.length)).equals(data));
        }
        for (const [type, flags] of [
          [3, 0],
          [4, 1],
          [6, 2],
        ] as const) {
          client.request(type, { flags, offset: type === 3 ? 0n : 512n, length: type === 3 ? 0 : 512 });
          assert.equal(await client.error(), 0);
        }
        client.request(0, { length: 0 });
        assert.equal(await client.error(), 0);
        client.socket.destroy();
      }
    });
  }

  test('refuses what cannot be, and goes on', async () => {
    const client = await NbdTestClient.transmitting(await serve(memory()), { context: true });
    const end = BigInt(SIZE);
    const cases: [number, NbdTestRequest, number][] = [
      [0, { offset: end, length: 512 }, EINVAL],
      [0, { offset: 2n ** 64n - 512n, length: 512 }, EINVAL],
      [0, { offset: 1n, length: 512 }, EINVAL],
      [0, { length: 511 }, EINVAL],
      [0, { length: 0xffff_fe00 }, 75],
      [0, { length: 512, flags: 2 }, EINVAL],
      [1, { offset: end, length: 512, data: Buffer.alloc(512) }, ENOSPC],
      [1, { offset: 3n, length: 100_000, data: Buffer.alloc(100_000) }, EINVAL],
      [4, { offset: end - 512n, length: 1024 }, EINVAL],
      [6, { offset: end - 512n, length: 0xffff_fe00 }, ENOSPC],
      [6, { length: 512, flags: 16 }, EINVAL],
      [7, { length: 0 }, EINVAL],
      [7, { offset: end, length: 512 }, EINVAL],
      [3, { length: 512 }, EINVAL],
      [5, { length: 512 }, EINVAL],
      [8, { length: 512 }, EINVAL],
      [0xffff, { length: 0xffff_ffff, flags: 0xffff }, EINVAL],
    ];
    for (const [type, request, error] of cases) {
      client.request(type, request);
      assert.equal(
        await client.error(),
        error,
        `type ${type} ${JSON.stringify(request, (_, v: unknown) => String(v))}`,
      );
    }
    client.request(0, { length: 512 });
    assert.equal(await client.error(), 0);

    const readOnly = new MemoryDevice({ size: SIZE, readOnly: true });
    const reader = await NbdTestClient.transmitting(await serve(readOnly));
    reader.request(1, { length: 512, data: Buffer.alloc(512) });
    assert.equal(await reader.error(), 1);
    reader.request(6, { length: 512 });
    assert.equal(await reader.error(), 1);
  });

  test('tells extents, one or all', async () => {
    const device = memory();
    const client = await NbdTestClient.transmitting(await serve(device), { context: true });
    client.request(1, { offset: 8192n, length: 4096, data: Buffer.alloc(4096, 1) });
    assert.equal(await client.error(), 0);
    client.request(7, { length: SIZE });
    const { type, payload } = await client.chunk();
    assert.equal(type, 5);
    const numbers = Array.from({ length: payload.length / 4 }, (_, i) => payload.readUInt32BE(4 * i));
    assert.deepEqual(numbers.slice(1), [8192, 3, 4096, 0, SIZE - 12288, 3]);
    client.request(7, { length: SIZE, flags: 8 });
    assert.equal((await client.chunk()).payload.length, 12);
  });

  test('bad clients cost their connection only', async () => {
    const path = await serve(memory(), { handshakeTimeout: 200 });
    const good = await NbdTestClient.transmitting(path);
    const silent = await NbdTestClient.connect(path);
    const drip = await NbdTestClient.connect(path);
    drip.sendOption(99, Buffer.alloc(10), 0xffff_ffff);
    await silent.ended();
    await drip.ended();
    await (await NbdTestClient.connect(path, 0xff)).ended();
    const wrong = await NbdTestClient.connect(path);
    wrong.write(Buffer.alloc(16));
    await wrong.ended();
    const noMagic = await NbdTestClient.transmitting(path);
    noMagic.request(0, { magic: 1 });
    await noMagic.ended();
    const tooLong = await NbdTestClient.transmitting(path);
    tooLong.request(1, { length: (32 << 20) + 512 });
    await tooLong.ended();
    const gone = await NbdTestClient.transmitting(path);
    gone.request(1, { length: 4096, data: Buffer.alloc(100) });
    gone.socket.destroy();
    good.request(0, { length: 512 });
    assert.equal(await good.error(), 0);
  });

  test('holds a client back that asks for more than it reads', async () => {
    const device = new SlowDevice({ size: 64 << 20 });
    const path = await serve(device);
    const client = await NbdTestClient.transmitting(path);
    const length = 8 << 20;
    for (let i = 0; i < 20; i++) client.request(0, { length, cookie: BigInt(i) });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(device.pending.length, 8, 'as many as 64 MiB hold');
    for (let i = 0; i < 20; i++) {
      while (!device.completeNext()) await new Promise((resolve) => setTimeout(resolve, 1));
      const { type, cookie, payload } = await client.chunk();
      assert.deepEqual([type, cookie, payload.length], [1, BigInt(i), length + 8]);
    }
    // Requests without data are bounded as well, and other lengths get the memory that is free now.
    for (let i = 0; i < 1000; i++) client.request(0, { length: 512 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(device.pending.length, 256);
    for (let i = 0; i < 1000; i++) {
      while (!device.completeNext()) await new Promise((resolve) => setTimeout(resolve, 1));
      if (i % 100 === 99) for (let j = 0; j < 100; j++) await client.chunk();
    }
  });

  test('a socket is its owner’s; a left one is taken over, one in use is not, nor anything else', async () => {
    const path = await serve(memory());
    assert.equal(statSync(path).mode & 0o777, 0o600);
    await assert.rejects(serveNbd(memory(), { socket: path }), { code: 'NBD_IN_USE' });
    const left = join(folder, 'left');
    const script = `require('net').createServer().listen(${JSON.stringify(left)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    assert.ok(statSync(left).isSocket());
    await (await serveNbd(memory(), { socket: left })).close();
    const file = join(folder, 'file');
    writeFileSync(file, 'x');
    await assert.rejects(serveNbd(memory(), { socket: file }), { code: 'NBD_IN_USE' });
    assert.ok(statSync(file).isFile());
    await assert.rejects(serveNbd(memory(), { host: '0.0.0.0', port: 0 }), { code: 'NBD_NOT_LOOPBACK' });
    await assert.rejects(serveNbd(memory(), { socket: join(folder, 'no/s') }), { code: 'NBD_LISTEN' });
  });

  test('close answers what is under way, and lets nobody in', async () => {
    const device = new SlowDevice({ size: SIZE });
    const server = await serveNbd(device, { host: '127.0.0.1', port: 0 });
    const port = Number(/:(\d+)\//.exec(server.uri)![1]);
    const socket = net.connect(port, '127.0.0.1');
    cleanups.push(() => Promise.resolve(void socket.destroy()));
    await new Promise((resolve) => socket.once('data', resolve));
    const closed = server.close();
    await closed;
    await assert.rejects(
      new Promise((resolve, reject) =>
        net.connect(port, '127.0.0.1').once('connect', resolve).once('error', reject),
      ),
    );
  });
});
