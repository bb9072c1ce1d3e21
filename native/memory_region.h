/** Memory regions, and windows on them. */
#pragma once

#include "memory.h"
#include "protection_domain.h"

/** The memory is neither freed nor collected as garbage while the device reaches it. */
struct RegionCore {
  std::shared_ptr<DomainCore> domain;
  ibv_mr* mr = nullptr;
  std::shared_ptr<Pages> pages;
  Napi::Reference<Napi::Value> bytes;
  ~RegionCore();
};

class MemoryRegion : public Wrap<MemoryRegion> {
 public:
  static constexpr const char* NAME = "MemoryRegion";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960003};
  static Napi::Function define(Napi::Env env);

  /** new MemoryRegion(domain, bytes, access): `access` of ibv_access_flags */
  explicit MemoryRegion(const Napi::CallbackInfo& info);

  const std::shared_ptr<RegionCore>& core(Napi::Env env) const;

 private:
  Napi::Value keys(const Napi::CallbackInfo& info);
  void deregister(const Napi::CallbackInfo& info);

  std::shared_ptr<RegionCore> core_;
};

struct WindowCore {
  std::shared_ptr<DomainCore> domain;
  ibv_mw* mw = nullptr;
  /** Of the last binding: a region does not go before its windows. */
  std::shared_ptr<RegionCore> region;
  ~WindowCore();
};

class MemoryWindow : public Wrap<MemoryWindow> {
 public:
  static constexpr const char* NAME = "MemoryWindow";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960004};
  static Napi::Function define(Napi::Env env);

  /** new MemoryWindow(domain) */
  explicit MemoryWindow(const Napi::CallbackInfo& info);

  const std::shared_ptr<WindowCore>& core(Napi::Env env) const;

 private:
  Napi::Value key(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<WindowCore> core_;
};
