#include "python_text.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace mtab_core {

std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  const double size = std::fabs(value);
  const bool plain = size == 0.0 || (size >= 1e-4 && size < 1e16);
  // The longest plain one has 17 digits behind three zeros.
  std::array<char, 64> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                 plain ? std::chars_format::fixed : std::chars_format::scientific);
  std::string written(text.data(), end.ptr);
  if (plain && written.find('.') == std::string::npos) written += ".0";
  return written;
}

std::string fixed(double value, int digits) {
  if (std::isnan(value)) return "nan";
  // A double has 309 digits before its point at most. Not by printf, which follows the program's locale.
  std::array<char, 400> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed, digits);
  return {text.data(), end.ptr};
}

std::string general(double value) {
  if (std::isnan(value)) return "nan";
  std::array<char, 64> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::general, 6);
  return {text.data(), end.ptr};
}

std::string plain_path(const std::string& path) {
  if (path.empty()) return "''";
  // POSIX leaves open what two slashes at the start mean.
  const bool twice = path.rfind("//", 0) == 0 && path.rfind("///", 0) != 0;
  std::string found(path[0] == '/' ? (twice ? "//" : "/") : "");
  const std::string root = found;
  for (std::size_t start = 0; start < path.size();) {
    const std::size_t end = std::min(path.find('/', start), path.size());
    const std::string part = path.substr(start, end - start);
    if (!part.empty() && part != ".") found += (found == root ? "" : "/") + part;
    start = end + 1;
  }
  return found.empty() ? "." : found;
}

std::string printable(const std::string& text) {
  std::string shown;
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&text](std::size_t place) {
      return place < text.size() ? static_cast<unsigned char>(text[place]) : 0U;
    };
    const unsigned lead = byte(i);
    const std::size_t length = lead < 0x80   ? 1
                               : lead < 0xC2 ? 0
                               : lead < 0xE0 ? 2
                               : lead < 0xF0 ? 3
                               : lead < 0xF5 ? 4
                                             : 0;
    bool whole = length > 0;
    for (std::size_t k = 1; k < length; ++k) whole = whole && (byte(i + k) & 0xC0U) == 0x80;
    // Overlong forms, surrogates, and what is beyond the last code point.
    whole = whole && !(lead == 0xE0 && byte(i + 1) < 0xA0) && !(lead == 0xED && byte(i + 1) > 0x9F) &&
            !(lead == 0xF0 && byte(i + 1) < 0x90) && !(lead == 0xF4 && byte(i + 1) > 0x8F);
    shown += whole ? text.substr(i, length) : "\xEF\xBF\xBD";
    i += whole ? length : 1;
  }
  return shown;
}

std::string listed(const std::vector<std::string>& items) {
  std::vector<std::string> quotes;
  for (const std::string& item : items) quotes.push_back(in_quotes(item));
  return "[" + joined(quotes) + "]";
}

std::string in_quotes(const std::string& text) {
  const bool single = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = single ? '"' : '\'';
  std::string written(1, quote);
  for (const char c : text) {
    if (c == quote || c == '\\') {
      written += '\\';
      written += c;
    } else if (c == '\n') {
      written += "\\n";
    } else if (c == '\r') {
      written += "\\r";
    } else if (c == '\t') {
      written += "\\t";
    } else if (static_cast<unsigned char>(c) < 32 || c == 127) {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      written += code;
    } else {
      written += c;
    }
  }
  return written + quote;
}

std::string joined(const std::vector<std::string>& items, const std::string& between) {
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) text += (i > 0 ? between : "") + items[i];
  return text;
}

}  // namespace mtab_core
