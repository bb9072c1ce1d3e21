#include <fcntl.h>

#include <cerrno>

#include "connection_manager.h"

namespace {

/** An event is acknowledged whatever happens: destroying its identifier waits for that. */
struct Acknowledge {
  void operator()(rdma_cm_event* event) const { lib.rdma_ack_cm_event(event); }
};

}  // namespace

ChannelCore::~ChannelCore() {
  if (channel != nullptr) lib.rdma_destroy_event_channel(channel);
}

Napi::Function EventChannel::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&EventChannel::descriptor>("descriptor"),
                      InstanceMethod<&EventChannel::event>("event"), InstanceMethod<&EventChannel::close>("close")});
}

EventChannel::EventChannel(const Napi::CallbackInfo& info) : Wrap(info) {
  if (!openLibraries().empty()) throw Napi::Error::New(info.Env(), openLibraries());
  auto core = std::make_shared<ChannelCore>();
  core->channel = lib.rdma_create_event_channel();
  if (core->channel == nullptr) throw systemError(info.Env(), "rdma_create_event_channel", errno);
  fcntl(core->channel->fd, F_SETFL, fcntl(core->channel->fd, F_GETFL) | O_NONBLOCK);
  core_ = std::move(core);
}

const std::shared_ptr<ChannelCore>& EventChannel::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the event channel");
  return core_;
}

Napi::Value EventChannel::descriptor(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), core(info.Env())->channel->fd);
}

/**
 * event(): the oldest, or null. { type, key, status, privateData, responderResources, initiatorDepth, queuePairNumber, request }:
 * `key` is that of the identifier, or of the one that listens; `request` the new identifier, or null.
 */
Napi::Value EventChannel::event(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto& channel = core(env);
  rdma_cm_event* oldest = nullptr;
  if (lib.rdma_get_cm_event(channel->channel, &oldest) != 0) return env.Null();
  // Destroyed after the event, which has its identifier, is acknowledged.
  std::shared_ptr<IdCore> request;
  std::unique_ptr<rdma_cm_event, Acknowledge> event(oldest);
  if (event->event == RDMA_CM_EVENT_CONNECT_REQUEST) {
    request = std::make_shared<IdCore>();
    request->channel = channel;
    request->id = event->id;
  }
  const rdma_conn_param& conn = event->param.conn;
  // Those that tell of an address or a route have no parameters.
  const bool hasParameters = event->event >= RDMA_CM_EVENT_CONNECT_REQUEST && event->event <= RDMA_CM_EVENT_DISCONNECTED;
  const uint8_t length = hasParameters && conn.private_data != nullptr ? conn.private_data_len : 0;
  Napi::Object result = Napi::Object::New(env);
  result.Set("type", static_cast<int>(event->event));
  result.Set("status", event->status);
  result.Set("key", static_cast<double>(reinterpret_cast<uintptr_t>(event->id->context)));
  result.Set("privateData", Napi::Buffer<uint8_t>::Copy(env, static_cast<const uint8_t*>(conn.private_data), length));
  result.Set("responderResources", hasParameters ? conn.responder_resources : 0);
  result.Set("initiatorDepth", hasParameters ? conn.initiator_depth : 0);
  result.Set("queuePairNumber", hasParameters ? conn.qp_num : 0);
  // From here on, identifiers may be destroyed.
  event.reset();
  if (request) {
    Napi::Object object = env.GetInstanceData<Instance>()->connectionId.New({env.Null()});
    ConnectionId::from(env, object)->adopt(std::move(request));
    result.Set("request", object);
  } else {
    result.Set("request", env.Null());
  }
  return result;
}

/** An identifier that a thread connects at this moment keeps the channel until that is over. */
void EventChannel::close(const Napi::CallbackInfo&) { core_.reset(); }
