/** Disks: the contract, and the media that fulfil it. */

export { AwaitedIo, blockFailure } from './awaited.js';
export * from './device.js';
export { FileDevice, type FileDeviceOptions } from './file.js';
export { createImage } from './image.js';
export { MemoryDevice, type MemoryDeviceOptions } from './memory.js';
export { refused } from './admission.js';
