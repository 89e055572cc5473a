#include "onnxruntime.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "error.hpp"
#include "python_text.hpp"

namespace mtab_core {
namespace {

// What every function is in that is needed on a CPU, with CUDA and with TensorRT: ONNX Runtime 1.21.
constexpr std::uint32_t kOldest = 21;
// And those for providers that are plugins: 1.22.
constexpr std::uint32_t kPlugins = 22;
static_assert(ORT_API_VERSION >= kPlugins,
              "ONNX Runtime's headers are too old, expected those of 1.22 or newer");

#ifdef __APPLE__
constexpr const char* kNames[] = {"libonnxruntime.dylib"};
#else
constexpr const char* kNames[] = {"libonnxruntime.so.1", "libonnxruntime.so"};
#endif

void* opened(const std::string& library) {
  std::vector<std::string> names = {library};
  if (library.empty()) names.assign(std::begin(kNames), std::end(kNames));
  std::string reason;
  for (const std::string& name : names) {
    // It is never closed: its threads and its own end would not survive that.
    if (void* handle = ::dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return handle;
    const char* error = ::dlerror();
    if (reason.empty() && error != nullptr) reason = one_line(error);
  }
  throw Error(MTAB_ENGINE_ERROR, "ONNX Runtime: " + joined(names, " and ") + " cannot be loaded (" + reason +
                                     "), expected its shared library, 1.21 or newer");
}

}  // namespace

OnnxRuntime::OnnxRuntime(const std::string& library) : environment_(nullptr, nullptr) {
  void* handle = opened(library);
  using Base = const OrtApiBase*(ORT_API_CALL*)();
  const auto get_base = reinterpret_cast<Base>(::dlsym(handle, "OrtGetApiBase"));
  if (get_base == nullptr) {
    throw Error(MTAB_ENGINE_ERROR,
                library + ": has no OrtGetApiBase, expected ONNX Runtime's shared library");
  }
  base_ = get_base();
  version_ = base_->GetVersionString();
  release_ =
      version_.rfind("1.", 0) == 0 ? std::atoi(version_.c_str() + 2) : std::atoi(version_.c_str()) * 1000;
  // It prints a line to stderr where the number is beyond its own.
  api_ = release_ >= static_cast<int>(kOldest) ? base_->GetApi(kOldest) : nullptr;
  if (api_ == nullptr) {
    throw Error(MTAB_ENGINE_ERROR, "ONNX Runtime " + version_ + " is too old, expected 1.21 or newer");
  }
  OrtEnv* environment = nullptr;
  // What it has to say goes to each session's own log.
  check(api_->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "mtab", &environment));
  environment_ = {environment, api_->ReleaseEnv};
}

const OrtApi& OnnxRuntime::newer_api(const std::string& needed_for) const {
  const OrtApi* api = release_ >= static_cast<int>(kPlugins) ? base_->GetApi(kPlugins) : nullptr;
  if (api == nullptr) {
    throw Error(MTAB_ENGINE_ERROR,
                needed_for + ": ONNX Runtime " + version_ + " takes no plugin, expected 1.22 or newer");
  }
  return *api;
}

std::vector<std::string> OnnxRuntime::providers() const {
  char** names = nullptr;
  int count = 0;
  check(api_->GetAvailableProviders(&names, &count));
  std::vector<std::string> found(names, names + count);
  check(api_->ReleaseAvailableProviders(names, count));
  return found;
}

void OnnxRuntime::check(OrtStatus* status) const {
  if (status == nullptr) return;
  const std::string message = one_line(api_->GetErrorMessage(status));
  api_->ReleaseStatus(status);
  throw Failure(message);
}

}  // namespace mtab_core
