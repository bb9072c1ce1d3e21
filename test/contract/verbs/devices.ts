/** Devices are found, opened and closed. */

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { VerbsSuite } from './suite.js';

export function devicesContract(suite: VerbsSuite): void {
  describe('devices', () => {
    it('are listed, with addresses', async () => {
      const listed = await suite.harness.provider.devices();
      const found = listed.find(({ name: listedName }) => listedName === suite.harness.deviceName);
      assert.ok(found);
      assert.ok(found.addresses.includes(suite.harness.address));
      assert.equal(suite.harness.provider.probe().isUsable, true);
    });

    it('that are not there cannot be opened', async () => {
      await assert.rejects(suite.harness.provider.open('no-such-device'), { code: 'RDMA_DEVICE_MISSING' });
    });

    it('do not close while something of them is in use, nor do domains and queues', async () => {
      const { active } = await suite.connect();
      await assert.rejects(suite.devices[0].close(), { code: 'RDMA_MISUSE' });
      assert.throws(
        () => {
          active.domain.close();
        },
        { code: 'RDMA_MISUSE' },
      );
      assert.throws(
        () => {
          active.queue.close();
        },
        { code: 'RDMA_MISUSE' },
      );
    });
  });
}
