import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { blockDeviceContract, type MakeDevice } from '../../../test/contract/block-device.js';
import { nbdkitFile, qemuNbd, type NbdServerProcess } from '../../../test/support/nbd-servers.js';
import { peer } from '../../../test/support/peers.js';
import { temporaryFolder } from '../../../test/support/temporary.js';
import { createImage, FileDevice, MemoryDevice, type MemoryDeviceOptions } from '../../block/index.js';
import { serveNbd } from '../server/server.js';
import { NbdDevice, type NbdDeviceOptions } from './device.js';

const folder = temporaryFolder();
let count = 0;
const newPath = (): string => join(folder, `${count++}`);

const onMemory =
  (memoryOptions: Omit<MemoryDeviceOptions, 'size'>, options: NbdDeviceOptions = {}): MakeDevice =>
  async ({ size, readOnly }) => {
    const memory = new MemoryDevice({ ...memoryOptions, size, readOnly });
    const server = await serveNbd(memory, { socket: newPath() }, { exportName: 'ram disk' });
    const device = await NbdDevice.open(server.uri, options);
    return {
      device,
      resizeMedium: (bytes) => {
        memory.resize(bytes);
        return Promise.resolve();
      },
      dispose: async () => {
        await device.close();
        await server.close();
      },
    };
  };

const onFile: MakeDevice = async ({ size, readOnly }) => {
  const path = newPath();
  await createImage(path, size);
  const file = await FileDevice.open(path, { readOnly });
  const server = await serveNbd(file, { host: '127.0.0.1', port: 0 });
  const device = await NbdDevice.open(server.uri);
  return {
    device,
    resizeMedium: async (bytes) => {
      await truncate(path, bytes);
      await file.refresh();
    },
    dispose: async () => {
      await device.close();
      await server.close();
      await file.close();
    },
  };
};

type StartServer = (image: { file: string; socket: string; readOnly: boolean }) => NbdServerProcess;

/** `restarts`: the server does not look at its file again. */
const onProcess =
  (serverOf: StartServer, restarts: boolean): MakeDevice =>
  async ({ size, readOnly }) => {
    const file = newPath();
    await createImage(file, size);
    const server = serverOf({ file, socket: newPath(), readOnly });
    await server.start();
    const device = await NbdDevice.open(server.uri);
    return {
      device,
      resizeMedium: async (bytes) => {
        if (restarts) await server.stop();
        await truncate(file, bytes);
        if (restarts) await server.start();
      },
      dispose: async () => {
        await device.close();
        await server.stop();
      },
    };
  };

blockDeviceContract('NBD, memory behind Riser', onMemory({}));
blockDeviceContract('NBD, 4096-byte blocks', onMemory({ blockSize: 4096 }));
blockDeviceContract('NBD, fully provisioned, one connection', onMemory({ thin: false }, { connections: 1 }));
blockDeviceContract('NBD, file behind Riser', onFile);

const qemu = peer('qemu-nbd', 'qemu-utils');
if (qemu.skip === false) {
  blockDeviceContract(
    'NBD, qemu-nbd',
    onProcess((image) => qemuNbd(qemu.path, image), true),
  );
}
const nbdkit = peer('nbdkit', 'nbdkit');
if (nbdkit.skip === false) {
  blockDeviceContract(
    'NBD, nbdkit',
    onProcess((image) => nbdkitFile(nbdkit.path, image), false),
  );
}
