/** How iSCSI moves commands and data (RFC 5047): the contract, and the Datamover over TCP. */

export * from './datamover.js';
export { acceptTcp, connectTcp } from './tcp/index.js';
