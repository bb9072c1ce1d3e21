import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { MemoryDevice } from '../block/index.js';
import { TargetServer } from '../target/index.js';
import { connect, discover, type Lun } from './index.js';

const NAME = 'iqn.2026-11.com.example:disk';
const SIZE = 16 << 20;

describe('a LUN through riser/initiator', () => {
  let server: TargetServer;
  let device: MemoryDevice;
  let port: number;
  let url: string;
  let lun: Lun;

  beforeEach(async () => {
    server = new TargetServer();
    device = new MemoryDevice({ size: SIZE, blockSize: 512 });
    server.addTarget({ name: NAME }).addLun(3, { device });
    ({ port } = await server.listen({ address: '127.0.0.1', port: 0 }));
    url = `iscsi://127.0.0.1:${port}/${NAME}/3`;
    lun = await connect(url);
  });

  afterEach(async () => {
    await lun.close();
    await server.close();
  });

  it('is discovered', async () => {
    const portal = { host: '127.0.0.1', port };
    const targets = await discover({ portal, initiatorName: 'iqn.2026-11.com.example:me' });
    assert.deepEqual(
      targets.map(({ name }) => name),
      [NAME],
    );
    assert.equal(targets[0]!.portals[0]!.port, port);
  });

  it('knows what it is', async () => {
    assert.equal(lun.size, SIZE);
    assert.equal(lun.blockSize, 512);
    assert.equal(lun.readOnly, false);
    assert.equal((await lun.inquiry()).vendor, 'RISER');
    assert.equal((await lun.capacity()).blocks, SIZE / 512);
    assert.equal((await lun.vitalProductData(0x80))!.toString().length, 16);
    assert.equal(await lun.vitalProductData(0xdf), null);
  });

  it('reads what was written, in pieces larger than bursts and segments', async () => {
    const data = randomBytes(9 * 512 + (5 << 20));
    await lun.write(512, data, { fua: true });
    assert.ok((await lun.read(512, data.length)).equals(data));
    assert.ok((await lun.read(0, 512)).equals(Buffer.alloc(512)));
    await lun.flush();
  });

  it('does the same with digests', async () => {
    const other = await connect(url, { headerDigest: true, dataDigest: true });
    const data = randomBytes(1 << 20);
    await other.write(8192, data);
    assert.ok((await other.read(8192, data.length)).equals(data));
    await other.close();
  });

  it('unmaps, zeroes, repeats a block, and tells extents', async () => {
    await lun.write(0, randomBytes(1 << 20));
    await lun.unmap(65536, 65536);
    await lun.writeZeroes(262144, 4096);
    await lun.writeSame(524288, 8192, Buffer.alloc(512, 0x5a));
    assert.deepEqual(await lun.extents(0, 2 << 20), [
      { offset: 0, length: 65536, mapped: true },
      { offset: 65536, length: 65536, mapped: false },
      { offset: 131072, length: (1 << 20) - 131072, mapped: true },
      { offset: 1 << 20, length: 1 << 20, mapped: false },
    ]);
    assert.ok((await lun.read(65536, 65536)).equals(Buffer.alloc(65536)));
    assert.ok((await lun.read(262144, 4096)).equals(Buffer.alloc(4096)));
    assert.ok((await lun.read(524288, 8192)).equals(Buffer.alloc(8192, 0x5a)));
  });

  it('compares and writes', async () => {
    const [zeroes, ones] = [Buffer.alloc(512), Buffer.alloc(512, 1)];
    assert.equal(await lun.compareAndWrite(1024, zeroes, ones), true);
    assert.equal(await lun.compareAndWrite(1024, zeroes, ones), false);
    assert.ok((await lun.read(1024, 512)).equals(ones));
    const long = Buffer.alloc(256 * 512);
    await assert.rejects(lun.compareAndWrite(0, long, long), { code: 'NOT_SUPPORTED' });
  });

  it('sends any command, and takes its status', async () => {
    const good = await lun.command(Buffer.alloc(6));
    assert.deepEqual([good.status, good.sense], [0, null]);
    const { status, sense } = await lun.command(Buffer.from([0xff, 0, 0, 0, 0, 0]));
    assert.equal(status, 2);
    assert.deepEqual([sense!.key, sense!.asc], [5, 0x20]);
  });

  it('refuses what is not on it, or no whole blocks', async () => {
    await assert.rejects(lun.read(SIZE, 512), { code: 'OUT_OF_RANGE' });
    await assert.rejects(lun.write(0, Buffer.alloc(100)), { code: 'UNALIGNED' });
    await assert.rejects(lun.read(-512, 512), RangeError);
  });

  it('streams, with odd lengths at the end', async () => {
    const data = randomBytes((3 << 20) + 777);
    await lun.write(4096 + (3 << 20), Buffer.alloc(1024, 9));
    const pieces = Readable.from([
      data.subarray(0, 1000),
      data.subarray(1000, 2_000_000),
      data.subarray(2_000_000),
    ]);
    await pipeline(pieces, lun.createWriteStream({ offset: 4096, chunkSize: 65536 }));
    const read = await buffer(lun.createReadStream({ offset: 4096, length: (3 << 20) + 1024 }));
    assert.ok(read.subarray(0, data.length).equals(data));
    assert.ok(read.subarray(data.length).equals(Buffer.alloc(1024 - 777, 9)), 'the rest of the last block');
  });

  it('fails a stream that brings more than fits', async () => {
    const stream = lun.createWriteStream({ offset: SIZE - 512 });
    await assert.rejects(pipeline(Readable.from([Buffer.alloc(513)]), stream), { code: 'OUT_OF_RANGE' });
  });

  it('gives up what its signal aborts, and goes on afterwards', async () => {
    const reason = new Error('enough');
    await assert.rejects(lun.read(0, 512, { signal: AbortSignal.abort(reason) }), reason);
    const controller = new AbortController();
    const reading = lun.read(0, 8 << 20, { signal: controller.signal });
    setImmediate(() => {
      controller.abort(reason);
    });
    // The target may have been faster.
    await reading.catch((error: unknown) => {
      assert.equal(error, reason);
    });
    assert.equal((await lun.read(0, 512)).length, 512);
    await assert.rejects(connect(url, { signal: AbortSignal.abort(reason) }), reason);
  });

  it('says what is wrong with where it should connect', async () => {
    await assert.rejects(connect(`iscsi://127.0.0.1:${port}/${NAME}/4`), { code: 'NO_SUCH_LUN' });
    await assert.rejects(connect(`iscsi://127.0.0.1:${port}/${NAME}x/3`), { code: 'LOGIN_REFUSED' });
    await assert.rejects(connect('iscsi://127.0.0.1:1/iqn.2026-11.com.example:disk/0'), { code: 'CONNECT' });
    await assert.rejects(connect(`iscsi://127.0.0.1:${port}/${NAME}`), { code: 'URL' });
  });

  it('fails what comes after its end', async () => {
    await lun.close();
    await assert.rejects(lun.read(0, 512), { code: 'DEVICE_CLOSED' });
    await assert.rejects(lun.command(Buffer.alloc(6)), { code: 'SESSION_CLOSED' });
  });
});
