/** What libiscsi's command-line tools print about LUNs of several kinds. */

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { MemoryDevice } from '../../src/block/index.js';
import { peer } from '../support/peers.js';
import { runProgram, runToSuccess } from '../support/run-program.js';
import { TARGET_NAME, TestTarget } from '../support/target.js';

const GIB = 1024 ** 3;

const ls = peer('iscsi-ls', 'libiscsi-bin');
const inq = peer('iscsi-inq', 'libiscsi-bin');
const readCapacity = peer('iscsi-readcapacity16', 'libiscsi-bin');
const swp = peer('iscsi-swp', 'libiscsi-bin');

for (const transport of ['tcp', 'iser'] as const) {
  describe(`libiscsi tools over ${transport}`, { skip: ls.skip }, () => {
    let target: TestTarget;

    before(async () => {
      target = await TestTarget.start(
        [
          { device: new MemoryDevice({ size: GIB + 512, blockSize: 512 }), physicalBlockSize: 4096 },
          {
            device: new MemoryDevice({ size: 2 * GIB + 4096, blockSize: 4096, thin: false }),
            provisioning: 'full',
          },
          { device: new MemoryDevice({ size: GIB + 512, blockSize: 512 }), removable: true },
        ],
        { transport },
      );
    });
    after(async () => {
      await target.close();
      assert.deepEqual([...target.transports], [transport]);
    });

    const inquire = (lun: number, page?: number): Promise<string> =>
      runToSuccess(inq.path, [
        ...(page === undefined ? [] : ['-e', '1', '-c', String(page)]),
        target.url(lun),
      ]);

    test('iscsi-ls -s lists the target and its LUNs with their sizes', async () => {
      const said = await runToSuccess(ls.path, ['-s', `iscsi://127.0.0.1:${target.port}`]);
      assert.match(said, new RegExp(`^Target:${TARGET_NAME} Portal:127\\.0\\.0\\.1:${target.port},1$`, 'm'));
      // The tool divides while more than 1024 is left, so 1 GiB is 1024 MiB to it.
      assert.match(said, /^Lun:0 +Type:DIRECT_ACCESS \(Size:1024M\)$/m);
      assert.match(said, /^Lun:1 +Type:DIRECT_ACCESS \(Size:2G\)$/m);
      assert.match(said, /^Lun:2 +Type:DIRECT_ACCESS \(Size:1024M\)$/m);
      assert.equal(said.match(/^Lun:/gm)?.length, 3);
    });

    test('iscsi-inq prints the standard data', async () => {
      const said = await inquire(0);
      for (const line of [
        /^Peripheral Device Type:DIRECT_ACCESS$/m,
        /^Removable:0$/m,
        /^ReponseDataFormat:2$/m,
        /^CmdQue:1$/m,
        /^Vendor:RISER *$/m,
        /^Product:\S.*$/m,
        /^Revision:\S.*$/m,
        // RFC 7144 4.2: level 1, the default; its name is not known to the tool.
        /^Version Descriptor:0961 /m,
      ]) {
        assert.match(said, line);
      }
      assert.match(await inquire(2), /^Removable:1$/m);
    });

    test('page 00h lists every page that is there', async () => {
      const said = await inquire(0, 0x00);
      const pages = [...said.matchAll(/^Page:0x([0-9a-f]{2})/gm)].map((match) => match[1]);
      assert.deepEqual(pages, ['00', '80', '83', '86', '87', '8f', 'b0', 'b1', 'b2']);
    });

    test('page 80h has a serial number, another one for each LUN', async () => {
      const serials = await Promise.all([0, 1, 2].map((lun) => inquire(lun, 0x80)));
      for (const serial of serials) assert.match(serial, /^Unit Serial Number:\[\S+\]$/m);
      assert.equal(new Set(serials).size, 3);
    });

    test('page 83h designates the logical unit by NAA and the target by name', async () => {
      const said = await inquire(0, 0x83);
      assert.match(said, /^Designator Type:\(3\) NAA$/m);
      assert.match(said, /^Association:\(0\) LOGICAL_UNIT$/m);
      assert.match(said, /^Designator Type:\(8\) SCSI_NAME_STRING$/m);
      assert.ok(said.includes(TARGET_NAME));
    });

    test('page B0h gives the limits of UNMAP only where units unmap', async () => {
      const limit = (said: string, name: string): number =>
        Number(new RegExp(`^${name}:(\\d+)$`, 'm').exec(said)![1]);
      const thin = await inquire(0, 0xb0);
      assert.ok(limit(thin, 'maximum transfer length') > 0);
      assert.ok(limit(thin, 'maximum compare and write length') > 0);
      assert.ok(limit(thin, 'maximum unmap lba count') > 0);
      assert.ok(limit(thin, 'maximum unmap block descriptor count') > 0);
      assert.equal(limit(await inquire(1, 0xb0), 'maximum unmap lba count'), 0);
    });

    test('page B1h says that nothing rotates', async () => {
      // 1 stands for a non-rotating medium (SBC-3 6.5.2).
      assert.match(await inquire(0, 0xb1), /^Medium Rotation Rate:1RPM$/m);
    });

    test('page B2h tells thin from fully provisioned', async () => {
      const thin = await inquire(0, 0xb2);
      for (const line of [
        /^lbpu:1$/m,
        /^lbpws:1$/m,
        /^lbpws10:1$/m,
        /^lbprz:1$/m,
        /^provisioning type:2$/m,
      ]) {
        assert.match(thin, line);
      }
      // Without provisioning the page need not exist (SBC-3 6.5.4).
      assert.doesNotMatch(await inquire(1, 0x00), /^Page:0xb2/m);
    });

    test('a page that is not there is refused', async () => {
      const { status } = await runProgram(inq.path, ['-e', '1', '-c', String(0xc0), target.url(0)]);
      assert.notEqual(status, 0);
    });

    test('iscsi-readcapacity16 prints size, block length and provisioning', async () => {
      const thin = await runToSuccess(readCapacity.path, [target.url(0)]);
      assert.match(thin, new RegExp(`^RETURNED LOGICAL BLOCK ADDRESS:${(GIB + 512) / 512 - 1}$`, 'm'));
      assert.match(thin, /^LOGICAL BLOCK LENGTH IN BYTES:512$/m);
      assert.match(thin, /LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT:3$/m);
      assert.match(thin, /^LBPME:1 LBPRZ:1$/m);
      assert.match(thin, new RegExp(`^Total size:${GIB + 512}$`, 'm'));
      const full = await runToSuccess(readCapacity.path, [target.url(1)]);
      assert.match(full, /^LOGICAL BLOCK LENGTH IN BYTES:4096$/m);
      assert.match(full, /^LBPME:0 /m);
      assert.match(full, new RegExp(`^Total size:${2 * GIB + 4096}$`, 'm'));
    });

    test('iscsi-swp turns software write protection on and off', async () => {
      await runToSuccess(swp.path, ['-s', 'on', target.url(0)]);
      const initiator = await target.login();
      try {
        assert.match(await runToSuccess(swp.path, [target.url(0)]), /^SWP:1$/m);
        const refused = await initiator.write(0, 0, Buffer.alloc(512));
        assert.equal(refused.status, 2);
        assert.equal(refused.sense[2]! & 0x0f, 7, 'DATA PROTECT');
        await runToSuccess(swp.path, ['-s', 'off', target.url(0)]);
        assert.match(await runToSuccess(swp.path, [target.url(0)]), /^SWP:0$/m);
      } finally {
        initiator.destroy();
      }
    });
  });
}
