/** Completion queues. */
#pragma once

#include "device.h"

struct QueueCore {
  std::shared_ptr<DeviceCore> device;
  ibv_cq* cq = nullptr;
  ~QueueCore();
};

class CompletionQueue : public Wrap<CompletionQueue> {
 public:
  static constexpr const char* NAME = "CompletionQueue";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960005};
  static Napi::Function define(Napi::Env env);

  /** new CompletionQueue(device, capacity, key, records): `key` comes with its events */
  explicit CompletionQueue(const Napi::CallbackInfo& info);

  const std::shared_ptr<QueueCore>& core(Napi::Env env) const;

 private:
  Napi::Value poll(const Napi::CallbackInfo& info);
  void arm(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<QueueCore> core_;
  Records records_;
};
