// Tokens that are looked for in a text before it is split into words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/fields.hpp"
#include "text/trie.hpp"

namespace mtab_core {

// A part of a text: a token with its id, or what is between tokens.
struct Piece {
  std::string_view text;
  std::optional<std::uint32_t> id;
};

struct AddedToken {
  std::uint32_t id = 0;
  std::string content;
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  // Found, and then left as the characters that it is; a shorter token inside it is not found either.
  bool special = false;
};

// The tokens that are looked for in one form of a text.
class AddedTokens {
 public:
  void add(const std::string& pattern, const AddedToken& token, const Fields& file);

  // The pieces of a text, in order; none of them is empty.
  [[nodiscard]] std::vector<Piece> split(std::string_view text) const;

 private:
  Trie patterns_;
  std::vector<AddedToken> tokens_;
};

// Those that are looked for in a text as it is, and those that are looked for once it is normalized.
struct AddedVocabulary {
  AddedTokens verbatim;
  AddedTokens normalized;

  using Normalize = std::function<std::string(const std::string&)>;
  AddedVocabulary(const Fields& file, const Vocabulary& vocabulary, const Normalize& normalize);
};

}  // namespace mtab_core
