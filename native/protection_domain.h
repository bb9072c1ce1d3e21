/** Protection domains. */
#pragma once

#include "device.h"

struct DomainCore {
  std::shared_ptr<DeviceCore> device;
  ibv_pd* pd = nullptr;
  ~DomainCore();
};

class ProtectionDomain : public Wrap<ProtectionDomain> {
 public:
  static constexpr const char* NAME = "ProtectionDomain";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960002};
  static Napi::Function define(Napi::Env env);

  /** new ProtectionDomain(device) */
  explicit ProtectionDomain(const Napi::CallbackInfo& info);

  const std::shared_ptr<DomainCore>& core(Napi::Env env) const;

 private:
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<DomainCore> core_;
};
