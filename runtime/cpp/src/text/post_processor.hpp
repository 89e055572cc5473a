// The special tokens around a text.
#pragma once

#include <cstdint>
#include <vector>

#include "text/fields.hpp"

namespace mtab_core {

struct SpecialTokens {
  std::vector<std::int64_t> before;
  std::vector<std::int64_t> after;

  [[nodiscard]] std::size_t size() const { return before.size() + after.size(); }
};

// Those that the file's post-processor adds; none if there is none.
SpecialTokens special_tokens(const Fields& file);

}  // namespace mtab_core
