/** Watches a descriptor for input by the thread's event loop: a duplicate of its own, as libuv ends the process if one is closed early. */
#pragma once

#include <uv.h>

#include "wrap.h"

class Poller : public Wrap<Poller> {
 public:
  static constexpr const char* NAME = "Poller";
  static constexpr napi_type_tag TAG = {0x9c1b7a52d0e84f11, 0xa3e5d7c2b496000a};
  static Napi::Function define(Napi::Env env);

  /** new Poller(descriptor, readable): `readable` is called while there is input; at first it keeps no process alive */
  explicit Poller(const Napi::CallbackInfo& info);
  ~Poller() override;

 private:
  struct Handle;
  void keepAlive(const Napi::CallbackInfo& info);
  void close(const Napi::CallbackInfo& info);
  void end();

  /** Lives until the loop has let go of it; null once that was begun. */
  Handle* handle_ = nullptr;
};
