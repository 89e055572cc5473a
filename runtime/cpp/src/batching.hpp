// Which utterances are computed at once: those of like length, so that little of a batch is padding; as
// `mtab.batching`.
#pragma once

#include <cstddef>
#include <vector>

namespace mtab_core {

// Batches' worth of utterances that are held at once, to find those of like length among them.
inline constexpr std::size_t kWindow = 32;

// How long an utterance is: seconds of speech, tokens of text; 0 for a modality that it lacks.
struct Length {
  double seconds = 0;
  double tokens = 0;

  // Its share of the arithmetic, in seconds of speech.
  [[nodiscard]] double cost() const;
};

// What one batch may hold: utterances, and seconds of speech with their padding. An utterance that is longer
// makes a batch of its own.
struct BatchLimits {
  std::size_t utterances;
  double seconds;
};

// Every index once, in the batches within `limits` that take the least computing.
std::vector<std::vector<std::size_t>> planned(const std::vector<Length>& lengths, const BatchLimits& limits);

}  // namespace mtab_core
