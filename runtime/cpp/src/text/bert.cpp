#include "text/bert.hpp"

#include "text/unicode.hpp"

namespace mtab_core {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

std::u32string cleaned(std::u32string_view text) {
  std::u32string clean;
  clean.reserve(text.size());
  for (const char32_t c : text) {
    if (unicode::is_dropped(c) || c == 0 || c == kReplacement) continue;
    clean += unicode::is_space(c) ? U' ' : c;
  }
  return clean;
}

std::u32string with_ideographs_apart(std::u32string_view text) {
  std::u32string apart;
  apart.reserve(text.size());
  for (const char32_t c : text) {
    if (unicode::is_ideograph(c)) {
      apart += U' ';
      apart += c;
      apart += U' ';
    } else {
      apart += c;
    }
  }
  return apart;
}

}  // namespace

BertNormalizer::BertNormalizer(const Fields& fields)
    : clean_text_(fields.flag("clean_text")),
      handle_chinese_chars_(fields.flag("handle_chinese_chars")),
      strip_accents_(fields.flag("strip_accents", fields.flag("lowercase"))),
      lowercase_(fields.flag("lowercase")) {}

std::string BertNormalizer::operator()(std::string_view text) const {
  std::u32string characters = unicode::decoded(text);
  if (clean_text_) characters = cleaned(characters);
  if (handle_chinese_chars_) characters = with_ideographs_apart(characters);
  if (strip_accents_) characters = unicode::unaccented(characters);
  if (lowercase_) characters = unicode::lowercase(characters);
  return unicode::encoded(characters);
}

std::string_view next_bert_word(std::string_view text, std::size_t& start) {
  std::size_t first = start;
  for (std::size_t at = start; at < text.size();) {
    const std::size_t before = at;
    const char32_t c = unicode::next(text, at);
    const bool space = unicode::is_space(c);
    if (!space && !unicode::is_punctuation(c)) continue;
    if (before > first) {
      start = before;
      return text.substr(first, before - first);
    }
    if (!space) {
      start = at;
      return text.substr(before, at - before);
    }
    first = at;
  }
  start = text.size();
  return text.substr(first);
}

}  // namespace mtab_core
