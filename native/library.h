/** libibverbs and librdmacm, opened at run time: what is not there is told, and nothing is linked. */
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

#include <string>

// Macros that would call functions of the library directly.
#undef ibv_query_port
#undef ibv_reg_mr

#define RISER_VERBS_FUNCTIONS(X)                                                                       \
  X(ibv_get_device_list)                                                                               \
  X(ibv_free_device_list)                                                                              \
  X(ibv_get_device_name)                                                                               \
  X(ibv_open_device)                                                                                   \
  X(ibv_close_device)                                                                                  \
  X(ibv_query_device)                                                                                  \
  X(ibv_query_port)                                                                                    \
  X(ibv_get_async_event)                                                                               \
  X(ibv_ack_async_event)                                                                               \
  X(ibv_alloc_pd)                                                                                      \
  X(ibv_dealloc_pd)                                                                                    \
  X(ibv_reg_mr)                                                                                        \
  X(ibv_dereg_mr)                                                                                      \
  X(ibv_create_comp_channel)                                                                           \
  X(ibv_destroy_comp_channel)                                                                          \
  X(ibv_create_cq)                                                                                     \
  X(ibv_destroy_cq)                                                                                    \
  X(ibv_get_cq_event)                                                                                  \
  X(ibv_ack_cq_events)                                                                                 \
  X(ibv_create_srq)                                                                                    \
  X(ibv_destroy_srq)                                                                                   \
  X(ibv_create_qp)                                                                                     \
  X(ibv_modify_qp)                                                                                     \
  X(ibv_destroy_qp)

#define RISER_CM_FUNCTIONS(X)                                                                          \
  X(rdma_create_event_channel)                                                                         \
  X(rdma_destroy_event_channel)                                                                        \
  X(rdma_create_id)                                                                                    \
  X(rdma_destroy_id)                                                                                   \
  X(rdma_bind_addr)                                                                                    \
  X(rdma_listen)                                                                                       \
  X(rdma_resolve_addr)                                                                                 \
  X(rdma_resolve_route)                                                                                \
  X(rdma_connect)                                                                                      \
  X(rdma_establish)                                                                                    \
  X(rdma_accept)                                                                                       \
  X(rdma_reject)                                                                                       \
  X(rdma_disconnect)                                                                                   \
  X(rdma_notify)                                                                                       \
  X(rdma_init_qp_attr)                                                                                 \
  X(rdma_get_cm_event)                                                                                 \
  X(rdma_ack_cm_event)                                                                                 \
  X(rdma_get_src_port)                                                                                 \
  X(rdma_get_devices)                                                                                  \
  X(rdma_free_devices)

/** The functions of both libraries by their own names; valid once {@link openLibraries} has returned null. */
struct Library {
#define RISER_MEMBER(name) decltype(&::name) name = nullptr;
  RISER_VERBS_FUNCTIONS(RISER_MEMBER)
  RISER_CM_FUNCTIONS(RISER_MEMBER)
#undef RISER_MEMBER
};

/** Filled in once for the whole process, whatever threads there are, and never changed after that. */
extern Library lib;

/** Open both libraries. Empty, or what is missing. */
const std::string& openLibraries();
