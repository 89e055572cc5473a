// ONNX Runtime's C API, loaded at run time from any library of it, 1.21 or newer.
#pragma once

#include <onnxruntime_c_api.h>

#include <memory>
#include <string>
#include <vector>

#include "files.hpp"
#include "log.hpp"

namespace mtab_core {

// An object of ONNX Runtime that is released at the end.
template <typename T>
using OrtHandle = std::unique_ptr<T, void(ORT_API_CALL*)(T*)>;

class OnnxRuntime {
 public:
  // Load a library; an empty path is what the system finds by the usual names. Throws EngineError if it is
  // absent, no ONNX Runtime, or older than 1.21.
  explicit OnnxRuntime(const std::string& library);

  [[nodiscard]] const OrtApi& api() const { return *api_; }
  // The functions that came later; throws EngineError, which begins with `needed_for`, where they are not
  // there.
  [[nodiscard]] const OrtApi& newer_api(const std::string& needed_for) const;
  [[nodiscard]] const std::string& version() const { return version_; }
  // The number after the "1." of its version.
  [[nodiscard]] int release() const { return release_; }
  [[nodiscard]] std::string build() const { return api_->GetBuildInfoString(); }
  [[nodiscard]] OrtEnv* environment() const { return environment_.get(); }
  [[nodiscard]] std::vector<std::string> providers() const;

  // Throws Failure unless `status` is none, and releases it.
  void check(OrtStatus* status) const;

 private:
  const OrtApiBase* base_ = nullptr;
  const OrtApi* api_ = nullptr;
  std::string version_;
  int release_ = 0;
  OrtHandle<OrtEnv> environment_;
};

// What ONNX Runtime says in one line; an EngineError is made of it where there is a name.
class Failure : public std::exception {
 public:
  explicit Failure(std::string message) : message_(std::move(message)) {}
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

}  // namespace mtab_core
