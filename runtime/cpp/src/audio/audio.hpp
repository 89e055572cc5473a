// From an encoded clip or samples in memory to what the model hears: mono, 16 kHz, float32; as `mtab.audio`.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "files.hpp"

namespace mtab_core {

inline constexpr double kSampleRate = 16'000.0;

// The part of a clip that is wanted, in seconds.
struct Span {
  std::optional<double> start;
  std::optional<double> end;
};

// Encoded content in memory, which outlives the call.
struct Bytes {
  const void* data = nullptr;
  std::size_t size = 0;
};

enum class SampleType { kFloat32, kFloat64, kInt16, kInt32 };

// `frames` times `channels` interleaved values at `rate` Hz, which outlive the call.
struct Samples {
  const void* data = nullptr;
  SampleType type = SampleType::kFloat32;
  std::size_t frames = 0;
  int channels = 1;
  double rate = kSampleRate;
};

// Decode a wav, flac, ogg or mp3, or its part: mono at 16 kHz. Throws AudioError, without the clip's name, as
// `mtab.audio.load_audio`; formats that need FFmpeg are refused.
std::vector<float> load_audio(const Path& path, const Span& span, double most_seconds);
std::vector<float> load_audio(const Bytes& content, const Span& span, double most_seconds);

// The part of samples in memory, mono at 16 kHz. Throws AudioError, without a name, as `mtab.audio.cut`,
// `require_at_most` and `to_mono_16k` do.
std::vector<float> to_mono_16k(const Samples& samples, const Span& span, double most_seconds);

// AudioError for a rate outside 1 kHz to 1 MHz.
void require_rate(double rate);

// Zero mean and unit variance; silence stays zeros.
void normalize(std::vector<float>& samples);

// `to_mono_16k` for samples that come bit by bit: the same values in the end.
class Resampler {
 public:
  // Throws AudioError for a rate outside 1 kHz to 1 MHz, and other than 1 to 64 channels.
  Resampler(double rate, int channels);
  ~Resampler();
  Resampler(Resampler&&) noexcept;
  Resampler& operator=(Resampler&&) noexcept;

  // Append to `heard` what `frames` more give by now. Throws AudioError for a sample that is not finite or
  // above 2**31, before anything is taken.
  void accept(const float* samples, std::size_t frames, std::vector<float>& heard);
  // Append the rest; nothing may be accepted afterwards.
  void finish(std::vector<float>& heard);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mtab_core
