#include "shared_receive_queue.h"

#include <cerrno>

SharedQueueCore::~SharedQueueCore() {
  if (srq != nullptr) lib.ibv_destroy_srq(srq);
}

Napi::Function SharedReceiveQueue::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&SharedReceiveQueue::postReceives>("postReceives"),
                      InstanceMethod<&SharedReceiveQueue::close>("close")});
}

SharedReceiveQueue::SharedReceiveQueue(const Napi::CallbackInfo& info)
    : Wrap(info), records_(info.Env(), info[3]) {
  auto core = std::make_shared<SharedQueueCore>();
  core->domain = ProtectionDomain::from(info.Env(), info[0])->core(info.Env());
  ibv_srq_init_attr attr{};
  attr.attr.max_wr = static_cast<uint32_t>(wholeNumber(info, 1, INT32_MAX, 1));
  attr.attr.max_sge = static_cast<uint32_t>(wholeNumber(info, 2, MAX_SGES, 1));
  core->maxSges = attr.attr.max_sge;
  core->srq = lib.ibv_create_srq(core->domain->pd, &attr);
  if (core->srq == nullptr) throw systemError(info.Env(), "ibv_create_srq", errno);
  core_ = std::move(core);
}

const std::shared_ptr<SharedQueueCore>& SharedReceiveQueue::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the shared receive queue");
  return core_;
}

/** postReceives(count): see posted() */
Napi::Value SharedReceiveQueue::postReceives(const Napi::CallbackInfo& info) {
  const auto& shared = core(info.Env());
  return chain_.post(info, records_, shared->maxSges, [&](ibv_recv_wr* first, ibv_recv_wr** bad) {
    return ibv_post_srq_recv(shared->srq, first, bad);
  });
}

void SharedReceiveQueue::close(const Napi::CallbackInfo& info) {
  if (!core_) return;
  if (core_.use_count() > 1) throw systemError(info.Env(), "ibv_destroy_srq", EBUSY);
  if (int error = lib.ibv_destroy_srq(core_->srq)) throw systemError(info.Env(), "ibv_destroy_srq", error);
  core_->srq = nullptr;
  core_.reset();
}
