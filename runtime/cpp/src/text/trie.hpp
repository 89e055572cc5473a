// A set of byte strings, each with an id, to find the longest that a text goes on with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "text/flat_map.hpp"

namespace mtab_core {

class Trie {
 public:
  struct Match {
    std::size_t length;
    std::uint32_t id;
  };

  // The id of `key`, which was another's before.
  void set(std::string_view key, std::uint32_t id) {
    std::size_t node = 0;
    for (const char c : key) node = child_for(node, c);
    ids_[node] = id;
  }

  // The longest key, of one byte or more, that `text` begins with.
  [[nodiscard]] std::optional<Match> longest(std::string_view text) const {
    std::optional<Match> found;
    std::size_t node = 0;
    for (std::size_t at = 0; at < text.size(); ++at) {
      const std::uint64_t* const child = children_.find(edge(node, text[at]));
      if (child == nullptr) break;
      node = static_cast<std::size_t>(*child);
      if (ids_[node] != kNoId) found = Match{at + 1, static_cast<std::uint32_t>(ids_[node])};
    }
    return found;
  }

  // The id of `key` itself.
  [[nodiscard]] std::optional<std::uint32_t> at(std::string_view key) const {
    std::size_t node = 0;
    for (const char c : key) {
      const std::uint64_t* const child = children_.find(edge(node, c));
      if (child == nullptr) return std::nullopt;
      node = static_cast<std::size_t>(*child);
    }
    if (ids_[node] == kNoId) return std::nullopt;
    return static_cast<std::uint32_t>(ids_[node]);
  }

 private:
  static constexpr std::uint64_t kNoId = UINT64_MAX;

  static std::uint64_t edge(std::size_t node, char c) {
    return static_cast<std::uint64_t>(node) << 8 | static_cast<unsigned char>(c);
  }

  std::size_t child_for(std::size_t node, char c) {
    if (const std::uint64_t* const child = children_.find(edge(node, c)))
      return static_cast<std::size_t>(*child);
    ids_.push_back(kNoId);
    children_.set(edge(node, c), ids_.size() - 1);
    return ids_.size() - 1;
  }

  FlatMap children_;
  std::vector<std::uint64_t> ids_ = {kNoId};
};

}  // namespace mtab_core
