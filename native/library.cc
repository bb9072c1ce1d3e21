#include "library.h"

#include <dlfcn.h>

Library lib;

namespace {

template <typename Function>
bool find(void* handle, const char* name, Function& function, std::string& missing) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr) missing = std::string("its version has no ") + name;
  return function != nullptr;
}

std::string openBoth() {
  std::string missing;
  // They stay open until the process ends: threads that ended may have left objects in them.
  void* verbs = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_LOCAL);
  if (verbs == nullptr) return "libibverbs.so.1 is missing";
  void* cm = dlopen("librdmacm.so.1", RTLD_NOW | RTLD_LOCAL);
  if (cm == nullptr) return "librdmacm.so.1 is missing";
#define RISER_FIND(name) \
  if (!find(verbs, #name, lib.name, missing)) return "libibverbs.so.1: " + missing;
  RISER_VERBS_FUNCTIONS(RISER_FIND)
#undef RISER_FIND
#define RISER_FIND(name) \
  if (!find(cm, #name, lib.name, missing)) return "librdmacm.so.1: " + missing;
  RISER_CM_FUNCTIONS(RISER_FIND)
#undef RISER_FIND
  return missing;
}

}  // namespace

const std::string& openLibraries() {
  static const std::string missing = openBoth();
  return missing;
}
