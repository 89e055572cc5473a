// What the Unicode standard says of a character, as the `tokenizers` library has it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mtab_core::unicode {

// The code point at `at`, which is moved behind it. `text` is valid UTF-8; anything else gives any code
// point.
char32_t next(std::string_view text, std::size_t& at);
// Where the code point begins that ends at `end`, which is not 0.
std::size_t previous(std::string_view text, std::size_t end);
void append(std::string& text, char32_t c);
std::u32string decoded(std::string_view text);
std::string encoded(std::u32string_view text);

bool is_letter(char32_t c);
bool is_number(char32_t c);
bool is_space(char32_t c);
// What belongs to a word where an added token must be one of its own.
bool is_word(char32_t c);
bool is_punctuation(char32_t c);
bool is_ideograph(char32_t c);
// Control characters and the like, which a BERT tokenizer does not read.
bool is_dropped(char32_t c);

// The canonical decomposition, in canonical order, without the marks.
std::u32string unaccented(std::u32string_view text);
std::u32string lowercase(std::u32string_view text);

}  // namespace mtab_core::unicode
