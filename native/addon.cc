/** What JavaScript gets: the classes, and a few functions. No state is shared among threads but the table of the libraries' functions. */

#include "connection_manager.h"
#include "device.h"
#include "memory.h"
#include "memory_region.h"
#include "poller.h"

#ifndef RISER_SOURCES
#error "native/build.ts defines RISER_SOURCES, the hash of these files"
#endif

namespace {

/** missing(): what keeps the libraries from being used; empty if nothing does */
Napi::Value missing(const Napi::CallbackInfo& info) { return Napi::String::New(info.Env(), openLibraries()); }

template <typename T>
void add(Napi::Object& exports) {
  exports.Set(T::NAME, T::define(exports.Env()));
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  add<Device>(exports);
  add<ProtectionDomain>(exports);
  add<MemoryRegion>(exports);
  add<MemoryWindow>(exports);
  add<CompletionQueue>(exports);
  add<SharedReceiveQueue>(exports);
  add<QueuePair>(exports);
  add<EventChannel>(exports);
  add<ConnectionId>(exports);
  add<Poller>(exports);
  auto* instance = new Instance();
  instance->connectionId = Napi::Persistent(exports.Get(ConnectionId::NAME).As<Napi::Function>());
  env.SetInstanceData(instance);
  exports.Set("sources", RISER_SOURCES);
  exports.Set("missing", Napi::Function::New(env, missing));
  exports.Set("deviceNames", Napi::Function::New(env, deviceNames));
  exports.Set("forgetGoneDevices", Napi::Function::New(env, forgetGoneDevices));
  exports.Set("allocate", Napi::Function::New(env, allocate));
  return exports;
}

}  // namespace

NODE_API_MODULE(riser_verbs, init)
