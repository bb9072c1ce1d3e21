/** Disks: the contract, and the media that fulfil it. */

export * from './device.js';
export { blockFailure } from './failure.js';
export { FileDevice, type FileDeviceOptions } from './file.js';
export { createImage } from './image.js';
export { MemoryDevice, type MemoryDeviceOptions } from './memory.js';
