#include "device.h"

#include <fcntl.h>

#include <cerrno>

namespace {

void setNonBlocking(int descriptor) { fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK); }

/** The list of the devices that are there, for as long as this exists. */
class DeviceList {
 public:
  DeviceList() { devices_ = lib.ibv_get_device_list(&count_); }
  ~DeviceList() {
    if (devices_ != nullptr) lib.ibv_free_device_list(devices_);
  }
  int count() const { return devices_ == nullptr ? 0 : count_; }
  ibv_device* at(int i) const { return devices_[i]; }

 private:
  ibv_device** devices_;
  int count_ = 0;
};

}  // namespace

DeviceCore::~DeviceCore() {
  if (channel != nullptr) lib.ibv_destroy_comp_channel(channel);
  if (context != nullptr) lib.ibv_close_device(context);
}

Napi::Value deviceNames(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  if (!openLibraries().empty()) return names;
  DeviceList list;
  for (int i = 0; i < list.count(); i++) names.Set(i, lib.ibv_get_device_name(list.at(i)));
  return names;
}

void forgetGoneDevices(const Napi::CallbackInfo&) {
  if (!openLibraries().empty()) return;
  // It compares its list with the system's when it is asked for all.
  ibv_context** devices = lib.rdma_get_devices(nullptr);
  if (devices != nullptr) lib.rdma_free_devices(devices);
}

Napi::Function Device::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&Device::attributes>("attributes"), InstanceMethod<&Device::port>("port"),
                      InstanceMethod<&Device::descriptors>("descriptors"),
                      InstanceMethod<&Device::asyncEvent>("asyncEvent"),
                      InstanceMethod<&Device::completionEvents>("completionEvents"),
                      InstanceMethod<&Device::close>("close")});
}

Device::Device(const Napi::CallbackInfo& info) : Wrap(info) {
  const std::string name = text(info, 0);
  if (!openLibraries().empty()) throw Napi::Error::New(info.Env(), openLibraries());
  DeviceList list;
  auto core = std::make_shared<DeviceCore>();
  errno = ENODEV;
  for (int i = 0; i < list.count() && core->context == nullptr; i++)
    if (name == lib.ibv_get_device_name(list.at(i))) core->context = lib.ibv_open_device(list.at(i));
  if (core->context == nullptr) throw systemError(info.Env(), "ibv_open_device", errno);
  core->channel = lib.ibv_create_comp_channel(core->context);
  if (core->channel == nullptr) throw systemError(info.Env(), "ibv_create_comp_channel", errno);
  setNonBlocking(core->context->async_fd);
  setNonBlocking(core->channel->fd);
  core_ = std::move(core);
}

const std::shared_ptr<DeviceCore>& Device::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the device");
  return core_;
}

Napi::Value Device::attributes(const Napi::CallbackInfo& info) {
  ibv_device_attr attr{};
  ibv_context* context = core(info.Env())->context;
  if (int error = lib.ibv_query_device(context, &attr)) throw systemError(info.Env(), "ibv_query_device", error);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("isIwarp", context->device->transport_type == IBV_TRANSPORT_IWARP);
  result.Set("maxRequests", attr.max_qp_wr);
  result.Set("maxSges", attr.max_sge);
  result.Set("maxReadSges", attr.max_sge_rd);
  result.Set("maxCompletions", attr.max_cqe);
  result.Set("maxSharedRequests", attr.max_srq_wr);
  result.Set("maxSharedReceiveQueues", attr.max_srq);
  result.Set("maxResponderResources", attr.max_qp_rd_atom);
  result.Set("maxInitiatorDepth", attr.max_qp_init_rd_atom);
  result.Set("maxWindows", attr.max_mw);
  result.Set("hasWindows", (attr.device_cap_flags & (IBV_DEVICE_MEM_WINDOW_TYPE_2A | IBV_DEVICE_MEM_WINDOW_TYPE_2B)) != 0);
  result.Set("hasInvalidate", (attr.device_cap_flags & IBV_DEVICE_MEM_MGT_EXTENSIONS) != 0);
  result.Set("hasAtomics", attr.atomic_cap != IBV_ATOMIC_NONE);
  result.Set("vendor", attr.vendor_id);
  result.Set("ports", attr.phys_port_cnt);
  result.Set("node", context->device->dev_name);
  return result;
}

/** port(number) */
Napi::Value Device::port(const Napi::CallbackInfo& info) {
  ibv_port_attr attr{};
  const auto number = static_cast<uint8_t>(wholeNumber(info, 0, 255));
  const int error = lib.ibv_query_port(core(info.Env())->context, number, reinterpret_cast<_compat_ibv_port_attr*>(&attr));
  if (error != 0) throw systemError(info.Env(), "ibv_query_port", error);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("state", static_cast<int>(attr.state));
  result.Set("isEthernet", attr.link_layer == IBV_LINK_LAYER_ETHERNET);
  result.Set("maxMessage", attr.max_msg_sz);
  result.Set("activeMtu", 128 << static_cast<int>(attr.active_mtu));
  return result;
}

/** descriptors(): [asynchronous events, completion channel] */
Napi::Value Device::descriptors(const Napi::CallbackInfo& info) {
  const auto& device = core(info.Env());
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, device->context->async_fd);
  result.Set(1u, device->channel->fd);
  return result;
}

/** asyncEvent(): { type, key } of the oldest, or null. `key`: that of the queue or queue pair, or the number of the port. */
Napi::Value Device::asyncEvent(const Napi::CallbackInfo& info) {
  ibv_async_event event{};
  if (lib.ibv_get_async_event(core(info.Env())->context, &event) != 0) return info.Env().Null();
  uintptr_t key = 0;
  switch (event.event_type) {
    case IBV_EVENT_CQ_ERR:
      key = reinterpret_cast<uintptr_t>(event.element.cq->cq_context);
      break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
      key = reinterpret_cast<uintptr_t>(event.element.qp->qp_context);
      break;
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_PORT_ERR:
      key = static_cast<uintptr_t>(event.element.port_num);
      break;
    default:
      break;
  }
  lib.ibv_ack_async_event(&event);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("type", static_cast<int>(event.event_type));
  result.Set("key", static_cast<double>(key));
  return result;
}

/** completionEvents(keys: Uint32Array): how many queues have told of a completion; their keys. */
Napi::Value Device::completionEvents(const Napi::CallbackInfo& info) {
  const auto& device = core(info.Env());
  if (!info[0].IsTypedArray() || info[0].As<Napi::TypedArray>().TypedArrayType() != napi_uint32_array)
    throw Napi::TypeError::New(info.Env(), "a Uint32Array is expected");
  const Bytes room = bytesOf(info.Env(), info[0]);
  auto* keys = reinterpret_cast<uint32_t*>(room.data);
  uint32_t count = 0;
  while (count < room.length / 4) {
    ibv_cq* queue = nullptr;
    void* key = nullptr;
    if (lib.ibv_get_cq_event(device->channel, &queue, &key) != 0) break;
    lib.ibv_ack_cq_events(queue, 1);
    keys[count++] = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(key));
  }
  return Napi::Number::New(info.Env(), count);
}

void Device::close(const Napi::CallbackInfo& info) {
  if (core_ && core_.use_count() > 1) throw systemError(info.Env(), "ibv_close_device", EBUSY);
  core_.reset();
}
