/** The client of iSNS servers (RFC 4171): registers targets, and finds those of others. */

export { discoverByIsns, type IsnsPortal, type IsnsTarget } from './discovery.js';
export { formatServer, type ServerAddress } from './errors.js';
export type { ListeningPortal } from './portals.js';
export { Registrar, type Wanted } from './registrar.js';
export { ISNS_PORT } from './wire/codes.js';
