/** NBD in both roles: a server that exports any block device, and a block device that a server exports. */

export { NbdDevice, type NbdDeviceOptions } from './client/device.js';
export { NbdServer, serveNbd, type NbdServerOptions, type ServedNbd } from './server/server.js';
export { formatNbdUri, isNbdUri, parseNbdUri, type NbdAddress, type NbdUri } from './uri.js';
