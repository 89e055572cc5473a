// From a transcript to token ids, as `mtab.text`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"

namespace mtab_core {

// The ids, special tokens included, and whether the text was longer and lost its end.
struct Tokens {
  std::vector<std::int64_t> ids;
  bool truncated = false;
};

// A checkpoint's tokenizer.json. What looks like a special token in a text is tokenized as the characters
// that it is, so that no text can inject one. Safe to call from several threads.
class Tokenizer {
 public:
  // `max_tokens` counts the special tokens too. Throws ConfigError, naming the file, if it is missing or
  // invalid, is of a kind that is not read here, or `max_tokens` leaves no room for text.
  Tokenizer(const Path& path, std::size_t max_tokens);
  // The same of a file's content; `name` is what messages call it.
  static Tokenizer parse(std::string_view content, const std::string& name, std::size_t max_tokens);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  // `text` is valid UTF-8: see `require_utf8`.
  [[nodiscard]] Tokens operator()(std::string_view text) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

// TextError, saying where, unless `text` is valid UTF-8.
void require_utf8(std::string_view text);
// The number of code points of valid UTF-8.
std::size_t characters(std::string_view text);
// Whether there is nothing but what Python's str.strip takes away.
bool is_blank(std::string_view text);

}  // namespace mtab_core
