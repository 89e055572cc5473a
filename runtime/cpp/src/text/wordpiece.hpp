// WordPiece: a word as the longest pieces of a vocabulary.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "text/fields.hpp"
#include "text/trie.hpp"

namespace mtab_core {

class WordPiece {
 public:
  WordPiece(const Fields& model, const Vocabulary& vocabulary);

  // Append the ids of a word.
  void encode(std::string_view word, std::vector<std::int64_t>& ids) const;

 private:
  Trie beginnings_;
  Trie continuations_;
  std::uint32_t unknown_ = 0;
  std::size_t most_characters_ = 0;
};

}  // namespace mtab_core
