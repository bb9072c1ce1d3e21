/** The application client's side of SCSI: CDBs to send, and what the answers say. */

export * from './answers.js';
export * from './mode-pages.js';
export * from './target-port-groups.js';
export * as cdbs from './cdbs.js';
export { OpCode, ServiceAction } from './op-codes.js';
