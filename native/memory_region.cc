#include "memory_region.h"

#include <cerrno>

RegionCore::~RegionCore() {
  if (mr != nullptr) lib.ibv_dereg_mr(mr);
}

Napi::Function MemoryRegion::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&MemoryRegion::keys>("keys"),
                      InstanceMethod<&MemoryRegion::deregister>("deregister")});
}

MemoryRegion::MemoryRegion(const Napi::CallbackInfo& info) : Wrap(info) {
  const auto& domain = ProtectionDomain::from(info.Env(), info[0])->core(info.Env());
  const Bytes bytes = bytesOf(info.Env(), info[1]);
  if (bytes.data == nullptr || bytes.length == 0)
    throw Napi::TypeError::New(info.Env(), "the memory is empty, or its buffer was detached");
  const auto access = static_cast<int>(wholeNumber(info, 2, 0xff));
  auto core = std::make_shared<RegionCore>();
  core->domain = domain;
  core->pages = pagesAt(bytes.data);
  core->bytes = Napi::Persistent(info[1]);
  core->mr = lib.ibv_reg_mr(domain->pd, bytes.data, bytes.length, access);
  if (core->mr == nullptr) throw systemError(info.Env(), "ibv_reg_mr", errno);
  core_ = std::move(core);
}

const std::shared_ptr<RegionCore>& MemoryRegion::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the memory region");
  return core_;
}

/** keys(): [address, local key, remote key] */
Napi::Value MemoryRegion::keys(const Napi::CallbackInfo& info) {
  const ibv_mr* mr = core(info.Env())->mr;
  Napi::Array result = Napi::Array::New(info.Env(), 3);
  result.Set(0u, static_cast<double>(reinterpret_cast<uintptr_t>(mr->addr)));
  result.Set(1u, mr->lkey);
  result.Set(2u, mr->rkey);
  return result;
}

void MemoryRegion::deregister(const Napi::CallbackInfo& info) {
  if (!core_) return;
  if (int error = lib.ibv_dereg_mr(core_->mr)) throw systemError(info.Env(), "ibv_dereg_mr", error);
  // A window may have it still.
  core_->mr = nullptr;
  core_->pages.reset();
  core_->bytes.Reset();
  core_.reset();
}

WindowCore::~WindowCore() {
  if (mw != nullptr) ibv_dealloc_mw(mw);
}

Napi::Function MemoryWindow::define(Napi::Env env) {
  return DefineClass(
      env, NAME, {InstanceMethod<&MemoryWindow::key>("key"), InstanceMethod<&MemoryWindow::close>("close")});
}

MemoryWindow::MemoryWindow(const Napi::CallbackInfo& info) : Wrap(info) {
  auto core = std::make_shared<WindowCore>();
  core->domain = ProtectionDomain::from(info.Env(), info[0])->core(info.Env());
  core->mw = ibv_alloc_mw(core->domain->pd, IBV_MW_TYPE_2);
  if (core->mw == nullptr) throw systemError(info.Env(), "ibv_alloc_mw", errno);
  core_ = std::move(core);
}

const std::shared_ptr<WindowCore>& MemoryWindow::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the memory window");
  return core_;
}

/** key(): the remote key that it has now */
Napi::Value MemoryWindow::key(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core(info.Env())->mw->rkey);
}

void MemoryWindow::close(const Napi::CallbackInfo& info) {
  if (!core_) return;
  if (int error = ibv_dealloc_mw(core_->mw)) throw systemError(info.Env(), "ibv_dealloc_mw", error);
  core_->mw = nullptr;
  core_.reset();
}
