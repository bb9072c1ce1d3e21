/** Queue pairs: reliable connected ones, whose states the connection manager's identifiers lead through. */
#pragma once

#include "completion_queue.h"
#include "memory_region.h"
#include "protection_domain.h"
#include "shared_receive_queue.h"
#include "work_requests.h"

/** It holds all that it uses, which libibverbs wants to be destroyed after it. */
struct QueuePairCore {
  std::shared_ptr<DomainCore> domain;
  std::shared_ptr<QueueCore> sendQueue;
  std::shared_ptr<QueueCore> receiveQueue;
  std::shared_ptr<SharedQueueCore> shared;
  ibv_qp* qp = nullptr;
  uint32_t maxSges = 0;
  ~QueuePairCore();
};

/** What a binding is of. */
struct Binding {
  std::shared_ptr<WindowCore> window;
  std::shared_ptr<RegionCore> region;
};

class QueuePair : public Wrap<QueuePair> {
 public:
  static constexpr const char* NAME = "QueuePair";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960007};
  static Napi::Function define(Napi::Env env);

  /**
   * new QueuePair(domain, sendQueue, receiveQueue, sharedReceiveQueue | null, maxSends, maxReceives, maxSges, key,
   * sendRecords, receiveRecords)
   */
  explicit QueuePair(const Napi::CallbackInfo& info);

  const std::shared_ptr<QueuePairCore>& core(Napi::Env env) const;

 private:
  Napi::Value number(const Napi::CallbackInfo& info);
  Napi::Value postSends(const Napi::CallbackInfo& info);
  Napi::Value postReceives(const Napi::CallbackInfo& info);
  void fail(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  void readSend(Napi::Env env, const uint32_t* record, const std::vector<Binding>& bindings, ibv_send_wr& request,
                ibv_sge* sges);

  std::shared_ptr<QueuePairCore> core_;
  Records sendRecords_;
  Records receiveRecords_;
  ReceiveChain receives_;
  std::vector<ibv_send_wr> sends_;
  std::vector<ibv_sge> sges_;
};
