// What a waveform is, its parts, and what is said of one that is none.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "audio/audio.hpp"
#include "error.hpp"

namespace mtab_core::audio {

Error audio_error(const std::string& message);
// What a decoder or the system says of a clip that it cannot read.
Error unreadable(const std::string& reason);
Error unreadable_by_system(int number);
Error no_sample();

// The part `span` of `seconds`, within them. Throws AudioError if it is empty, reaches more than 0.01 s
// beyond them, or is no number.
std::pair<double, double> within(double seconds, const Span& span);
// The same as places among `count` samples at `rate` Hz.
std::pair<std::uint64_t, std::uint64_t> frames(std::uint64_t count, double rate, const Span& span);
// The second up to which a clip must be decoded to get its part, or to see that it is too long.
double last_needed(const Span& span, double most_seconds);

void require_at_most(double seconds, double most_seconds);
// AudioError for other than 1 to 64 channels.
void require_shape(std::uint64_t frames, int channels);
[[nodiscard]] bool is_channels(int channels);
[[nodiscard]] bool is_rate(double rate);

// The largest magnitude of samples; NaN if one is.
class Peak {
 public:
  void add(double sample) {
    const double size = std::fabs(sample);
    if (!(size <= size_)) size_ = std::isnan(size_) ? size_ : size;
  }
  // Whether every sample is finite and on no scale beyond that of 32-bit integers.
  [[nodiscard]] bool fits() const;
  // AudioError unless it fits.
  void require() const;

 private:
  double size_ = 0.0;
};

// The sum of at(first) to at(first + count - 1) in the order in which NumPy adds: to the same last bit.
template <typename T, typename At>
T pairwise_sum(const At& at, std::size_t first, std::size_t count) {
  constexpr std::size_t kLanes = 8;
  constexpr std::size_t kBlock = 128;
  if (count > kBlock) {
    const std::size_t half = count / 2 - count / 2 % kLanes;
    return pairwise_sum<T>(at, first, half) + pairwise_sum<T>(at, first + half, count - half);
  }
  T sum = 0;
  std::size_t i = 0;
  if (count >= kLanes) {
    std::array<T, kLanes> lanes{};
    for (std::size_t k = 0; k < kLanes; ++k) lanes[k] = at(first + k);
    for (i = kLanes; i < count - count % kLanes; i += kLanes) {
      for (std::size_t k = 0; k < kLanes; ++k) lanes[k] += at(first + i + k);
    }
    sum = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
  }
  for (; i < count; ++i) sum += at(first + i);
  return sum;
}

// The mean of a frame's channels.
template <typename T>
T mean_of(const T* frame, std::size_t channels) {
  if (channels == 1) return frame[0];
  return pairwise_sum<T>([frame](std::size_t i) { return frame[i]; }, 0, channels) / static_cast<T>(channels);
}

}  // namespace mtab_core::audio
