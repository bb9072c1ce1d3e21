#include "protection_domain.h"

#include <cerrno>

DomainCore::~DomainCore() {
  if (pd != nullptr) lib.ibv_dealloc_pd(pd);
}

Napi::Function ProtectionDomain::define(Napi::Env env) {
  return DefineClass(env, NAME, {InstanceMethod<&ProtectionDomain::close>("close")});
}

ProtectionDomain::ProtectionDomain(const Napi::CallbackInfo& info) : Wrap(info) {
  auto core = std::make_shared<DomainCore>();
  core->device = Device::from(info.Env(), info[0])->core(info.Env());
  core->pd = lib.ibv_alloc_pd(core->device->context);
  if (core->pd == nullptr) throw systemError(info.Env(), "ibv_alloc_pd", errno);
  core_ = std::move(core);
}

const std::shared_ptr<DomainCore>& ProtectionDomain::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the protection domain");
  return core_;
}

void ProtectionDomain::close(const Napi::CallbackInfo& info) {
  if (core_ && core_.use_count() > 1) throw systemError(info.Env(), "ibv_dealloc_pd", EBUSY);
  core_.reset();
}
