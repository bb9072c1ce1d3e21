/** Without libraries, without an addon, or with one that is none: what is wrong is told, and software iWARP is there. */

import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';

import { CliProcess } from '../../../test/support/cli-process.js';
import { ROOT } from '../../../test/support/files.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { addonFault } from './addon-file.js';
import { probeBy } from './library.js';

const ARCHITECTURES = ['x64', 'arm64'] as const;
const here = ARCHITECTURES.find((arch) => arch === process.arch);
const skip =
  process.platform !== 'linux' || here === undefined
    ? `there is no prebuilt addon for ${process.platform}-${process.arch}`
    : false;
const prebuilt = (arch: string): string => join(ROOT, 'prebuilds', `linux-${arch}`, 'riser-verbs.node');

/** Why verbs are not usable, by `riser rdma devices` in this environment. */
async function reasonWith(env: NodeJS.ProcessEnv): Promise<string> {
  const { exitCode, stdout, stderr } = await new CliProcess(['rdma', 'devices', '--json'], { env }).ended();
  assert.deepEqual([exitCode, stderr], [0, '']);
  const { providers } = JSON.parse(stdout) as {
    providers: { provider: string; isUsable: boolean; reason: string }[];
  };
  const [iwarp, verbs] = providers;
  assert.deepEqual([iwarp!.provider, iwarp!.isUsable], ['iwarp', true]);
  assert.deepEqual([verbs!.provider, verbs!.isUsable], ['verbs', false]);
  return verbs!.reason;
}

const folder = temporaryFolder();

function file(name: string, contents: Uint8Array | string): string {
  const path = join(folder, name);
  writeFileSync(path, contents);
  return path;
}

describe('the addon', () => {
  it('is whole, and for the right processor', () => {
    for (const arch of ARCHITECTURES) {
      for (const wanted of ARCHITECTURES) {
        const fault = arch === wanted ? null : 'it is for another processor';
        assert.equal(addonFault(prebuilt(arch), wanted), fault);
      }
    }
  });

  it('is told from what is none, wherever it is cut off', () => {
    const whole = readFileSync(prebuilt('x64'));
    for (const length of [0, 1, 5, 63])
      assert.equal(addonFault(file('cut', whole.subarray(0, length)), 'x64'), 'it is no shared object');
    for (const length of [64, 4096, whole.length >> 1, whole.length - 1])
      assert.equal(addonFault(file('cut', whole.subarray(0, length)), 'x64'), 'it is cut off');
    assert.equal(addonFault(file('text', 'x'.repeat(100)), 'x64'), 'it is no shared object');
    assert.throws(() => addonFault(folder, 'x64'), { code: 'EISDIR' });
  });

  it('may be damaged, of another processor, or missing', { skip }, async () => {
    const cut = file('cut.node', readFileSync(prebuilt(here!)).subarray(0, 100_000));
    const other = prebuilt(ARCHITECTURES.find((arch) => arch !== here)!);
    const none = join(folder, 'none.node');
    for (const [path, why] of [
      [cut, 'it is cut off'],
      [other, 'it is for another processor'],
      [none, `there is no file ${none}, which RISER_VERBS_ADDON names`],
      [folder, 'EISDIR'],
    ] as const) {
      const reason = await reasonWith({ RISER_VERBS_ADDON: path });
      assert.ok(reason.includes(path) && reason.includes(why), reason);
      if (path !== none) assert.match(reason, /"npm run build:native" in a checkout/);
    }
  });

  it('may be of another version', { skip }, async () => {
    // Any addon is: this one is CRC32C's, which Riser depends on.
    const other = join(folder, 'other.node');
    const crc32c = { x64: 'crc32-linux-x64-gnu', arm64: 'crc32-linux-arm64-gnu' }[here!];
    copyFileSync(
      join(ROOT, 'node_modules/@node-rs', crc32c, `${crc32c.replace('crc32-', 'crc32.')}.node`),
      other,
    );
    assert.match(
      await reasonWith({ RISER_VERBS_ADDON: other }),
      /^the addon .*other\.node is of another version of Riser, it has no missing: remove it/,
    );
  });

  for (const library of ['libibverbs.so.1', 'librdmacm.so.1']) {
    it(`works without ${library}, and says what brings it`, { skip }, async () => {
      // The loader takes this one before the system's, and cannot use it.
      mkdirSync(join(folder, library));
      file(join(library, library), '');
      const env = { RISER_VERBS_ADDON: prebuilt(here!), LD_LIBRARY_PATH: join(folder, library) };
      // Of the two, libibverbs is looked for first, and may be missing here too.
      const reason = await reasonWith(env);
      assert.match(reason, /^lib(ibverbs|rdmacm)\.so\.1 is missing: apt install .*, or: dnf install /);
      if (library === 'libibverbs.so.1') assert.match(reason, /^libibverbs/);
    });
  }
});

describe('the probe', () => {
  const withDevices = (...names: string[]): Parameters<typeof probeBy>[0] => ({
    missing: () => '',
    deviceNames: () => names,
  });
  const root = join(folder, 'root');

  it('tells no device from one that programs do not reach', () => {
    assert.match(probeBy(withDevices(), root).reason, /^there is no RDMA device: /);
    mkdirSync(join(root, 'sys/class/infiniband/mlx5_0'), { recursive: true });
    assert.match(
      probeBy(withDevices(), root).reason,
      /^libibverbs does not find mlx5_0 of the kernel: "modprobe ib_uverbs" .*apt install ibverbs-providers/,
    );
  });

  it('needs the way to connections', () => {
    const { isUsable, reason } = probeBy(withDevices('mlx5_0'), root);
    assert.equal(isUsable, false);
    assert.match(reason, /^\/dev\/infiniband\/rdma_cm cannot be opened: "modprobe rdma_ucm"/);
    mkdirSync(join(root, 'dev/infiniband'), { recursive: true });
    writeFileSync(join(root, 'dev/infiniband/rdma_cm'), '');
    assert.deepEqual(probeBy(withDevices('mlx5_0', 'siw0'), root), {
      isUsable: true,
      reason: 'by libibverbs, on mlx5_0, siw0',
    });
  });

  it('says which library is missing', () => {
    const { reason } = probeBy({ missing: () => 'librdmacm.so.1 is missing', deviceNames: () => [] }, root);
    assert.match(
      reason,
      /^librdmacm\.so\.1 is missing: apt install .*librdmacm1, or: dnf install .*librdmacm/,
    );
  });
});
