#include "completion_queue.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>

namespace {

/** Words of a record: request's number (2), status, opcode, flags, bytes, queue pair, immediate data or invalidated key. */
constexpr size_t RECORD = 8;
constexpr int POLLED_AT_A_TIME = 32;
/** rdma_rxe hands on the kernel's number, IB_WC_WITH_INVALIDATE. On connected queue pairs it has no other meaning. */
constexpr unsigned WITH_INVALIDATE = IBV_WC_WITH_INV | 1 << 2;

}  // namespace

QueueCore::~QueueCore() {
  if (cq != nullptr) lib.ibv_destroy_cq(cq);
}

Napi::Function CompletionQueue::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&CompletionQueue::poll>("poll"), InstanceMethod<&CompletionQueue::arm>("arm"),
                      InstanceMethod<&CompletionQueue::close>("close")});
}

CompletionQueue::CompletionQueue(const Napi::CallbackInfo& info) : Wrap(info), records_(info.Env(), info[3]) {
  auto core = std::make_shared<QueueCore>();
  core->device = Device::from(info.Env(), info[0])->core(info.Env());
  const auto capacity = static_cast<int>(wholeNumber(info, 1, INT32_MAX, 1));
  auto* key = reinterpret_cast<void*>(static_cast<uintptr_t>(wholeNumber(info, 2, UINT32_MAX)));
  core->cq = lib.ibv_create_cq(core->device->context, capacity, key, core->device->channel, 0);
  if (core->cq == nullptr) throw systemError(info.Env(), "ibv_create_cq", errno);
  core_ = std::move(core);
}

const std::shared_ptr<QueueCore>& CompletionQueue::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the completion queue");
  return core_;
}

/** poll(most): how many completions it has put into the records */
Napi::Value CompletionQueue::poll(const Napi::CallbackInfo& info) {
  ibv_cq* cq = core(info.Env())->cq;
  size_t words = 0;
  uint32_t* record = records_.words(&words);
  size_t left = std::min<size_t>(wholeNumber(info, 0, UINT32_MAX), words / RECORD);
  ibv_wc completions[POLLED_AT_A_TIME];
  uint32_t count = 0;
  while (left > 0) {
    const int most = static_cast<int>(std::min<size_t>(left, POLLED_AT_A_TIME));
    const int polled = ibv_poll_cq(cq, most, completions);
    if (polled < 0) throw systemError(info.Env(), "ibv_poll_cq", polled);
    for (int i = 0; i < polled; i++, record += RECORD) {
      const ibv_wc& completion = completions[i];
      record[0] = static_cast<uint32_t>(completion.wr_id);
      record[1] = static_cast<uint32_t>(completion.wr_id >> 32);
      record[2] = completion.status;
      record[3] = completion.opcode;
      record[4] = completion.wc_flags;
      record[5] = completion.byte_len;
      record[6] = completion.qp_num;
      record[7] = (completion.wc_flags & WITH_INVALIDATE) != 0 ? completion.invalidated_rkey : ntohl(completion.imm_data);
    }
    count += static_cast<uint32_t>(polled);
    left -= static_cast<size_t>(polled);
    if (polled < most) break;
  }
  return Napi::Number::New(info.Env(), count);
}

/** arm(solicitedOnly) */
void CompletionQueue::arm(const Napi::CallbackInfo& info) {
  if (int error = ibv_req_notify_cq(core(info.Env())->cq, info[0].ToBoolean().Value() ? 1 : 0))
    throw systemError(info.Env(), "ibv_req_notify_cq", error);
}

void CompletionQueue::close(const Napi::CallbackInfo& info) {
  if (!core_) return;
  if (core_.use_count() > 1) throw systemError(info.Env(), "ibv_destroy_cq", EBUSY);
  if (int error = lib.ibv_destroy_cq(core_->cq)) throw systemError(info.Env(), "ibv_destroy_cq", error);
  core_->cq = nullptr;
  core_.reset();
}
