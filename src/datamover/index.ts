/** How iSCSI moves commands and data (RFC 5047): the contract, and the Datamovers over TCP and over RDMA. */

export * from './datamover.js';
export { acceptTcp, connectTcp } from './tcp/index.js';
export { acceptIser, connectIser, RegisteredMemory } from './iser/index.js';
