// Byte-level byte pair encoding: a word's bytes, and the pairs of them that are merged.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/fields.hpp"
#include "text/flat_map.hpp"
#include "text/trie.hpp"

namespace mtab_core {

class Bpe {
 public:
  // What the encoding of a word needs, to be used again for the next one.
  struct Scratch {
    struct Symbol {
      std::uint32_t id;
      // Indices, kNone at the ends.
      std::size_t previous;
      std::size_t next;
      bool removed;
    };
    struct Candidate {
      std::uint32_t rank;
      std::uint32_t merged;
      std::size_t at;
    };
    std::vector<Symbol> symbols;
    // A heap with the next merge on top.
    std::vector<Candidate> candidates;
  };

  Bpe(const Fields& model, const Vocabulary& vocabulary);

  // Append the ids of a word.
  void encode(std::string_view word, Scratch& scratch, std::vector<std::int64_t>& ids) const;

 private:
  // What a byte is before anything is merged. Of an unknown one nothing is left if there is no unknown token.
  struct Byte {
    bool known = false;
    std::vector<std::uint32_t> ids;
  };
  // At the place of a byte in its word: in the middle, first, last, or both.
  using Bytes = std::array<Byte, 256>;
  static constexpr std::size_t kFirst = 1;
  static constexpr std::size_t kLast = 2;

  void read_bytes(const Fields& model, const Vocabulary& vocabulary);
  void read_merges(const Fields& model, const Vocabulary& vocabulary);
  void split(std::string_view word, Scratch& scratch) const;
  void merge(Scratch& scratch) const;
  void consider(Scratch& scratch, std::size_t at) const;

  std::array<Bytes, 4> bytes_;
  FlatMap merges_;
  std::optional<std::uint32_t> unknown_;
  bool fuse_unknown_ = false;
  // The words that are taken whole.
  std::optional<Trie> whole_;
};

}  // namespace mtab_core
