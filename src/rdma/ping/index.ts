/** rping's protocol in both roles, over any provider. */

export { PingClient, type PingOptions } from './client.js';
export { MAX_PING_SIZE, pingText } from './data.js';
export { PingServer, type PingServerEvents, type PingServerOptions, type ServedClient } from './server.js';
