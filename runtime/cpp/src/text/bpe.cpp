#include "text/bpe.hpp"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "json.hpp"
#include "text/byte_level.hpp"

namespace mtab_core {
namespace {

constexpr std::size_t kNone = SIZE_MAX;
// No vocabulary needs longer ones; they are put before and behind each of 256 bytes.
constexpr std::size_t kLongestAffix = 64;

std::uint64_t pair_of(std::uint32_t left, std::uint32_t right) {
  return static_cast<std::uint64_t>(left) << 32 | right;
}

std::string affix(const Fields& model, const char* name) {
  std::string text = model.text_or_empty(name);
  if (text.size() > kLongestAffix) {
    model.broken(std::string(name) + " of " + std::to_string(text.size()) + " bytes, expected at most " +
                 std::to_string(kLongestAffix));
  }
  return text;
}

void require_no_dropout(const Fields& model) {
  const Json* const dropout = model.find("dropout");
  if (dropout == nullptr) return;
  if (!dropout->is_number()) model.broken("field 'dropout' is no number");
  if (dropout->get<double>() != 0.0) model.refuse("BPE with dropout, which gives other ids each time");
}

// The ids of <0xC3> and <0xA9> for "é"; none unless all are there.
std::vector<std::uint32_t> fallback(std::string_view text, const Vocabulary& vocabulary) {
  std::vector<std::uint32_t> ids;
  for (const char c : text) {
    std::array<char, 8> name{};
    const int length = std::snprintf(name.data(), name.size(), "<0x%02X>",
                                     static_cast<unsigned>(static_cast<unsigned char>(c)));
    const auto id = id_of(vocabulary, {name.data(), static_cast<std::size_t>(std::max(length, 0))});
    if (!id) return {};
    ids.push_back(*id);
  }
  return ids;
}

// The two tokens of a merge, as ["a", "b"] or as "a b".
std::optional<std::pair<std::string_view, std::string_view>> parts_of(const Json& merge, bool pairs) {
  if (pairs) {
    if (!merge.is_array() || merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string())
      return std::nullopt;
    return std::pair<std::string_view, std::string_view>(merge[0].get_ref<const std::string&>(),
                                                         merge[1].get_ref<const std::string&>());
  }
  if (!merge.is_string()) return std::nullopt;
  const std::string_view line = merge.get_ref<const std::string&>();
  const std::size_t blank = line.find(' ');
  if (blank == std::string_view::npos || line.find(' ', blank + 1) != std::string_view::npos)
    return std::nullopt;
  return std::pair(line.substr(0, blank), line.substr(blank + 1));
}

// Whether `a` is merged after `b`.
bool later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
}

}  // namespace

Bpe::Bpe(const Fields& model, const Vocabulary& vocabulary) : fuse_unknown_(model.flag("fuse_unk", false)) {
  require_no_dropout(model);
  read_bytes(model, vocabulary);
  read_merges(model, vocabulary);
  if (!model.flag("ignore_merges", false)) return;
  whole_.emplace();
  for (const auto& [token, id] : vocabulary) {
    if (const auto bytes = bytes_of(token)) whole_->set(*bytes, id);
  }
}

void Bpe::read_bytes(const Fields& model, const Vocabulary& vocabulary) {
  const std::string prefix = affix(model, "continuing_subword_prefix");
  const std::string suffix = affix(model, "end_of_word_suffix");
  const bool byte_fallback = model.flag("byte_fallback", false);
  const auto characters = byte_characters();
  bool all_known = true;
  for (std::size_t place = 0; place < bytes_.size(); ++place) {
    for (std::size_t value = 0; value < characters.size(); ++value) {
      const std::string text =
          ((place & kFirst) != 0 ? "" : prefix) + characters[value] + ((place & kLast) != 0 ? suffix : "");
      Byte& byte = bytes_[place][value];
      if (const auto id = id_of(vocabulary, text)) {
        byte = {true, {*id}};
      } else if (byte_fallback) {
        byte.ids = fallback(text, vocabulary);
      }
      all_known = all_known && !byte.ids.empty();
    }
  }
  if (all_known || model.find("unk_token") == nullptr) return;
  const std::string& token = model.text("unk_token");
  unknown_ = id_of(vocabulary, token);
  if (!unknown_) model.broken("its unknown token " + in_quotes(token) + " is not in the vocabulary");
}

void Bpe::read_merges(const Fields& model, const Vocabulary& vocabulary) {
  const std::size_t prefix = affix(model, "continuing_subword_prefix").size();
  const Json& merges = model.list("merges");
  const bool pairs = !merges.empty() && merges[0].is_array();
  std::uint32_t rank = 0;
  for (const Json& merge : merges) {
    if (!pairs && merge.is_string() && merge.get_ref<const std::string&>().rfind("#version", 0) == 0)
      continue;
    const auto parts = parts_of(merge, pairs);
    if (!parts) model.broken("merge " + std::to_string(rank + 1) + " is no pair of tokens");
    const auto& [left, right] = *parts;
    if (right.size() < prefix)
      model.broken("merges " + in_quotes(right) + ", which lacks the prefix of a continuation");
    const auto from = id_of(vocabulary, left);
    const auto with = id_of(vocabulary, right);
    const auto merged = id_of(vocabulary, std::string(left).append(right.substr(prefix)));
    if (!from || !with || !merged) {
      model.broken("merge " + std::to_string(rank + 1) + " of " + in_quotes(left) + " and " +
                   in_quotes(right) + " has a token that is not in the vocabulary");
    }
    merges_.set(pair_of(*from, *with), static_cast<std::uint64_t>(rank) << 32 | *merged);
    ++rank;
  }
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<std::int64_t>& ids) const {
  if (whole_) {
    if (const auto id = whole_->at(word)) {
      ids.push_back(*id);
      return;
    }
  }
  split(word, scratch);
  merge(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols) {
    if (!symbol.removed) ids.push_back(symbol.id);
  }
}

void Bpe::split(std::string_view word, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  symbols.clear();
  const auto add = [&symbols](std::uint32_t id) {
    const std::size_t at = symbols.size();
    if (at > 0) symbols.back().next = at;
    symbols.push_back({id, at > 0 ? at - 1 : kNone, kNone, false});
  };
  // An unknown token is held back until a known one comes, for the next unknown may be one with it; the bytes
  // that stand in for an unknown character do not wait for it.
  bool held = false;
  for (std::size_t at = 0; at < word.size(); ++at) {
    const std::size_t place = (at == 0 ? kFirst : 0) | (at + 1 == word.size() ? kLast : 0);
    const Byte& byte = bytes_[place][static_cast<unsigned char>(word[at])];
    if (byte.known) {
      if (held) add(*unknown_);
      held = false;
    }
    for (const std::uint32_t id : byte.ids) add(id);
    if (!byte.ids.empty() || !unknown_) continue;
    if (held && !fuse_unknown_) add(*unknown_);
    held = true;
  }
  if (held) add(*unknown_);
}

void Bpe::consider(Scratch& scratch, std::size_t at) const {
  const auto& symbols = scratch.symbols;
  const std::uint64_t* const merge = merges_.find(pair_of(symbols[at].id, symbols[symbols[at].next].id));
  if (merge == nullptr) return;
  scratch.candidates.push_back(
      {static_cast<std::uint32_t>(*merge >> 32), static_cast<std::uint32_t>(*merge), at});
}

void Bpe::merge(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& candidates = scratch.candidates;
  candidates.clear();
  for (std::size_t at = 0; at + 1 < symbols.size(); ++at) consider(scratch, at);
  std::make_heap(candidates.begin(), candidates.end(), later);
  const auto push = [&](std::size_t at) {
    const std::size_t before = candidates.size();
    consider(scratch, at);
    if (candidates.size() > before) std::push_heap(candidates.begin(), candidates.end(), later);
  };
  while (!candidates.empty()) {
    const Scratch::Candidate best = candidates.front();
    std::pop_heap(candidates.begin(), candidates.end(), later);
    candidates.pop_back();
    Scratch::Symbol& left = symbols[best.at];
    if (left.removed || left.next == kNone) continue;
    Scratch::Symbol& right = symbols[left.next];
    // What was a pair may have been merged with others since.
    const std::uint64_t* const merge = merges_.find(pair_of(left.id, right.id));
    if (merge == nullptr || static_cast<std::uint32_t>(*merge) != best.merged) continue;
    left.id = best.merged;
    left.next = right.next;
    right.removed = true;
    if (left.next != kNone) symbols[left.next].previous = best.at;
    if (left.previous != kNone) push(left.previous);
    if (left.next != kNone) push(best.at);
  }
}

}  // namespace mtab_core
