#include "poller.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

struct Poller::Handle {
  uv_poll_t poll;
  int descriptor = -1;
  napi_env env;
  /** The thread may end before this is closed. */
  napi_async_cleanup_hook_handle hook = nullptr;
  Poller* owner = nullptr;
  Napi::FunctionReference readable;
  std::unique_ptr<Napi::AsyncContext> context;

  ~Handle() {
    if (descriptor >= 0) ::close(descriptor);
  }

  static void onReadable(uv_poll_t* poll, int, int) {
    auto* handle = static_cast<Handle*>(poll->data);
    Napi::Env env(handle->env);
    Napi::HandleScope scope(env);
    // What the function throws goes to `uncaughtException`, as from any callback.
    napi_value receiver = env.Global();
    napi_value result = nullptr;
    napi_make_callback(env, *handle->context, receiver, handle->readable.Value(), 0, nullptr, &result);
    bool isPending = false;
    napi_is_exception_pending(env, &isPending);
    if (isPending) {
      napi_value error = nullptr;
      napi_get_and_clear_last_exception(env, &error);
      napi_fatal_exception(env, error);
    }
  }

  static void onThreadEnd(napi_async_cleanup_hook_handle, void* data) {
    auto* handle = static_cast<Handle*>(data);
    if (handle->owner != nullptr) handle->owner->end();
  }
};

Napi::Function Poller::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&Poller::keepAlive>("keepAlive"), InstanceMethod<&Poller::close>("close")});
}

Poller::Poller(const Napi::CallbackInfo& info) : Wrap(info) {
  const auto descriptor = static_cast<int>(wholeNumber(info, 0, INT32_MAX));
  if (!info[1].IsFunction()) throw Napi::TypeError::New(info.Env(), "a function is expected");
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(info.Env(), &loop);
  auto handle = std::make_unique<Handle>();
  handle->env = info.Env();
  handle->owner = this;
  handle->readable = Napi::Persistent(info[1].As<Napi::Function>());
  handle->context = std::make_unique<Napi::AsyncContext>(info.Env(), "riser:verbs");
  handle->descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (handle->descriptor < 0) throw systemError(info.Env(), "fcntl", errno);
  // From here on it belongs to the loop, too, and nothing throws.
  if (int error = uv_poll_init(loop, &handle->poll, handle->descriptor))
    throw systemError(info.Env(), "uv_poll_init", error);
  handle->poll.data = handle.get();
  napi_add_async_cleanup_hook(info.Env(), Handle::onThreadEnd, handle.get(), &handle->hook);
  handle_ = handle.release();
  uv_poll_start(&handle_->poll, UV_READABLE, Handle::onReadable);
  uv_unref(reinterpret_cast<uv_handle_t*>(&handle_->poll));
}

Poller::~Poller() { end(); }

/** keepAlive(boolean): whether the process stays for it */
void Poller::keepAlive(const Napi::CallbackInfo& info) {
  if (handle_ == nullptr) throw closedError(info.Env(), "the poller");
  auto* handle = reinterpret_cast<uv_handle_t*>(&handle_->poll);
  if (info[0].ToBoolean()) uv_ref(handle);
  else uv_unref(handle);
}

void Poller::close(const Napi::CallbackInfo&) { end(); }

void Poller::end() {
  Handle* handle = handle_;
  if (handle == nullptr) return;
  handle_ = nullptr;
  handle->owner = nullptr;
  handle->readable.Reset();
  handle->context.reset();
  uv_poll_stop(&handle->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(&handle->poll), [](uv_handle_t* closed) {
    auto* done = static_cast<Handle*>(closed->data);
    napi_remove_async_cleanup_hook(done->hook);
    delete done;
  });
}
