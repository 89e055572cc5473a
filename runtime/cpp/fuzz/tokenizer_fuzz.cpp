// A tokenizer.json from the first line of the input, and a text from the rest. It loads or throws an Error;
// then any text, valid or not, has no more ids than were asked for. Seeds: each golden tokenizer, small ones
// first, as one line with a text behind it.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "error.hpp"
#include "text/tokenizer.hpp"

namespace {

constexpr std::size_t kMaxTokens = 64;

bool is_valid(std::string_view text) {
  try {
    mtab_core::require_utf8(text);
    return true;
  } catch (const mtab_core::Error& error) {
    if (error.code() != MTAB_TEXT_ERROR) std::abort();
    return false;
  }
}

void try_text(const mtab_core::Tokenizer& tokenizer, std::string_view text) {
  const mtab_core::Tokens tokens = tokenizer(text);
  const bool right = tokens.truncated ? tokens.ids.size() == kMaxTokens : tokens.ids.size() <= kMaxTokens;
  if (!right) std::abort();
  if (is_valid(text) && mtab_core::characters(text) > text.size()) std::abort();
  mtab_core::is_blank(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  const std::string_view json = input.substr(0, line);
  const std::string_view text = line == std::string_view::npos ? std::string_view() : input.substr(line + 1);
  try {
    const auto tokenizer = mtab_core::Tokenizer::parse(json, "tokenizer.json", kMaxTokens);
    try_text(tokenizer, text);
  } catch (const mtab_core::Error& error) {
    if (error.code() != MTAB_CONFIG_ERROR || !is_valid(error.message())) std::abort();
  }
  return 0;
}
