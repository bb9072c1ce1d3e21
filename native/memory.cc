#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <mutex>

namespace {

/** By the address behind their end. ArrayBuffers go from thread to thread, so all threads share it. */
std::mutex mutex;
std::map<const uint8_t*, std::weak_ptr<Pages>>& table() {
  // Never destroyed: threads may end later than this would.
  static auto* all = new std::map<const uint8_t*, std::weak_ptr<Pages>>();
  return *all;
}

constexpr size_t HUGE_PAGE = 2u << 20;

size_t roundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

Pages::~Pages() {
  {
    std::lock_guard<std::mutex> lock(mutex);
    table().erase(static_cast<const uint8_t*>(address) + length);
  }
  munmap(address, length);
}

Napi::Value allocate(const Napi::CallbackInfo& info) {
  const size_t bytes = wholeNumber(info, 0, size_t{1} << 40);
  const bool isHuge = info[1].ToBoolean().Value();
  const size_t page = isHuge ? HUGE_PAGE : static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t length = roundUp(bytes == 0 ? 1 : bytes, page);
  const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (isHuge ? MAP_HUGETLB : 0);
  void* address = mmap(nullptr, length, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (address == MAP_FAILED) throw systemError(info.Env(), "mmap", errno);
  auto pages = std::make_shared<Pages>();
  pages->address = address;
  pages->length = length;
  // A forked child must not take away pages that a device reaches.
  madvise(address, length, MADV_DONTFORK);
  {
    std::lock_guard<std::mutex> lock(mutex);
    table()[static_cast<const uint8_t*>(address) + length] = pages;
  }
  auto* held = new std::shared_ptr<Pages>(std::move(pages));
  return Napi::ArrayBuffer::New(
      info.Env(), address, bytes, [](Napi::Env, void*, std::shared_ptr<Pages>* owned) { delete owned; }, held);
}

std::shared_ptr<Pages> pagesAt(const void* address) {
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = table().upper_bound(static_cast<const uint8_t*>(address));
  if (found == table().end()) return nullptr;
  std::shared_ptr<Pages> pages = found->second.lock();
  return pages != nullptr && pages->address <= address ? pages : nullptr;
}
