#include "text/byte_level.hpp"

#include <cstdint>

#include "text/unicode.hpp"

namespace mtab_core {
namespace {

bool is_printable(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

// The code point for each byte: itself where it can be printed, else the next one from 256 on.
std::array<char32_t, 256> byte_codes() {
  std::array<char32_t, 256> codes{};
  char32_t free = 256;
  for (unsigned byte = 0; byte < codes.size(); ++byte) codes[byte] = is_printable(byte) ? byte : free++;
  return codes;
}

enum class Kind : std::uint8_t { kLetter, kNumber, kSpace, kOther };

Kind kind_of(char32_t c) {
  if (unicode::is_letter(c)) return Kind::kLetter;
  if (unicode::is_number(c)) return Kind::kNumber;
  return unicode::is_space(c) ? Kind::kSpace : Kind::kOther;
}

// Where the run of characters of a kind ends that begins at `at`.
std::size_t run_end(std::string_view text, std::size_t at, Kind kind) {
  while (at < text.size()) {
    std::size_t after = at;
    if (kind_of(unicode::next(text, after)) != kind) break;
    at = after;
  }
  return at;
}

// The length of 's, 't, 're, 've, 'm, 'll or 'd; 0 if there is none.
std::size_t contraction(std::string_view text) {
  constexpr std::string_view kContractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
  if (text.empty() || text[0] != '\'') return 0;
  for (const std::string_view each : kContractions) {
    if (text.substr(0, each.size()) == each) return each.size();
  }
  return 0;
}

}  // namespace

ByteLevel::ByteLevel(const Fields& fields)
    : add_prefix_space(fields.flag("add_prefix_space")), use_regex(fields.flag("use_regex", true)) {}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t word_length(std::string_view text, std::size_t start) {
  if (const std::size_t length = contraction(text.substr(start))) return length;
  std::size_t at = start;
  if (text[at] == ' ' && at + 1 < text.size()) ++at;
  std::size_t after = at;
  const Kind kind = kind_of(unicode::next(text, after));
  if (kind != Kind::kSpace) return run_end(text, after, kind) - start;
  const std::size_t end = run_end(text, start, Kind::kSpace);
  // The last space of a run belongs to the word behind it, unless it is the only one.
  const std::size_t last = unicode::previous(text, end);
  return (end == text.size() || last == start ? end : last) - start;
}

std::array<std::string, 256> byte_characters() {
  const auto codes = byte_codes();
  std::array<std::string, 256> characters;
  for (std::size_t byte = 0; byte < codes.size(); ++byte) unicode::append(characters[byte], codes[byte]);
  return characters;
}

std::optional<std::string> bytes_of(std::string_view token) {
  static const auto kBytes = [] {
    std::array<int, 512> bytes{};
    bytes.fill(-1);
    const auto codes = byte_codes();
    for (std::size_t byte = 0; byte < codes.size(); ++byte) bytes[codes[byte]] = static_cast<int>(byte);
    return bytes;
  }();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const char32_t code = unicode::next(token, at);
    if (code >= kBytes.size() || kBytes[code] < 0) return std::nullopt;
    bytes += static_cast<char>(static_cast<unsigned char>(kBytes[code]));
  }
  return bytes;
}

}  // namespace mtab_core
