/**
 * `riser/rdma`: remote memory without an adapter, or with one.
 *
 * @example
 * const device = await new IwarpProvider().open('iwarp');
 * const connection = await device.resolve({ host: 'storage.example', port: 7174 });
 */

export * from './verbs.js';
export * from './work.js';
export { IwarpDevice, type IwarpOptions, IwarpProvider } from './iwarp/device.js';
export {
  adapterProviders,
  findDevice,
  type FoundDevice,
  fullName,
  listDevices,
  openDevice,
  providers,
} from './providers.js';
export type { StartOptions } from './iwarp/connection.js';
export { NativeProvider } from './native/provider.js';
export { allocatePages } from './native/memory.js';
export { infoOf, type StreamInfo } from './iwarp/tcp.js';
export * from './ping/index.js';
