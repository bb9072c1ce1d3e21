#include "queue_pair.h"

#include <cerrno>

namespace {

/** The windows and regions of `objects`, which alternate. */
std::vector<Binding> bindingsOf(Napi::Env env, Napi::Value value) {
  if (!value.IsArray()) throw Napi::TypeError::New(env, "an array of objects is expected");
  const Napi::Array objects = value.As<Napi::Array>();
  const uint32_t length = objects.Length();
  if (length > 2 * MAX_POSTED || length % 2 != 0) throw Napi::RangeError::New(env, "the objects are no pairs");
  std::vector<Binding> bindings;
  for (uint32_t i = 0; i < length; i += 2)
    bindings.push_back({MemoryWindow::from(env, objects.Get(i))->core(env),
                        MemoryRegion::from(env, objects.Get(i + 1))->core(env)});
  return bindings;
}

void wasBound(const Binding& binding, uint32_t key) {
  // Its user is to keep a window's key, by which some devices find it at its next binding.
  binding.window->mw->rkey = key;
  binding.window->region = binding.region;
}

}  // namespace

QueuePairCore::~QueuePairCore() {
  if (qp != nullptr) lib.ibv_destroy_qp(qp);
}

Napi::Function QueuePair::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&QueuePair::number>("number"), InstanceMethod<&QueuePair::postSends>("postSends"),
                      InstanceMethod<&QueuePair::postReceives>("postReceives"),
                      InstanceMethod<&QueuePair::fail>("fail"), InstanceMethod<&QueuePair::close>("close")});
}

QueuePair::QueuePair(const Napi::CallbackInfo& info)
    : Wrap(info), sendRecords_(info.Env(), info[8]), receiveRecords_(info.Env(), info[9]) {
  Napi::Env env = info.Env();
  auto core = std::make_shared<QueuePairCore>();
  core->domain = ProtectionDomain::from(env, info[0])->core(env);
  core->sendQueue = CompletionQueue::from(env, info[1])->core(env);
  core->receiveQueue = CompletionQueue::from(env, info[2])->core(env);
  if (!info[3].IsNull()) core->shared = SharedReceiveQueue::from(env, info[3])->core(env);
  const auto& device = core->domain->device;
  if (device != core->sendQueue->device || device != core->receiveQueue->device ||
      (core->shared && device != core->shared->domain->device))
    throw Napi::TypeError::New(env, "a queue pair's objects are not of one device");
  core->maxSges = static_cast<uint32_t>(wholeNumber(info, 6, MAX_SGES, 1));
  ibv_qp_init_attr attr{};
  attr.qp_context = reinterpret_cast<void*>(static_cast<uintptr_t>(wholeNumber(info, 7, UINT32_MAX)));
  attr.send_cq = core->sendQueue->cq;
  attr.recv_cq = core->receiveQueue->cq;
  attr.srq = core->shared ? core->shared->srq : nullptr;
  attr.cap.max_send_wr = static_cast<uint32_t>(wholeNumber(info, 4, INT32_MAX, 1));
  attr.cap.max_recv_wr = core->shared ? 0 : static_cast<uint32_t>(wholeNumber(info, 5, INT32_MAX, 1));
  attr.cap.max_send_sge = core->maxSges;
  attr.cap.max_recv_sge = core->shared ? 0 : core->maxSges;
  attr.qp_type = IBV_QPT_RC;
  core->qp = lib.ibv_create_qp(core->domain->pd, &attr);
  if (core->qp == nullptr) throw systemError(env, "ibv_create_qp", errno);
  core_ = std::move(core);
}

const std::shared_ptr<QueuePairCore>& QueuePair::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the queue pair");
  return core_;
}

Napi::Value QueuePair::number(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core(info.Env())->qp->qp_num);
}

void QueuePair::readSend(Napi::Env env, const uint32_t* record, const std::vector<Binding>& bindings,
                         ibv_send_wr& request, ibv_sge* sges) {
  const uint32_t entries = record[SGES];
  if (entries > core_->maxSges) throw Napi::RangeError::New(env, "a request has too many gather entries");
  readSges(record + SEND_WORDS, entries, sges);
  request = {};
  request.wr_id = word64(record + NUMBER);
  request.sg_list = sges;
  request.num_sge = static_cast<int>(entries);
  // Nothing is sent inline: libibverbs itself would read by an address that only the device checks.
  request.send_flags = record[FLAGS] & (IBV_SEND_SIGNALED | IBV_SEND_FENCE | IBV_SEND_SOLICITED);
  const uint64_t address = word64(record + REMOTE_ADDRESS);
  const auto opcode = static_cast<ibv_wr_opcode>(record[OPCODE]);
  request.opcode = opcode;
  switch (opcode) {
    case IBV_WR_SEND:
      return;
    case IBV_WR_SEND_WITH_IMM:
      request.imm_data = htonl(record[DATUM]);
      return;
    case IBV_WR_SEND_WITH_INV:
    case IBV_WR_LOCAL_INV:
      request.invalidate_rkey = record[DATUM];
      return;
    case IBV_WR_RDMA_WRITE_WITH_IMM:
      request.imm_data = htonl(record[DATUM]);
      [[fallthrough]];
    case IBV_WR_RDMA_WRITE:
    case IBV_WR_RDMA_READ:
      request.wr.rdma.remote_addr = address;
      request.wr.rdma.rkey = record[REMOTE_KEY];
      return;
    case IBV_WR_ATOMIC_FETCH_AND_ADD:
    case IBV_WR_ATOMIC_CMP_AND_SWP: {
      const bool isAdd = opcode == IBV_WR_ATOMIC_FETCH_AND_ADD;
      request.wr.atomic.remote_addr = address;
      request.wr.atomic.rkey = record[REMOTE_KEY];
      request.wr.atomic.compare_add = word64(record + (isAdd ? OPERAND : COMPARE));
      request.wr.atomic.swap = word64(record + OPERAND);
      return;
    }
    case IBV_WR_BIND_MW: {
      if (record[BINDING] >= bindings.size())
        throw Napi::RangeError::New(env, "a binding's objects are not given");
      const Binding& binding = bindings[record[BINDING]];
      // One may have been closed while the other was taken out of the array.
      if (binding.window->mw == nullptr) throw closedError(env, "the memory window");
      if (binding.region->mr == nullptr) throw closedError(env, "the memory region");
      request.bind_mw.mw = binding.window->mw;
      request.bind_mw.rkey = record[BIND_KEY];
      request.bind_mw.bind_info.mr = binding.region->mr;
      request.bind_mw.bind_info.addr = word64(record + BIND_ADDRESS);
      request.bind_mw.bind_info.length = word64(record + BIND_LENGTH);
      request.bind_mw.bind_info.mw_access_flags = record[BIND_ACCESS];
      return;
    }
    default:
      throw Napi::RangeError::New(env, "an unknown operation code");
  }
}

/** postSends(count, objects): `objects` has a window and its region for each binding in turn; see posted(). */
Napi::Value QueuePair::postSends(const Napi::CallbackInfo& info) {
  // First of all: objects that are taken out of an array may run JavaScript, and that may close or detach anything.
  const std::vector<Binding> bindings = bindingsOf(info.Env(), info[1]);
  const auto& pair = core(info.Env());
  size_t have = 0;
  const uint32_t* record = sendRecords_.words(&have);
  const size_t words = SEND_WORDS + SGE_WORDS * pair->maxSges;
  const size_t count = wholeNumber(info, 0, std::min<size_t>(have / words, MAX_POSTED));
  if (count == 0) return posted(info.Env(), 0, 0);
  sends_.resize(count);
  sges_.resize(count * pair->maxSges + 1);
  for (size_t i = 0; i < count; i++) {
    readSend(info.Env(), record + i * words, bindings, sends_[i], &sges_[i * pair->maxSges]);
    if (i > 0) sends_[i - 1].next = &sends_[i];
  }
  ibv_send_wr* bad = sends_.data();
  const int error = ibv_post_send(pair->qp, sends_.data(), &bad);
  const uint32_t taken = countPosted(sends_, bad, error);
  for (uint32_t i = 0; i < taken; i++)
    if (sends_[i].opcode == IBV_WR_BIND_MW) wasBound(bindings[record[i * words + BINDING]], sends_[i].bind_mw.rkey);
  return posted(info.Env(), taken, error);
}

/** postReceives(count): see posted() */
Napi::Value QueuePair::postReceives(const Napi::CallbackInfo& info) {
  const auto& pair = core(info.Env());
  if (pair->shared) throw Napi::TypeError::New(info.Env(), "the queue pair has a shared receive queue");
  return receives_.post(info, receiveRecords_, pair->maxSges, [&](ibv_recv_wr* first, ibv_recv_wr** bad) {
    return ibv_post_recv(pair->qp, first, bad);
  });
}

/** fail(): to the error state; what is posted is flushed */
void QueuePair::fail(const Napi::CallbackInfo& info) {
  ibv_qp_attr attr{};
  attr.qp_state = IBV_QPS_ERR;
  // One that the device has taken there, or has no way to, is there already.
  lib.ibv_modify_qp(core(info.Env())->qp, &attr, IBV_QP_STATE);
}

void QueuePair::close(const Napi::CallbackInfo& info) {
  if (!core_) return;
  if (int error = lib.ibv_destroy_qp(core_->qp)) throw systemError(info.Env(), "ibv_destroy_qp", error);
  core_->qp = nullptr;
  core_.reset();
}
