import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { constants } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { blockDeviceContract } from '../../test/contract/block-device.js';
import {
  extentsOf,
  operation,
  pattern,
  readBack,
  reading,
  scattered,
  writing,
} from '../../test/contract/block-io.js';
import { peer } from '../../test/support/peers.js';
import { temporaryFolder } from '../../test/support/temporary.js';
import { libc, libcMissing, type Libc } from '../util/posix/libc.js';
import { BlockOp, BlockStatus } from './device.js';
import { FileDevice, type FileDeviceOptions } from './file.js';
import { createImage } from './image.js';

const withoutLibc = libc === null ? `no foreign functions: ${libcMissing ?? ''}` : false;

const folder = temporaryFolder();
const qemuIo = peer('qemu-io', 'qemu-utils');
let names = 0;

async function newImage(size: number): Promise<string> {
  const file = path.join(folder, `image-${names++}`);
  await createImage(file, size);
  return file;
}

async function open(
  size: number,
  options: FileDeviceOptions = {},
): Promise<{ file: string; device: FileDevice }> {
  const file = await newImage(size);
  return { file, device: await FileDevice.open(file, options) };
}

function contract(name: string, options: FileDeviceOptions): void {
  blockDeviceContract(name, async ({ size, readOnly }) => {
    const { file, device } = await open(size, { ...options, readOnly });
    return {
      device,
      resizeMedium: (bytes: number) => fs.promises.truncate(file, bytes),
      dispose: () => device.close(),
    };
  });
}

/** What `fs.readv` and `fs.writev` call. */
type Moved = (error: NodeJS.ErrnoException | null, count: number) => void;

/** The platform's functions with some of them replaced. */
function altered(changes: Partial<Libc>): Libc {
  return { ...libc!, ...changes };
}

const noLimits = process.platform === 'win32' && 'Windows has no limit on the size of files';

/** What a program prints to which the system grants no file larger than 2 MiB. */
function runLimited(body: string): string {
  const module = (name: string) => new URL(name, import.meta.url).href;
  const program = `
    import { FileDevice } from '${module('./file.ts')}';
    import { createImage } from '${module('./image.ts')}';
    import { writing } from '${module('../../test/contract/block-io.ts')}';
    ${body}`;
  const command = 'ulimit -f 2048 && exec "$0" --import tsx --input-type=module --eval "$1"';
  const run = spawnSync('bash', ['-c', command, process.execPath, program], { encoding: 'utf8' });
  assert.equal(run.status, 0, run.stderr);
  return run.stdout.trim();
}

function systemError(code: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made by the test`), { code });
}

contract('file, 512, plain Node', { blockSize: 512, libc: null });
contract('file, 4096, plain Node', { blockSize: 4096, libc: null });
describe('with foreign functions', { skip: withoutLibc }, () => {
  contract('file, 512', { blockSize: 512 });
  contract('file, 4096', { blockSize: 4096 });
  contract('file, fully provisioned', { blockSize: 512, thin: false });
  if (libc !== null) {
    const none = { preadv2: null, pwritev2: null };
    contract('file, nothing answered by the page cache', { libc: altered(none) });
    contract('file, no fallocate', {
      libc: altered({
        fallocate: () => -1,
        fallocateAsync: (...[, , , , done]) => setImmediate(done, null, -1),
      }),
    });
  }
});

describe('createImage', () => {
  it('makes a sparse file and never overwrites one', async () => {
    const file = await newImage(1 << 30);
    const stat = fs.statSync(file);
    assert.equal(stat.size, 1 << 30);
    if (process.platform === 'linux') assert.ok(stat.blocks * 512 < 1 << 20);
    await assert.rejects(createImage(file, 512), { code: 'IMAGE_EXISTS' });
    assert.equal(fs.statSync(file).size, 1 << 30);
  });

  it('says what is wrong', async () => {
    await assert.rejects(createImage(path.join(folder, 'odd'), 1000), { code: 'BAD_SIZE' });
    await assert.rejects(createImage(path.join(folder, 'none'), 0), { code: 'BAD_SIZE' });
    await assert.rejects(createImage(path.join(folder, 'no', 'such'), 512), { code: 'IMAGE_MISSING' });
  });

  it('leaves nothing behind when there is no room', { skip: noLimits }, () => {
    const file = path.join(folder, 'too-large');
    const output = runLimited(
      `await createImage('${file}', 4 << 20).catch((error) => console.log(error.code));`,
    );
    assert.equal(output, 'NO_SPACE');
    assert.equal(fs.existsSync(file), false);
  });
});

describe('FileDevice.open', () => {
  it('says what is wrong with the path', async () => {
    await assert.rejects(FileDevice.open(path.join(folder, 'nothing')), { code: 'IMAGE_MISSING' });
    await assert.rejects(FileDevice.open(folder), { code: 'IMAGE_UNUSABLE' });
    const empty = path.join(folder, 'empty');
    fs.writeFileSync(empty, '');
    await assert.rejects(FileDevice.open(empty), { code: 'IMAGE_EMPTY' });
    fs.writeFileSync(empty, Buffer.alloc(4095));
    await assert.rejects(FileDevice.open(empty, { blockSize: 4096 }), { code: 'IMAGE_EMPTY' });
    const device = await FileDevice.open(empty);
    assert.equal(device.size, 7 * 512, 'an image that failed to open stayed locked');
    await device.close();
  });

  it('says that a file may not be opened', async (t) => {
    const { file, device } = await open(4096);
    await device.close();
    t.mock.method(fs.promises, 'open', () => Promise.reject(systemError('EACCES')));
    await assert.rejects(FileDevice.open(file), { code: 'IMAGE_NO_ACCESS', by: 'local' });
  });

  it('serves whole blocks only and leaves the rest of the file alone', async () => {
    const file = path.join(folder, 'odd-size');
    fs.writeFileSync(file, pattern(4096 + 100, 1));
    const device = await FileDevice.open(file);
    assert.equal(device.size, 4096);
    assert.equal(await reading(4096, 512).on(device), BlockStatus.OUT_OF_RANGE);
    await operation(BlockOp.UNMAP, 0, 4096).on(device);
    await device.close();
    const expected = pattern(4096 + 100, 1).fill(0, 0, 4096);
    assert.ok(fs.readFileSync(file).equals(expected));
  });

  it('says what it lacks', async () => {
    const { device } = await open(4096, { libc: null });
    assert.equal(device.limitations.length, 3);
    assert.equal(device.unmapGranularity, 0);
    await device.close();
  });

  it('locks the image: one writer, or several readers', { skip: withoutLibc }, async () => {
    const { file, device: writer } = await open(4096);
    await assert.rejects(FileDevice.open(file), { code: 'IMAGE_LOCKED' });
    await assert.rejects(FileDevice.open(file, { readOnly: true }), { code: 'IMAGE_LOCKED' });
    await writer.close();

    const reader = await FileDevice.open(file, { readOnly: true });
    const another = await FileDevice.open(file, { readOnly: true });
    await assert.rejects(FileDevice.open(file), { code: 'IMAGE_LOCKED' });
    await reader.close();
    await another.close();
    await (await FileDevice.open(file)).close();
  });

  it('says when the file system has no locks or no holes', { skip: withoutLibc }, async () => {
    const { device } = await open(4096, {
      libc: altered({
        fcntl: () => -1,
        errno: () => constants.errno.EINVAL,
        fallocate: () => -1,
        preadv2: null,
      }),
    });
    assert.match(device.limitations.join(), /no locks.*cannot make holes.*whether a read would wait/);
    assert.equal(device.unmapGranularity, 0);
    await device.close();
  });

  it('respects the locks of QEMU, and QEMU ours', { skip: withoutLibc || qemuIo.skip }, async () => {
    const { file, device } = await open(1 << 20);
    const qemu = (...args: string[]) => spawnSync(qemuIo.path, ['-f', 'raw', ...args], { encoding: 'utf8' });
    assert.notEqual(qemu('-c', 'read 0 512', file).status, 0);
    await device.close();
    assert.equal(qemu('-c', 'write -P 7 0 512', file).status, 0);

    const reader = await FileDevice.open(file, { readOnly: true });
    assert.notEqual(qemu('-c', 'write 0 512', file).status, 0);
    assert.equal(qemu('-r', '-c', 'read -P 7 0 512', file).status, 0);
    assert.ok((await readBack(reader, 0, 512)).equals(Buffer.alloc(512, 7)));
    await reader.close();

    for (const [arguments_, readOnly, allowed] of [
      [[], false, false],
      [[], true, false],
      [['-r'], false, false],
      [['-r'], true, true],
    ] as const) {
      const guest = spawn(qemuIo.path, ['-f', 'raw', ...arguments_, file], {
        stdio: ['pipe', 'pipe', 'inherit'],
      });
      guest.stdin.write('read 0 512\n');
      await once(guest.stdout, 'data');
      const opening = FileDevice.open(file, { readOnly });
      if (allowed) await (await opening).close();
      else await assert.rejects(opening, { code: 'IMAGE_LOCKED' });
      guest.stdin.end('quit\n');
      await once(guest, 'exit');
    }
  });
});

describe('FileDevice', () => {
  it('reaches past 2 TiB', async (t) => {
    const size = 5 * 2 ** 40;
    const file = path.join(folder, 'large');
    try {
      await createImage(file, size);
    } catch (error) {
      t.skip(`the file system of ${folder} has no files of 5 TiB: ${String(error)}`);
      return;
    }
    for (const options of [{ libc: null }, {}]) {
      const device = await FileDevice.open(file, options);
      for (const offset of [4 * 2 ** 40, size - 65536]) {
        const bytes = pattern(65536, offset % 251);
        assert.equal(await writing(offset, bytes).on(device), BlockStatus.GOOD);
        assert.ok((await readBack(device, offset, 65536)).equals(bytes));
        assert.deepEqual(await extentsOf(device, offset, 65536), [{ offset, length: 65536, mapped: true }]);
        await operation(BlockOp.UNMAP, offset, 65536).on(device);
        assert.ok((await readBack(device, offset, 65536)).equals(Buffer.alloc(65536)));
      }
      await device.close();
    }
    fs.unlinkSync(file);
  });

  it(
    'answers from the page cache inside submit where the file system can',
    { skip: withoutLibc },
    async () => {
      const { device } = await open(1 << 20);
      const bytes = pattern(65536, 1);
      await writing(4096, bytes).on(device);
      const io = reading(4096, bytes.length);
      io.data = scattered(Buffer.alloc(bytes.length), [33, 40000]);
      if (device.limitations.length === 0) {
        assert.equal(device.submit(io), true);
      } else {
        assert.match(device.limitations.join(), /whether a read would wait/);
        await io.on(device);
      }
      assert.ok(io.data.toBuffer().equals(bytes));
      await device.close();
    },
  );

  it('reads the rest on a thread when the page cache has a part', { skip: withoutLibc }, async () => {
    const preadv2: Libc['preadv2'] = (fd, iov, _count, offset, flags) =>
      libc!.preadv2!(fd, iov, 1, offset, flags);
    const { device } = await open(1 << 20, { libc: altered({ preadv2 }) });
    const bytes = pattern(8192, 1);
    await writing(0, bytes).on(device);
    const io = reading(0, bytes.length);
    io.data = scattered(Buffer.alloc(bytes.length), [1000, 1001, 5000]);
    assert.equal(await io.on(device), BlockStatus.GOOD);
    assert.ok(io.data.toBuffer().equals(bytes));
    await device.close();
  });

  it(
    'writes without waiting where the file system can, and the rest on a thread',
    { skip: withoutLibc },
    async () => {
      // No flag: whatever the file system of the test, it takes the first segment.
      const pwritev2: Libc['pwritev2'] = (fd, iov, _count, offset) => libc!.pwritev2!(fd, iov, 1, offset, 0);
      const { device } = await open(1 << 20, { libc: altered({ pwritev2 }) });
      const bytes = pattern(8192, 1);
      assert.equal(device.submit(writing(8192, bytes)), true);
      assert.equal(await writing(16384, bytes, true).on(device), BlockStatus.GOOD);
      const io = writing(0, bytes);
      io.data = scattered(bytes, [1000, 1001, 5000]);
      assert.equal(await io.on(device), BlockStatus.GOOD);
      const read = await readBack(device, 0, 3 * 8192);
      assert.ok(read.equals(Buffer.concat([bytes, bytes, bytes])));
      await device.close();
    },
  );

  it('tells what the file system has given it, and has left', async () => {
    const { file, device } = await open(16 << 20);
    assert.equal(device.space()!.used, 0);
    await writing(1 << 20, pattern(1 << 20, 1)).on(device);
    await operation(BlockOp.FLUSH).on(device);
    const { used, available } = device.space()!;
    assert.equal(used, fs.statSync(file).blocks * 512);
    assert.ok(used >= 1 << 20);
    assert.ok(available! > 0 && available! % 512 === 0);
    const moved = `${file}-moved`;
    fs.renameSync(file, moved);
    assert.equal(device.space()!.used, used);
    assert.equal(device.space()!.available, null, 'of another path nothing is told');
    await device.close();
    assert.equal(device.space(), null);
    const full = await FileDevice.open(moved, { thin: false });
    assert.equal(full.space(), null);
    await full.close();
  });

  it('tells where a file ends that was cut off', async () => {
    for (const options of [{ libc: null }, {}]) {
      const { file, device } = await open(1 << 20, options);
      await writing(0, pattern(1 << 20, 1)).on(device);
      fs.truncateSync(file, 8192 + 700);
      const io = reading(4096, 16384);
      assert.equal(await io.on(device), BlockStatus.MEDIUM_ERROR);
      assert.equal(io.errorOffset, 8192 + 512);
      assert.equal(await reading(0, 8192).on(device), BlockStatus.GOOD);
      await device.close();
    }
  });

  it('tells which block failed, and how', async (t) => {
    const { device } = await open(1 << 20, { libc: null });
    for (const [code, status] of [
      ['EIO', BlockStatus.MEDIUM_ERROR],
      ['ENOSPC', BlockStatus.NO_SPACE],
      ['EDQUOT', BlockStatus.NO_SPACE],
      ['EROFS', BlockStatus.READ_ONLY],
      ['ENODEV', BlockStatus.NOT_READY],
    ] as const) {
      let calls = 0;
      const fails = (_fd: number, _parts: Uint8Array[], _position: number, callback: Moved) => {
        if (calls++ === 0) setImmediate(callback, null, 1500);
        else setImmediate(callback, systemError(code), 0);
      };
      t.mock.method(fs, 'readv', fails);
      const read = reading(4096, 4096);
      assert.equal(await read.on(device), status);
      assert.equal(read.errorOffset, 4096 + 1024);
      assert.equal((read.cause as NodeJS.ErrnoException).code, code);
      calls = 0;
      t.mock.method(fs, 'writev', fails);
      const write = writing(512, pattern(2048, 1), true);
      assert.equal(await write.on(device), status);
      assert.equal(write.errorOffset, 512 + 1024);
      t.mock.restoreAll();
    }
    await device.close();
  });

  it('never takes data for stable again after a sync that failed', async (t) => {
    const { device } = await open(1 << 20);
    const syncs = t.mock.method(fs, 'fdatasync', (_fd: number, callback: fs.NoParamCallback) => {
      setImmediate(callback, systemError('EIO'));
    });
    assert.equal(await writing(512, pattern(512, 1), true).on(device), BlockStatus.MEDIUM_ERROR);
    syncs.mock.restore();
    const flush = operation(BlockOp.FLUSH);
    assert.equal(await flush.on(device), BlockStatus.MEDIUM_ERROR);
    assert.equal((flush.cause as NodeJS.ErrnoException).code, 'EIO');
    await device.close();
  });

  it('shares syncs, but never one that was under way already', async (t) => {
    const { device } = await open(1 << 20);
    const waiting: (() => void)[] = [];
    t.mock.method(fs, 'fdatasync', (_fd: number, callback: fs.NoParamCallback) => {
      waiting.push(() => {
        callback(null);
      });
    });
    const done: string[] = [];
    const flush = (label: string) =>
      operation(BlockOp.FLUSH)
        .on(device)
        .then(() => done.push(label));
    const flushes = [flush('first'), flush('second'), flush('third')];
    assert.equal(waiting.length, 1);
    waiting.shift()!();
    await flushes[0];
    assert.deepEqual(done, ['first']);
    assert.equal(waiting.length, 1, 'one sync for all that came meanwhile');
    waiting.shift()!();
    await Promise.all(flushes);
    assert.deepEqual(done, ['first', 'second', 'third']);
    assert.equal(waiting.length, 0);
    t.mock.restoreAll();
    await device.close();
  });

  it('syncs after the data of an FUA write, not for other writes', async (t) => {
    const { device } = await open(1 << 20);
    const order: string[] = [];
    const { writev, fdatasync } = fs;
    t.mock.method(fs, 'writev', (fd: number, parts: Uint8Array[], position: number, callback: Moved) => {
      writev(fd, parts, position, (error, count) => {
        order.push('data');
        callback(error, count);
      });
    });
    t.mock.method(fs, 'fdatasync', (fd: number, callback: fs.NoParamCallback) => {
      order.push('sync');
      fdatasync(fd, callback);
    });
    await writing(0, pattern(512, 1)).on(device);
    assert.deepEqual(order.includes('sync'), false);
    order.length = 0;
    await writing(0, pattern(512, 2), true).on(device);
    assert.equal(order.at(-1), 'sync');
    t.mock.restoreAll();
    await device.close();
  });

  it('tells NO_SPACE at the limit of what the system grants', { skip: noLimits }, () => {
    const file = path.join(folder, 'limited');
    fs.writeFileSync(file, Buffer.alloc(4 << 20));
    const output = runLimited(`
      const device = await FileDevice.open('${file}');
      const io = writing((2 << 20) - 1024, Buffer.alloc(4096, 1));
      console.log(await io.on(device), io.errorOffset, io.cause.code);`);
    assert.equal(output, `${BlockStatus.NO_SPACE} ${2 << 20} EFBIG`);
  });
});
