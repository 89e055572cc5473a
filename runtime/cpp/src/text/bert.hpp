// How BERT cleans a text and splits it into words.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "text/fields.hpp"

namespace mtab_core {

class BertNormalizer {
 public:
  explicit BertNormalizer(const Fields& fields);

  [[nodiscard]] std::string operator()(std::string_view text) const;

 private:
  bool clean_text_;
  bool handle_chinese_chars_;
  bool strip_accents_;
  bool lowercase_;
};

// The next word of `text` from `start` on, which is moved behind it: what is between white space, each
// punctuation mark apart. Empty at the end.
std::string_view next_bert_word(std::string_view text, std::size_t& start);

}  // namespace mtab_core
