/** Memory for regions: page-aligned, on huge pages if asked for, freed only when neither JavaScript nor a device has it. */
#pragma once

#include <memory>

#include "wrap.h"

/** Pages of the system's own. */
struct Pages {
  void* address = nullptr;
  size_t length = 0;
  ~Pages();
};

/** allocate(bytes, isHuge): an ArrayBuffer on pages of its own, zero-filled. */
Napi::Value allocate(const Napi::CallbackInfo& info);

/** The pages that `address` is in, if {@link allocate} made them; whoever keeps this keeps them. */
std::shared_ptr<Pages> pagesAt(const void* address);
