// Texts as bytes: how GPT-2 and RoBERTa split a text into words, and how they write bytes in their
// vocabulary.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "text/fields.hpp"

namespace mtab_core {

struct ByteLevel {
  bool add_prefix_space = false;
  bool use_regex = true;

  ByteLevel() = default;
  explicit ByteLevel(const Fields& fields);
};

// How many bytes of `text` from `start` on, which is not its end, are its next word.
std::size_t word_length(std::string_view text, std::size_t start);

// How the vocabulary writes each byte: a character of its own, in UTF-8.
std::array<std::string, 256> byte_characters();
// The bytes that a token of the vocabulary stands for; none if it holds another character.
std::optional<std::string> bytes_of(std::string_view token);

}  // namespace mtab_core
