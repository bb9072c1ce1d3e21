/** The connection manager: its events, and its identifiers, each of which listens, or is one end of a connection. */
#pragma once

#include "queue_pair.h"

struct ChannelCore {
  rdma_event_channel* channel = nullptr;
  ~ChannelCore();
};

struct IdCore {
  std::shared_ptr<ChannelCore> channel;
  rdma_cm_id* id = nullptr;
  ~IdCore();
};

class EventChannel : public Wrap<EventChannel> {
 public:
  static constexpr const char* NAME = "EventChannel";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960008};
  static Napi::Function define(Napi::Env env);

  /** new EventChannel() */
  explicit EventChannel(const Napi::CallbackInfo& info);

  const std::shared_ptr<ChannelCore>& core(Napi::Env env) const;

 private:
  Napi::Value descriptor(const Napi::CallbackInfo& info);
  Napi::Value event(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<ChannelCore> core_;
};

class ConnectionId : public Wrap<ConnectionId> {
 public:
  static constexpr const char* NAME = "ConnectionId";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960009};
  static Napi::Function define(Napi::Env env);

  /** new ConnectionId(channel, key): `key` comes with its events */
  explicit ConnectionId(const Napi::CallbackInfo& info);
  ~ConnectionId() override;

  /** For an identifier that came with a request: an object of the class without one, which {@link adopt} gives it. */
  void adopt(std::shared_ptr<IdCore> core) { core_ = std::move(core); }

 private:
  struct Attempt;
  const std::shared_ptr<IdCore>& core(Napi::Env env) const;
  const std::shared_ptr<IdCore>& resolved(Napi::Env env) const;
  void setKey(const Napi::CallbackInfo& info);
  void bind(const Napi::CallbackInfo& info);
  void listen(const Napi::CallbackInfo& info);
  void resolveAddress(const Napi::CallbackInfo& info);
  void resolveRoute(const Napi::CallbackInfo& info);
  Napi::Value device(const Napi::CallbackInfo& info);
  Napi::Value addresses(const Napi::CallbackInfo& info);
  Napi::Value transition(const Napi::CallbackInfo& info);
  Napi::Value connect(const Napi::CallbackInfo& info);
  Napi::Value connectError(const Napi::CallbackInfo& info);
  void giveUp(const Napi::CallbackInfo& info);
  void establish(const Napi::CallbackInfo& info);
  void accept(const Napi::CallbackInfo& info);
  void reject(const Napi::CallbackInfo& info);
  void disconnect(const Napi::CallbackInfo& info);
  void communicationEstablished(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<IdCore> core_;
  std::shared_ptr<Attempt> attempt_;
};
