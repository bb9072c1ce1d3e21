/** Shared receive queues. */
#pragma once

#include "protection_domain.h"
#include "work_requests.h"

struct SharedQueueCore {
  std::shared_ptr<DomainCore> domain;
  ibv_srq* srq = nullptr;
  uint32_t maxSges = 0;
  ~SharedQueueCore();
};

class SharedReceiveQueue : public Wrap<SharedReceiveQueue> {
 public:
  static constexpr const char* NAME = "SharedReceiveQueue";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960006};
  static Napi::Function define(Napi::Env env);

  /** new SharedReceiveQueue(domain, maxRequests, maxSges, records) */
  explicit SharedReceiveQueue(const Napi::CallbackInfo& info);

  const std::shared_ptr<SharedQueueCore>& core(Napi::Env env) const;

 private:
  Napi::Value postReceives(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<SharedQueueCore> core_;
  Records records_;
  ReceiveChain chain_;
};
