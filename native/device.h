/** An open device, its completion channel, and its asynchronous events. */
#pragma once

#include <memory>

#include "library.h"
#include "wrap.h"

/** Closed when nobody has it any more: all that is made from a device holds it, so it goes last, whoever goes first. */
struct DeviceCore {
  ibv_context* context = nullptr;
  ibv_comp_channel* channel = nullptr;
  ~DeviceCore();
};

class Device : public Wrap<Device> {
 public:
  static constexpr const char* NAME = "Device";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b4960001};
  static Napi::Function define(Napi::Env env);

  /** new Device(name) */
  explicit Device(const Napi::CallbackInfo& info);

  const std::shared_ptr<DeviceCore>& core(Napi::Env env) const;

 private:
  Napi::Value attributes(const Napi::CallbackInfo& info);
  Napi::Value port(const Napi::CallbackInfo& info);
  Napi::Value descriptors(const Napi::CallbackInfo& info);
  Napi::Value asyncEvent(const Napi::CallbackInfo& info);
  Napi::Value completionEvents(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);

  std::shared_ptr<DeviceCore> core_;
};

/** deviceNames(): the names of all. */
Napi::Value deviceNames(const Napi::CallbackInfo& info);

/** forgetGoneDevices(): librdmacm keeps a context of its own of each device; of those that are gone it closes them. */
void forgetGoneDevices(const Napi::CallbackInfo& info);
