// What can go wrong, inside the library: one line with the file, what was found and what was expected.
#pragma once

#include <exception>
#include <string>
#include <utility>

#include "mtab.h"

// Not `mtab`, which is the namespace of mtab.hpp in the programs that a static library is linked into.
namespace mtab_core {

class Error : public std::exception {
 public:
  Error(mtab_code code, std::string message) : code_(code), message_(std::move(message)) {}

  [[nodiscard]] mtab_code code() const noexcept { return code_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const char* what() const noexcept override { return message_.c_str(); }

  // The same error of a thing with a name: "clip.wav: truncated".
  [[nodiscard]] Error of(const std::string& name) const { return {code_, name + ": " + message_}; }

 private:
  mtab_code code_;
  std::string message_;
};

}  // namespace mtab_core
