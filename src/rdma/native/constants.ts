/** Numbers of libibverbs and librdmacm (infiniband/verbs.h, rdma/rdma_cma.h). */

import { SendOpcode } from '../work.js';

/** enum ibv_wr_opcode, by {@link SendOpcode}. */
export const WR_OPCODE: readonly number[] = (() => {
  const codes: number[] = [];
  codes[SendOpcode.RDMA_WRITE] = 0;
  codes[SendOpcode.RDMA_WRITE_WITH_IMMEDIATE] = 1;
  codes[SendOpcode.SEND] = 2;
  codes[SendOpcode.SEND_WITH_IMMEDIATE] = 3;
  codes[SendOpcode.RDMA_READ] = 4;
  codes[SendOpcode.ATOMIC_COMPARE_SWAP] = 5;
  codes[SendOpcode.ATOMIC_FETCH_ADD] = 6;
  codes[SendOpcode.LOCAL_INVALIDATE] = 7;
  codes[SendOpcode.BIND_WINDOW] = 8;
  codes[SendOpcode.SEND_WITH_INVALIDATE] = 9;
  return codes;
})();

/** enum ibv_send_flags */
export const WrFlag = { FENCE: 1, SIGNALED: 2, SOLICITED: 4 } as const;

/** enum ibv_wc_flags; of the second both bits, as rdma_rxe sets the kernel's own. */
export const WcFlag = { WITH_IMMEDIATE: 2, WITH_INVALIDATE: 8 | 4 } as const;

/** enum ibv_qp_state */
export const QpState = { INIT: 1, RTR: 2, RTS: 3 } as const;

/** enum ibv_port_state */
export const PORT_STATES = ['NOP', 'DOWN', 'INIT', 'ARMED', 'ACTIVE', 'ACTIVE_DEFER'] as const;

/** enum ibv_event_type */
export const AsyncEvent = {
  CQ_ERR: 0,
  QP_FATAL: 1,
  QP_REQ_ERR: 2,
  QP_ACCESS_ERR: 3,
  COMM_EST: 4,
  DEVICE_FATAL: 8,
  PORT_ACTIVE: 9,
  PORT_ERR: 10,
} as const;

/** enum rdma_cm_event_type */
export const CmEvent = {
  ADDR_RESOLVED: 0,
  ADDR_ERROR: 1,
  ROUTE_RESOLVED: 2,
  ROUTE_ERROR: 3,
  CONNECT_REQUEST: 4,
  CONNECT_RESPONSE: 5,
  CONNECT_ERROR: 6,
  UNREACHABLE: 7,
  REJECTED: 8,
  ESTABLISHED: 9,
  DISCONNECTED: 10,
  DEVICE_REMOVAL: 11,
  ADDR_CHANGE: 14,
} as const;

/** Status of REJECTED on InfiniBand and RoCE: nobody listens there (IB_CM_REJ_INVALID_SERVICE_ID). */
export const REJECTED_NOBODY_LISTENS = 8;
