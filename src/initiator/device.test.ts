import { MemoryDevice } from '../block/index.js';
import { blockDeviceContract } from '../../test/contract/block-device.js';
import { TestTarget } from '../../test/support/target.js';
import { connect } from './connect.js';

for (const blockSize of [512, 4096]) {
  blockDeviceContract(`LUN, ${blockSize}`, async ({ size, readOnly }) => {
    const medium = new MemoryDevice({ size, blockSize, readOnly });
    const target = await TestTarget.start([{ device: medium }]);
    const lun = await connect(target.url(0));
    return {
      device: lun.device,
      resizeMedium: (bytes) => {
        medium.resize(bytes);
        return Promise.resolve();
      },
      dispose: async () => {
        await lun.close();
        await target.close();
      },
    };
  });
}
