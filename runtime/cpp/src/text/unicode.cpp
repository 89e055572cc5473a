#include "text/unicode.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <iterator>
#include <optional>
#include <utility>
#include <vector>

#include "error.hpp"
#include "text/tokenizer.hpp"

namespace mtab_core {
namespace unicode {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

struct NumberedRange {
  Range range;
  std::uint8_t number;
};

// Each `step`th character from `first` to `last` is mapped to the one `by` further on.
struct Shift {
  char32_t first;
  char32_t last;
  std::uint8_t step;
  std::int32_t by;
};

// A character that is mapped to several or to none. Zeros fill up.
struct Expansion {
  char32_t from;
  std::array<char32_t, 3> to;
};

#include "text/unicode_tables.inc"

constexpr char32_t first_of(const Range& row) { return row.first; }
constexpr char32_t first_of(const NumberedRange& row) { return row.range.first; }
constexpr char32_t first_of(const Shift& row) { return row.first; }
constexpr char32_t first_of(const Expansion& row) { return row.from; }

// The last row that does not begin behind `c`.
template <typename Row, std::size_t size>
const Row* row_of(const Row (&rows)[size], char32_t c) {
  const auto* const above =
      std::upper_bound(std::begin(rows), std::end(rows), c,
                       [](char32_t code, const Row& row) { return code < first_of(row); });
  return above == std::begin(rows) ? nullptr : above - 1;
}

template <std::size_t size>
bool holds(const Range (&ranges)[size], char32_t c) {
  const Range* const range = row_of(ranges, c);
  return range != nullptr && c <= range->last;
}

// Most texts are ASCII, and nearly all that is asked of them is one of these.
enum Class : std::uint8_t { kLetter = 1, kNumber = 2, kSpace = 4, kWord = 8, kPunctuated = 16, kDrop = 32 };
using Ascii = std::array<std::uint8_t, 0x80>;

template <std::size_t size>
constexpr void mark(Ascii& classes, const Range (&ranges)[size], Class mask) {
  for (std::size_t row = 0; row < size && ranges[row].first < classes.size(); ++row) {
    for (std::size_t c = ranges[row].first; c <= ranges[row].last && c < classes.size(); ++c) {
      classes[c] = static_cast<std::uint8_t>(classes[c] | mask);
    }
  }
}

constexpr Ascii ascii_classes() {
  Ascii classes{};
  mark(classes, kLetters, kLetter);
  mark(classes, kNumbers, kNumber);
  mark(classes, kSpaces, kSpace);
  mark(classes, kWords, kWord);
  mark(classes, kPunctuation, kPunctuated);
  mark(classes, kDropped, kDrop);
  return classes;
}

constexpr Ascii kAscii = ascii_classes();

template <std::size_t size>
bool is(Class mask, const Range (&ranges)[size], char32_t c) {
  return c < kAscii.size() ? (kAscii[c] & mask) != 0 : holds(ranges, c);
}

template <std::size_t shifts, std::size_t expansions>
void append_mapped(std::u32string& text, char32_t c, const Shift (&shifted)[shifts],
                   const Expansion (&expanded)[expansions]) {
  const Shift* const shift = row_of(shifted, c);
  if (shift != nullptr && c <= shift->last && (c - shift->first) % shift->step == 0) {
    text += static_cast<char32_t>(static_cast<std::int64_t>(c) + shift->by);
    return;
  }
  const Expansion* const expansion = row_of(expanded, c);
  if (expansion == nullptr || expansion->from != c) {
    text += c;
    return;
  }
  for (const char32_t part : expansion->to) {
    if (part != 0) text += part;
  }
}

constexpr char32_t kReplacement = 0xFFFD;

// Hangul syllables are decomposed by arithmetic (The Unicode Standard, 3.12).
constexpr char32_t kFirstSyllable = 0xAC00;
constexpr char32_t kSyllables = 11172;
constexpr char32_t kVowels = 21;
constexpr char32_t kTails = 28;

void append_syllable(std::u32string& text, char32_t syllable) {
  const char32_t number = syllable - kFirstSyllable;
  text += 0x1100 + number / (kVowels * kTails);
  text += 0x1161 + number / kTails % kVowels;
  if (number % kTails != 0) text += 0x11A7 + number % kTails;
}

std::uint8_t combining_class(char32_t c) {
  const NumberedRange* const row = row_of(kCombiningClasses, c);
  return row != nullptr && c <= row->range.last ? row->number : 0;
}

// Puts what is combined with one character in its order; what is equal stays as it was.
class Ordered {
 public:
  void add(char32_t c) {
    const std::uint8_t number = combining_class(c);
    if (number == 0) {
      start(c);
    } else {
      combined_.push_back({number, c});
    }
  }

  // A character that is combined with none before it.
  void start(char32_t c) {
    settle();
    text_ += c;
  }

  void settle() {
    if (combined_.empty()) return;
    std::stable_sort(combined_.begin(), combined_.end(),
                     [](const Combined& a, const Combined& b) { return a.number < b.number; });
    for (const Combined& each : combined_) text_ += each.c;
    combined_.clear();
  }

  std::u32string text() {
    settle();
    return std::move(text_);
  }

 private:
  struct Combined {
    std::uint8_t number;
    char32_t c;
  };
  std::u32string text_;
  std::vector<Combined> combined_;
};

}  // namespace

char32_t next(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t index) { return static_cast<unsigned char>(text[index]); };
  const unsigned char lead = byte(at++);
  if (lead < 0x80) return lead;
  // No text begins in the middle of a character: those are told by their first byte.
  if (lead < 0xC0) return kReplacement;
  const std::size_t rest = std::min<std::size_t>(lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3, text.size() - at);
  char32_t code = lead & (0x3FU >> (lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : 3));
  for (std::size_t part = 0; part < rest; ++part) code = code << 6 | (byte(at++) & 0x3FU);
  return code;
}

std::size_t previous(std::string_view text, std::size_t end) {
  std::size_t start = end - 1;
  while (start > 0 && (static_cast<unsigned char>(text[start]) & 0xC0U) == 0x80U) --start;
  return start;
}

void append(std::string& text, char32_t c) {
  const auto add = [&text](char32_t byte) { text += static_cast<char>(static_cast<unsigned char>(byte)); };
  if (c < 0x80) {
    add(c);
  } else if (c < 0x800) {
    add(0xC0 | c >> 6);
    add(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    add(0xE0 | c >> 12);
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  } else {
    add(0xF0 | c >> 18);
    add(0x80 | (c >> 12 & 0x3F));
    add(0x80 | (c >> 6 & 0x3F));
    add(0x80 | (c & 0x3F));
  }
}

std::u32string decoded(std::string_view text) {
  std::u32string characters;
  characters.reserve(text.size());
  for (std::size_t at = 0; at < text.size();) characters += next(text, at);
  return characters;
}

std::string encoded(std::u32string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  for (const char32_t c : text) append(bytes, c);
  return bytes;
}

bool is_letter(char32_t c) { return is(kLetter, kLetters, c); }
bool is_number(char32_t c) { return is(kNumber, kNumbers, c); }
bool is_space(char32_t c) { return is(kSpace, kSpaces, c); }
bool is_word(char32_t c) { return is(kWord, kWords, c); }
bool is_punctuation(char32_t c) { return is(kPunctuated, kPunctuation, c); }
bool is_dropped(char32_t c) { return is(kDrop, kDropped, c); }
bool is_ideograph(char32_t c) { return holds(kIdeographs, c); }

std::u32string unaccented(std::u32string_view text) {
  static_assert(first_of(kUnaccented[0]) >= kAscii.size() && first_of(kMarks[0]) >= kAscii.size() &&
                first_of(kCombiningClasses[0]) >= kAscii.size());
  Ordered ordered;
  std::u32string parts;
  for (const char32_t c : text) {
    if (c < kAscii.size()) {
      ordered.start(c);
      continue;
    }
    // A mark is taken away after all are in order, and so counts where it keeps others apart.
    if (holds(kStartingMarks, c)) ordered.settle();
    if (holds(kMarks, c)) continue;
    parts.clear();
    if (c >= kFirstSyllable && c < kFirstSyllable + kSyllables) {
      append_syllable(parts, c);
    } else {
      append_mapped(parts, c, kUnaccented, kUnaccentedSeveral);
    }
    for (const char32_t part : parts) ordered.add(part);
  }
  return ordered.text();
}

std::u32string lowercase(std::u32string_view text) {
  static_assert(kLowercase[0].first == 'A' && kLowercase[0].last == 'Z' && kLowercase[0].by == 'a' - 'A' &&
                kLowercase[1].first >= kAscii.size());
  std::u32string lower;
  lower.reserve(text.size());
  for (const char32_t c : text) {
    if (c < kAscii.size()) {
      lower += c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c;
    } else {
      append_mapped(lower, c, kLowercase, kLowercaseSeveral);
    }
  }
  return lower;
}

namespace {

// How many bytes of valid UTF-8 begin at `at`; 0 if they are invalid.
std::size_t valid_length(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t offset) {
    return at + offset < text.size() ? static_cast<unsigned char>(text[at + offset]) : 0U;
  };
  const auto follows = [&](std::size_t offset, unsigned lowest = 0x80, unsigned highest = 0xBF) {
    return byte(offset) >= lowest && byte(offset) <= highest;
  };
  const unsigned lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return follows(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    return follows(1, lead == 0xE0 ? 0xA0 : 0x80, lead == 0xED ? 0x9F : 0xBF) && follows(2) ? 3 : 0;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    const bool second = follows(1, lead == 0xF0 ? 0x90 : 0x80, lead == 0xF4 ? 0x8F : 0xBF);
    return second && follows(2) && follows(3) ? 4 : 0;
  }
  return 0;
}

std::string hexadecimal(const char* format, unsigned number) {
  std::array<char, 16> digits{};
  const int length = std::snprintf(digits.data(), digits.size(), format, number);
  return std::string(digits.data(), static_cast<std::size_t>(std::max(length, 0)));
}

// The surrogate that was written in UTF-8 at `at`, if there is one.
std::optional<unsigned> surrogate(std::string_view text, std::size_t at) {
  if (at + 2 >= text.size()) return std::nullopt;
  const auto byte = [&](std::size_t offset) { return static_cast<unsigned char>(text[at + offset]); };
  if (byte(0) != 0xED || byte(1) < 0xA0 || byte(1) > 0xBF || (byte(2) & 0xC0U) != 0x80U) return std::nullopt;
  return 0xD000U | (byte(1) & 0x3FU) << 6 | (byte(2) & 0x3FU);
}

}  // namespace
}  // namespace unicode

void require_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t length = unicode::valid_length(text, at);
    if (length == 0) {
      if (const auto code = unicode::surrogate(text, at)) {
        throw Error(MTAB_TEXT_ERROR, "text has the lone surrogate " + unicode::hexadecimal("U+%04X", *code) +
                                         " at " + std::to_string(characters(text.substr(0, at))) +
                                         ", expected valid Unicode");
      }
      const unsigned byte = static_cast<unsigned char>(text[at]);
      throw Error(MTAB_TEXT_ERROR, "text has the byte " + unicode::hexadecimal("0x%02X", byte) + " at byte " +
                                       std::to_string(at) + ", expected valid UTF-8");
    }
    at += length;
  }
}

std::size_t characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

bool is_blank(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    if (!unicode::holds(unicode::kBlanks, unicode::next(text, at))) return false;
  }
  return true;
}

}  // namespace mtab_core
