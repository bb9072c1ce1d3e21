/** Bandwidth and latency of RDMA, by the exchange of perftest with `-R`; over any provider of the Verbs. */

export { type ClientOptions, runClient } from './client.js';
export { checkPlan, completePlan, describePlan, type Operation, OPERATIONS, type Plan } from './plan.js';
export type { Bandwidth, Latency } from './results.js';
export { BenchServer, type ServedRun, type ServerOptions } from './server.js';
export type { Result } from './session.js';
