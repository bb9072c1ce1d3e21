#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "connection_manager.h"

namespace {

/** Of what takes that path on RoCE and InfiniBand; 7 attempts are what everybody uses, and 7 at a receiver that is not ready are no end. */
constexpr uint8_t RETRIES = 7;

/** An address and port of IPv4 or IPv6, with an interface if it is local to a link: `fe80::1%eth0`. */
class Address {
 public:
  Address(Napi::Env env, const std::string& host, uint16_t port) {
    addrinfo hints{};
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    const std::string service = std::to_string(port);
    if (getaddrinfo(host.c_str(), service.c_str(), &hints, &info_) != 0)
      throw Napi::TypeError::New(env, "\"" + host + "\" is no IP address");
  }
  ~Address() { freeaddrinfo(info_); }
  sockaddr* get() const { return info_->ai_addr; }

 private:
  addrinfo* info_ = nullptr;
};

std::string hostOf(const sockaddr* address) {
  char host[INET6_ADDRSTRLEN + 32] = "";
  const socklen_t length = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return "";
  getnameinfo(address, length, host, sizeof host, nullptr, 0, NI_NUMERICHOST);
  return host;
}

/** What rdma_connect and rdma_accept take: arguments (queuePair, privateData, responderResources, initiatorDepth). */
struct Parameters {
  explicit Parameters(const Napi::CallbackInfo& info) {
    // Its number is enough: it may be destroyed while another thread waits.
    const auto& queuePair = QueuePair::from(info.Env(), info[0])->core(info.Env());
    const Bytes bytes = bytesOf(info.Env(), info[1]);
    if (bytes.length > 255) throw Napi::RangeError::New(info.Env(), "more than 255 bytes of private data");
    privateData.assign(bytes.data, bytes.data + bytes.length);
    conn.private_data = privateData.data();
    conn.private_data_len = static_cast<uint8_t>(bytes.length);
    conn.responder_resources = static_cast<uint8_t>(wholeNumber(info, 2, 255));
    conn.initiator_depth = static_cast<uint8_t>(wholeNumber(info, 3, 255));
    conn.flow_control = 1;
    conn.retry_count = RETRIES;
    conn.rnr_retry_count = RETRIES;
    conn.srq = queuePair->shared ? 1 : 0;
    conn.qp_num = queuePair->qp->qp_num;
  }
  Parameters(const Parameters&) = delete;

  std::vector<uint8_t> privateData;
  rdma_conn_param conn{};
};

void check(Napi::Env env, const char* call, int result) {
  if (result != 0) throw systemError(env, call, errno);
}

}  // namespace

/**
 * rdma_connect on a thread of its own, and how its end is told: that of siw waits until TCP is connected, or has given up. Nothing waits
 * for it, not even the process's end; but siw destroys no queue pair that connects, so whoever gives up interrupts it.
 */
struct ConnectionId::Attempt {
  Attempt(const Napi::CallbackInfo& info, std::shared_ptr<IdCore> core)
      : id(std::move(core)), parameters(info), told(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (told < 0) throw systemError(info.Env(), "eventfd", errno);
  }
  Attempt(const Attempt&) = delete;
  ~Attempt() { ::close(told); }

  void run() {
    letInterrupt();
    {
      std::lock_guard<std::mutex> lock(mutex);
      isRunning = !isGivenUp;
      thread = pthread_self();
    }
    if (isRunning && lib.rdma_connect(id->id, &parameters.conn) != 0) error = errno;
    std::lock_guard<std::mutex> lock(mutex);
    isRunning = false;
    const uint64_t one = 1;
    if (write(told, &one, sizeof one) < 0) return;
  }

  void giveUp() {
    // The thread may be on its way into the kernel.
    for (int i = 0; i < INTERRUPTS; i++) {
      {
        std::lock_guard<std::mutex> lock(mutex);
        isGivenUp = true;
        if (!isRunning) return;
        pthread_kill(thread, INTERRUPT);
      }
      pollfd end = {told, POLLIN, 0};
      if (poll(&end, 1, 1) > 0) return;
    }
  }

  std::shared_ptr<IdCore> id;
  Parameters parameters;
  const int told;
  std::atomic<int> error{0};

 private:
  /** Ignored unless somebody asks for it, which nobody does in practice. */
  static constexpr int INTERRUPT = SIGURG;
  /** A millisecond each. */
  static constexpr int INTERRUPTS = 100;

  /** A signal ends a call of the system if somebody handles it; who does already goes on to. */
  static void letInterrupt() {
    static std::once_flag once;
    std::call_once(once, [] {
      struct sigaction action {};
      sigaction(INTERRUPT, nullptr, &action);
      if (action.sa_handler != SIG_DFL) return;
      action.sa_handler = [](int) {};
      sigaction(INTERRUPT, &action, nullptr);
    });
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, INTERRUPT);
    pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  }

  std::mutex mutex;
  pthread_t thread{};
  bool isRunning = false;
  bool isGivenUp = false;
};

IdCore::~IdCore() {
  if (id != nullptr) lib.rdma_destroy_id(id);
}

Napi::Function ConnectionId::define(Napi::Env env) {
  return DefineClass(env, NAME,
                     {InstanceMethod<&ConnectionId::setKey>("setKey"), InstanceMethod<&ConnectionId::bind>("bind"),
                      InstanceMethod<&ConnectionId::listen>("listen"),
                      InstanceMethod<&ConnectionId::resolveAddress>("resolveAddress"),
                      InstanceMethod<&ConnectionId::resolveRoute>("resolveRoute"),
                      InstanceMethod<&ConnectionId::device>("device"),
                      InstanceMethod<&ConnectionId::addresses>("addresses"),
                      InstanceMethod<&ConnectionId::transition>("transition"),
                      InstanceMethod<&ConnectionId::connect>("connect"),
                      InstanceMethod<&ConnectionId::connectError>("connectError"),
                      InstanceMethod<&ConnectionId::giveUp>("giveUp"),
                      InstanceMethod<&ConnectionId::establish>("establish"),
                      InstanceMethod<&ConnectionId::accept>("accept"),
                      InstanceMethod<&ConnectionId::reject>("reject"),
                      InstanceMethod<&ConnectionId::disconnect>("disconnect"),
                      InstanceMethod<&ConnectionId::communicationEstablished>("communicationEstablished"),
                      InstanceMethod<&ConnectionId::close>("close")});
}

ConnectionId::ConnectionId(const Napi::CallbackInfo& info) : Wrap(info) {
  if (info[0].IsNull()) return;
  auto core = std::make_shared<IdCore>();
  core->channel = EventChannel::from(info.Env(), info[0])->core(info.Env());
  auto* key = reinterpret_cast<void*>(static_cast<uintptr_t>(wholeNumber(info, 1, UINT32_MAX)));
  check(info.Env(), "rdma_create_id", lib.rdma_create_id(core->channel->channel, &core->id, key, RDMA_PS_TCP));
  core_ = std::move(core);
}

ConnectionId::~ConnectionId() {
  if (attempt_) attempt_->giveUp();
}

const std::shared_ptr<IdCore>& ConnectionId::core(Napi::Env env) const {
  if (!core_) throw closedError(env, "the connection's identifier");
  return core_;
}

/** The same; for calls in which librdmacm takes it for granted that the address was resolved. */
const std::shared_ptr<IdCore>& ConnectionId::resolved(Napi::Env env) const {
  if (core(env)->id->verbs == nullptr) throw Napi::TypeError::New(env, "the connection's identifier has no device yet");
  return core_;
}

void ConnectionId::setKey(const Napi::CallbackInfo& info) {
  core(info.Env())->id->context = reinterpret_cast<void*>(static_cast<uintptr_t>(wholeNumber(info, 0, UINT32_MAX)));
}

/** bind(address, port) */
void ConnectionId::bind(const Napi::CallbackInfo& info) {
  Address address(info.Env(), text(info, 0), static_cast<uint16_t>(wholeNumber(info, 1, 65535)));
  check(info.Env(), "rdma_bind_addr", lib.rdma_bind_addr(core(info.Env())->id, address.get()));
}

/** listen(backlog) */
void ConnectionId::listen(const Napi::CallbackInfo& info) {
  const auto backlog = static_cast<int>(wholeNumber(info, 0, 65535));
  check(info.Env(), "rdma_listen", lib.rdma_listen(core(info.Env())->id, backlog));
}

/** resolveAddress(address, port, milliseconds) */
void ConnectionId::resolveAddress(const Napi::CallbackInfo& info) {
  Address address(info.Env(), text(info, 0), static_cast<uint16_t>(wholeNumber(info, 1, 65535)));
  const auto timeout = static_cast<int>(wholeNumber(info, 2, INT32_MAX));
  check(info.Env(), "rdma_resolve_addr", lib.rdma_resolve_addr(core(info.Env())->id, nullptr, address.get(), timeout));
}

/** resolveRoute(milliseconds) */
void ConnectionId::resolveRoute(const Napi::CallbackInfo& info) {
  const auto timeout = static_cast<int>(wholeNumber(info, 0, INT32_MAX));
  check(info.Env(), "rdma_resolve_route", lib.rdma_resolve_route(resolved(info.Env())->id, timeout));
}

/** device(): the name of the one that the address belongs to, or that leads there; null if none is known */
Napi::Value ConnectionId::device(const Napi::CallbackInfo& info) {
  const ibv_context* verbs = core(info.Env())->id->verbs;
  if (verbs == nullptr) return info.Env().Null();
  return Napi::String::New(info.Env(), lib.ibv_get_device_name(verbs->device));
}

/** addresses(): [local address, remote address, local port] */
Napi::Value ConnectionId::addresses(const Napi::CallbackInfo& info) {
  rdma_cm_id* id = core(info.Env())->id;
  Napi::Array result = Napi::Array::New(info.Env(), 3);
  result.Set(0u, hostOf(&id->route.addr.src_addr));
  result.Set(1u, hostOf(&id->route.addr.dst_addr));
  result.Set(2u, ntohs(lib.rdma_get_src_port(id)));
  return result;
}

/**
 * transition(queuePair, state, access, responderResources, initiatorDepth): to IBV_QPS_INIT, RTR or RTS, with what the connection
 * manager knows of the path, and `access` of ibv_access_flags for the peer. The path's MTU in bytes, 0 where the state has none.
 */
Napi::Value ConnectionId::transition(const Napi::CallbackInfo& info) {
  const auto& queuePair = QueuePair::from(info.Env(), info[0])->core(info.Env());
  ibv_qp_attr attr{};
  int mask = 0;
  attr.qp_state = static_cast<ibv_qp_state>(wholeNumber(info, 1, IBV_QPS_RTS));
  check(info.Env(), "rdma_init_qp_attr", lib.rdma_init_qp_attr(core(info.Env())->id, &attr, &mask));
  if ((mask & IBV_QP_ACCESS_FLAGS) != 0) attr.qp_access_flags = static_cast<unsigned>(wholeNumber(info, 2, 0xff));
  if ((mask & IBV_QP_MAX_DEST_RD_ATOMIC) != 0) attr.max_dest_rd_atomic = static_cast<uint8_t>(wholeNumber(info, 3, 255));
  if ((mask & IBV_QP_MAX_QP_RD_ATOMIC) != 0) attr.max_rd_atomic = static_cast<uint8_t>(wholeNumber(info, 4, 255));
  if (int error = lib.ibv_modify_qp(queuePair->qp, &attr, mask)) throw systemError(info.Env(), "ibv_modify_qp", error);
  return Napi::Number::New(info.Env(), (mask & IBV_QP_PATH_MTU) != 0 ? 128 << static_cast<int>(attr.path_mtu) : 0);
}

/**
 * connect(queuePair, privateData, responderResources, initiatorDepth): a descriptor that can be read when {@link connectError} is
 * known.
 */
Napi::Value ConnectionId::connect(const Napi::CallbackInfo& info) {
  if (attempt_) throw Napi::TypeError::New(info.Env(), "the connection's identifier connects already");
  auto attempt = std::make_shared<Attempt>(info, resolved(info.Env()));
  try {
    std::thread([attempt] { attempt->run(); }).detach();
  } catch (const std::system_error& error) {
    throw systemError(info.Env(), "pthread_create", error.code().value());
  }
  attempt_ = std::move(attempt);
  return Napi::Number::New(info.Env(), attempt_->told);
}

/** connectError(): the errno of rdma_connect, or 0 */
Napi::Value ConnectionId::connectError(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), attempt_ ? attempt_->error.load() : 0);
}

/** establish(): InfiniBand and RoCE, when the peer has answered and the queue pair is ready */
void ConnectionId::establish(const Napi::CallbackInfo& info) {
  check(info.Env(), "rdma_establish", lib.rdma_establish(core(info.Env())->id));
}

/** accept(queuePair, privateData, responderResources, initiatorDepth) */
void ConnectionId::accept(const Napi::CallbackInfo& info) {
  Parameters parameters(info);
  check(info.Env(), "rdma_accept", lib.rdma_accept(resolved(info.Env())->id, &parameters.conn));
}

/** reject(privateData) */
void ConnectionId::reject(const Napi::CallbackInfo& info) {
  const Bytes bytes = bytesOf(info.Env(), info[0]);
  if (bytes.length > 255) throw Napi::RangeError::New(info.Env(), "more than 255 bytes of private data");
  check(info.Env(), "rdma_reject",
        lib.rdma_reject(core(info.Env())->id, bytes.data, static_cast<uint8_t>(bytes.length)));
}

/** disconnect(): one that is over already, or not made yet, stays as it is */
void ConnectionId::disconnect(const Napi::CallbackInfo& info) { lib.rdma_disconnect(core(info.Env())->id); }

/** communicationEstablished(): a message has come before the peer's word that it is ready */
void ConnectionId::communicationEstablished(const Napi::CallbackInfo& info) {
  lib.rdma_notify(core(info.Env())->id, IBV_EVENT_COMM_EST);
}

/** giveUp(): if it connects, that fails now */
void ConnectionId::giveUp(const Napi::CallbackInfo&) {
  if (attempt_) attempt_->giveUp();
}

/** A thread that connects it at this moment keeps it until that is over. */
void ConnectionId::close(const Napi::CallbackInfo&) {
  if (attempt_) attempt_->giveUp();
  attempt_.reset();
  core_.reset();
}
