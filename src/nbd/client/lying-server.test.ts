/** Servers that lie, drip, vanish or hang: what they cost, and what they must not. */

import assert from 'node:assert/strict';
import type net from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, test } from 'node:test';
import { operation, reading, writing, type TestIo } from '../../../test/contract/block-io.js';
import {
  blockSize,
  chunk,
  data,
  exporting,
  FLAGS,
  honestRequest,
  info,
  optionReply,
  serveScript,
  simple,
  SIZE,
  u16,
  u32,
  u64,
  type NbdRequest,
  type NbdScript,
} from '../../../test/support/nbd-script.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { BlockOp, BlockStatus } from '../../block/index.js';
import { NbdDevice, type NbdDeviceOptions } from './device.js';

describe('NBD device and a server that', { timeout: 60_000 }, () => {
  const folder = temporaryFolder();
  let count = 0;
  const cleanups: (() => Promise<unknown>)[] = [];
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup().catch(() => undefined);
  });

  async function listen(path: string, scriptOf: () => NbdScript | null): Promise<() => void> {
    const stop = await serveScript(path, scriptOf);
    cleanups.push(() => {
      stop();
      return Promise.resolve();
    });
    return stop;
  }

  async function open(script: NbdScript, options: NbdDeviceOptions = {}): Promise<NbdDevice> {
    const path = join(folder, `s${count++}`);
    await listen(path, () => script);
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`, {
      connectTimeout: 500,
      replyTimeout: 200,
      patience: 500,
      ...options,
    });
    cleanups.push(() => device.close());
    return device;
  }

  const refusals: [string, NbdScript, string, RegExp][] = [
    [
      'is none',
      { greeting: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n') },
      'NBD_PROTOCOL',
      /not an NBD server/,
    ],
    [
      'is old',
      { greeting: Buffer.from('NBDMAGIC\0\0\x42\x02\x81\x86\x12\x53\0\0', 'latin1') },
      'NBD_REFUSED',
      /too old/,
    ],
    ['says nothing', { greeting: Buffer.alloc(0) }, 'NBD_TIMEOUT', /within 0.5 s/],
    ['stops in the midst', { option: () => Buffer.alloc(3) }, 'NBD_TIMEOUT', /within 0.5 s/],
    [
      'does not have the export',
      { option: (o) => (o === 7 ? optionReply(7, 0x80000006, Buffer.from('no\n')) : undefined) },
      'NBD_REFUSED',
      /does not have its default export: no $/,
    ],
    [
      'wants TLS',
      { option: (o) => (o === 7 ? optionReply(7, 0x80000005) : undefined) },
      'NBD_REFUSED',
      /TLS/,
    ],
    [
      'does not know GO',
      { option: (o) => (o === 7 ? optionReply(7, 0x80000001) : undefined) },
      'NBD_REFUSED',
      /NBD_OPT_GO/,
    ],
    ['answers another option', { option: () => optionReply(3, 1) }, 'NBD_PROTOCOL', /nobody sent/],
    [
      'has endless replies',
      {
        option: (o) =>
          o === 7 ? Buffer.concat(new Array<Buffer>(100).fill(optionReply(7, 3, u16(9)))) : undefined,
      },
      'NBD_PROTOCOL',
      /without end/,
    ],
    [
      'has a huge reply',
      { option: () => optionReply(8, 1, Buffer.alloc(0), 0xffff_ffff) },
      'NBD_PROTOCOL',
      /4294967295 bytes/,
    ],
    [
      'tells no size',
      { option: (o) => (o === 7 ? optionReply(7, 1) : undefined) },
      'NBD_PROTOCOL',
      /does not tell the size/,
    ],
    [
      'tells half a size',
      {
        option: (o) =>
          o === 7 ? Buffer.concat([optionReply(7, 3, Buffer.alloc(5)), optionReply(7, 1)]) : undefined,
      },
      'NBD_PROTOCOL',
      /5 bytes where 12/,
    ],
    ['tells 16 EiB', exporting(info(2n ** 64n - 512n, FLAGS)), 'NBD_REFUSED', /8 PiB/],
    ['tells nothing to read', exporting(info(0n, FLAGS)), 'NBD_EMPTY', /0 bytes/],
    [
      'tells impossible blocks',
      exporting(info(1n << 20n, FLAGS), blockSize(3, 4096, 4096)),
      'NBD_PROTOCOL',
      /impossible block sizes/,
    ],
    [
      'has large blocks',
      exporting(info(1n << 20n, FLAGS), blockSize(65536, 65536, 65536)),
      'NBD_BLOCK_SIZE',
      /65536 bytes at least/,
    ],
  ];
  for (const [what, script, code, message] of refusals) {
    test(`${what} is refused`, () => assert.rejects(open(script), { code, message }));
  }

  test('is not there is told', () =>
    assert.rejects(NbdDevice.open(`nbd+unix:///?socket=${folder}/none`), { code: 'NBD_UNREACHABLE' }));

  const lies: [string, (request: NbdRequest) => Buffer, RegExp][] = [
    ['sends no magic', () => Buffer.alloc(32), /without its magic/],
    ['answers nobody', (r) => chunk({ ...r, cookie: Buffer.alloc(8, 0xff) }, 0), /nobody sent/],
    ['answers a read simply', (r) => simple(r), /simple reply/],
    ['sends nothing', (r) => chunk(r, 0), /leaves out/],
    ['sends too little', (r) => data(r, r.offset, 512), /leaves out/],
    ['sends too much', (r) => data(r, r.offset, 8192), /chunk of type 1 with 8200 bytes/],
    ['sends other bytes', (r) => data(r, r.offset + 512n, r.length), /nobody asked for/],
    ['sends bytes of the far end', (r) => data(r, 2n ** 64n - 512n, 512), /nobody asked for/],
    [
      'sends bytes twice',
      (r) => Buffer.concat([data(r, r.offset, 2048, false), data(r, r.offset, 2048)]),
      /same bytes twice/,
    ],
    [
      'sends a hole too large',
      (r) => chunk(r, 2, Buffer.concat([u64(r.offset), u32(0xffff_fe00)])),
      /nobody asked for/,
    ],
    [
      'sends a hole of nothing',
      (r) => chunk(r, 2, Buffer.concat([u64(r.offset), u32(0)])),
      /nobody asked for/,
    ],
    ['announces 4 GiB', (r) => chunk(r, 1, Buffer.alloc(8), true, 0xffff_ffff), /4294967295 bytes/],
    ['announces nothing', (r) => chunk(r, 1, Buffer.alloc(0)), /type 1 with 0 bytes/],
    ['sends extents for data', (r) => chunk(r, 5, Buffer.concat([u32(5), u32(512), u32(0)])), /type 5/],
    ['sends an unknown chunk', (r) => chunk(r, 77, Buffer.alloc(4)), /type 77/],
    [
      'fails without an error',
      (r) => chunk(r, 0x8001, Buffer.concat([u32(0), u16(0)])),
      /error that is none/,
    ],
    [
      'fails with an endless message',
      (r) => chunk(r, 0x8001, Buffer.concat([u32(5), u16(0xffff)])),
      /longer than its chunk/,
    ],
    [
      'fails far away',
      (r) => chunk(r, 0x8002, Buffer.concat([u32(5), u16(0), u64(0n)])),
      /nobody asked for anything/,
    ],
  ];
  for (const [what, lie, message] of lies) {
    test(`${what} costs the device`, async () => {
      const device = await open({ request: (r) => (r.type === 0 ? lie(r) : honestRequest(r)) });
      const io = reading(8192, 4096);
      assert.equal(await io.on(device), BlockStatus.NOT_READY);
      assert.match(String(io.cause), message);
      const after = reading(0, 512);
      assert.equal(await after.on(device), BlockStatus.NOT_READY);
      assert.match(String(after.cause), message);
    });
  }

  const wrongExtents: [string, (request: NbdRequest) => Buffer, RegExp][] = [
    ['tells no extents', (r) => chunk(r, 0), /tells no extents/],
    ['tells extents of no length', (r) => chunk(r, 5, Buffer.concat([u32(5), u32(0), u32(0)])), /no length/],
    [
      'tells of another context',
      (r) => chunk(r, 5, Buffer.concat([u32(6), u32(512), u32(0)])),
      /nobody selected/,
    ],
    ['tells half an extent', (r) => chunk(r, 5, Buffer.concat([u32(5), u32(512)])), /type 5 with 8 bytes/],
    ['announces a billion extents', (r) => chunk(r, 5, u32(5), true, 4 + 8 * 0x1fff_ffff), /type 5/],
  ];
  for (const [what, lie, message] of wrongExtents) {
    test(`${what} costs the device`, async () => {
      const device = await open({ request: lie });
      const io = operation(BlockOp.EXTENTS, 0, SIZE);
      assert.equal(await io.on(device), BlockStatus.NOT_READY);
      assert.match(String(io.cause), message);
    });
  }

  test('tells extents in odd pieces is understood in whole blocks', async () => {
    const pieces = [100, 3, 412, 0, 512, 3, 700, 3, 324, 3, 5000, 3, 0xffff_0000, 0].map(u32);
    const device = await open({ request: (r) => chunk(r, 5, Buffer.concat([u32(5), ...pieces])) });
    const io = operation(BlockOp.EXTENTS, 0, SIZE);
    assert.equal(await io.on(device), BlockStatus.GOOD);
    assert.deepEqual(io.extents, [
      { offset: 0, length: 512, mapped: true },
      { offset: 512, length: 1024, mapped: false },
      { offset: 1536, length: 512, mapped: true },
      { offset: 2048, length: 4608, mapped: false },
      { offset: 6656, length: SIZE - 6656, mapped: true },
    ]);
  });

  test('sends its data in pieces, in any order, is understood', async () => {
    const device = await open({
      request: (r) => {
        if (r.type !== 0) return honestRequest(r);
        const hole = chunk(r, 2, Buffer.concat([u64(r.offset + 512n), u32(512)]), false);
        return Buffer.concat([
          data(r, r.offset + 1024n, 1024, false),
          hole,
          data(r, r.offset, 512, false),
          chunk(r, 0),
        ]);
      },
    });
    const io = reading(4096, 2048);
    assert.equal(await io.on(device), BlockStatus.GOOD, String(io.cause));
    const expected = Buffer.alloc(2048, 0xab).fill(0, 512, 1024);
    assert.ok(io.data.toBuffer().equals(expected));
  });

  test('fails tells why and where', async () => {
    const at = (r: NbdRequest): Buffer =>
      chunk(r, 0x8002, Buffer.concat([u32(5), u16(5), Buffer.from('dust!'), u64(r.offset + 600n)]));
    const device = await open({
      request: (r) => (r.type === 0 ? at(r) : chunk(r, 0x8001, Buffer.concat([u32(28), u16(0)]))),
    });
    const read = reading(4096, 2048);
    assert.equal(await read.on(device), BlockStatus.MEDIUM_ERROR);
    assert.equal(read.errorOffset, 4608);
    assert.match(String(read.cause), /EIO: dust!/);
    const write = writing(512, Buffer.alloc(512));
    assert.equal(await write.on(device), BlockStatus.NO_SPACE);
    assert.equal(write.errorOffset, 512);
  });

  for (const [what, answer] of [
    ['hangs', () => null],
    [
      'drips',
      (r: NbdRequest, socket: net.Socket) => {
        const all = data(r, r.offset, r.length);
        let at = 0;
        const timer = setInterval(() => {
          if (socket.destroyed || at === all.length) clearInterval(timer);
          else socket.write(all.subarray(at, ++at));
        }, 20);
        return null;
      },
    ],
    [
      'hangs up at every request',
      (_: NbdRequest, socket: net.Socket) => {
        socket.destroy();
        return null;
      },
    ],
  ] as [string, NonNullable<NbdScript['request']>][]) {
    test(`${what} is given up within the time that it has`, async () => {
      const device = await open({ request: answer });
      for (const io of [reading(0, 4096), writing(0, Buffer.alloc(4096))]) {
        assert.equal(await io.on(device), BlockStatus.NOT_READY);
        assert.ok(io.cause !== null);
      }
    });
  }

  test('vanishes and comes back loses nothing that was asked for', async () => {
    const path = join(folder, `s${count++}`);
    let lives = 0;
    const script = (): NbdScript => {
      const mayAnswer = lives++ * 3;
      let answered = 0;
      return {
        request: (r, socket) => {
          if (answered++ <= mayAnswer) return honestRequest(r);
          socket.destroy();
          return null;
        },
      };
    };
    await listen(path, script);
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`, { patience: 20_000 });
    cleanups.push(() => device.close());
    const ios: TestIo[] = Array.from({ length: 20 }, (_, i) =>
      i % 2 === 0 ? reading(i * 4096, 4096) : writing(i * 4096, Buffer.alloc(4096, i)),
    );
    const statuses = await Promise.all(ios.map((io) => io.on(device)));
    assert.deepEqual(new Set(statuses), new Set([BlockStatus.GOOD]));
    assert.ok(lives > 2);
    for (let i = 0; i < 20; i += 2) assert.ok(ios[i]!.data.toBuffer().every((byte) => byte === 0xab));
  });

  test('stays away fails what waits, then everything at once; back, it serves again', async () => {
    const path = join(folder, `s${count++}`);
    const stop = await listen(path, () => ({}));
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`, { patience: 300, replyTimeout: 200 });
    cleanups.push(() => device.close());
    stop();
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(await reading(0, 512).on(device), BlockStatus.NOT_READY);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(device.submit(reading(0, 512)), true);
    await listen(path, () => ({}));
    let status: BlockStatus = BlockStatus.NOT_READY;
    for (let tries = 0; tries < 200 && status !== BlockStatus.GOOD; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 50));
      status = await reading(0, 512).on(device);
    }
    assert.equal(status, BlockStatus.GOOD);
  });

  test('comes back as something else is not used', async () => {
    let times = 0;
    const path = join(folder, `s${count++}`);
    await listen(path, () => ({
      option: (o) =>
        times++ > 2 && o === 7
          ? Buffer.concat([optionReply(7, 3, info(BigInt(SIZE), 3)), optionReply(7, 1)])
          : undefined,
      request: (_, socket) => {
        socket.destroy();
        return null;
      },
    }));
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`, { patience: 400 });
    cleanups.push(() => device.close());
    const io = reading(0, 512);
    assert.equal(await io.on(device), BlockStatus.NOT_READY);
    assert.match(String(io.cause), /another export/);
  });

  test('shuts down in order is asked again', async () => {
    let lives = 0;
    const path = join(folder, `s${count++}`);
    await listen(path, () => {
      const isLeaving = lives++ === 0;
      return {
        request: (r) =>
          isLeaving && r.type !== 2 ? chunk(r, 0x8001, Buffer.concat([u32(108), u16(0)])) : honestRequest(r),
      };
    });
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`);
    cleanups.push(() => device.close());
    assert.equal(await reading(0, 512).on(device), BlockStatus.GOOD);
    assert.equal(lives, 2);
  });

  test('cannot do much is used as far as it goes', async () => {
    const types: number[] = [];
    const path = join(folder, `s${count++}`);
    // No structured replies, no contexts, no zeroes, no FUA, 64 KiB at most.
    await listen(path, () => ({
      option: (o) => {
        if (o !== 7) return optionReply(o, 0x80000001);
        return Buffer.concat([
          optionReply(7, 3, info(BigInt(SIZE), 0b101)),
          optionReply(7, 3, blockSize(1, 4096, 65536)),
          optionReply(7, 1),
        ]);
      },
      request: (r) => {
        types.push(r.type);
        if (r.type === 2) return null;
        return r.type === 0 ? Buffer.concat([simple(r), Buffer.alloc(r.length, 0xab)]) : simple(r);
      },
    }));
    const device = await NbdDevice.open(`nbd+unix:///?socket=${path}`);
    assert.equal(device.unmapGranularity, 0);
    const read = reading(0, 300 * 1024);
    assert.equal(await read.on(device), BlockStatus.GOOD);
    assert.ok(read.data.toBuffer().every((byte) => byte === 0xab));
    assert.deepEqual(types.splice(0), [0, 0, 0, 0, 0]);
    assert.equal(await writing(0, Buffer.alloc(65536), true).on(device), BlockStatus.GOOD);
    assert.deepEqual(types.splice(0), [1, 3], 'FUA by a flush');
    assert.equal(await operation(BlockOp.UNMAP, 0, 131072).on(device), BlockStatus.GOOD);
    assert.deepEqual(types.splice(0), [1, 1], 'zeroes by writes');
    const extents = operation(BlockOp.EXTENTS, 0, SIZE);
    assert.equal(await extents.on(device), BlockStatus.GOOD);
    assert.deepEqual(extents.extents, [{ offset: 0, length: SIZE, mapped: true }]);
    await device.close();
    for (let tries = 0; tries < 500 && types.length < 2; tries++)
      await new Promise((resolve) => setTimeout(resolve, 10));
    assert.deepEqual(types, [3, 2], 'what was not flushed is, before the end');
  });
});
