// What a batch takes of memory, and what there is, as `mtab.memory`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "files.hpp"

namespace mtab_core {

// What a graph computes of float32 numbers at a time, beside its weights, for speech of some length.
struct MemoryNeed {
  double per_sample = 0;
  double per_frame = 0;
  double per_score = 0;
  double per_convolved = 0;
  std::optional<double> scores_at_once;
  std::optional<double> frames_at_once;

  // Bytes for `utterances`, each padded to `seconds` of speech.
  [[nodiscard]] double size(std::size_t utterances, double seconds) const;
};

// The need of a graph whose bundle does not tell it: of one that computes all pairs of frames at once.
MemoryNeed assumed_need(std::size_t hidden_size);

// Throws MemoryLimitError unless a batch, each padded to `seconds`, fits what is available.
void require_memory(const MemoryNeed& need, std::size_t utterances, double seconds, const Path& root = "/");

// The bytes that this process may still take, and of what; nothing where the system does not tell. `root` is
// where proc and sys are.
std::optional<std::pair<double, std::string>> available_memory(const Path& root = "/");

}  // namespace mtab_core
