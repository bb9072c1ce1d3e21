import { RiserError } from '../util/errors.js';

/** The caller broke the contract; nothing has changed. */
export function misuse(what: string): RiserError {
  return new RiserError('RDMA_MISUSE', what, { by: 'local', costs: 'task' });
}
