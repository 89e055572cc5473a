#include "audio/samples.hpp"

#include <algorithm>
#include <limits>
#include <system_error>
#include <vector>

#include "audio/resampling.hpp"
#include "python_text.hpp"

namespace mtab_core {
namespace audio {
namespace {

constexpr double kLeastRate = 1'000;
constexpr double kMostRate = 1'000'000;
constexpr int kMaxChannels = 64;
// The scale of 32-bit integers; far beyond it the variance overflows float32 and a clip would become zeros.
constexpr double kMaxPeak = 2147483648.0;
// Annotated ends are rounded, and may lie this many seconds past the last sample.
constexpr double kEndTolerance = 0.01;

// Python has no sign for NaN.
std::string shown(double value) { return std::isnan(value) ? "nan" : general(value); }
std::string shown_seconds(double value) { return std::isnan(value) ? "nan" : fixed(value, 2); }

std::uint64_t rounded(double frames, std::uint64_t most) {
  // To even, as Python's round does.
  const double whole = std::nearbyint(frames);
  if (!(whole > 0)) return 0;
  return whole < static_cast<double>(most) ? static_cast<std::uint64_t>(whole) : most;
}

// Scaled by their type, integers that hold less than it promises would be silence.
void require_scale(const std::int32_t* samples, std::size_t count) {
  const auto [least, most] = std::minmax_element(samples, samples + count);
  const std::int64_t size = std::max<std::int64_t>(-std::int64_t{*least}, *most);
  constexpr std::int64_t kEightBits = std::int64_t{1} << 23;
  if (size >= kEightBits) return;
  // Short of 8 bits it is a quiet clip still if it is of fewer bits that were shifted to the top, as decoders
  // that make 32 bits of everything do.
  const bool shifted =
      std::all_of(samples, samples + count, [](std::int32_t sample) { return (sample & 0xFF) == 0; });
  if (shifted) return;
  throw audio_error("holds int32 samples from " + std::to_string(*least) + " to " + std::to_string(*most) +
                    ", expected int16, floats, or the scale of int32");
}

// What floats are averaged in, and the number that integers are divided by.
template <typename T>
struct Scale;
template <>
struct Scale<float> {
  using Mean = float;
  static constexpr Mean kHalf = 1;
};
template <>
struct Scale<double> {
  using Mean = double;
  static constexpr Mean kHalf = 1;
};
template <>
struct Scale<std::int16_t> {
  using Mean = double;
  static constexpr Mean kHalf = 32768;
};
template <>
struct Scale<std::int32_t> {
  using Mean = double;
  static constexpr Mean kHalf = 2147483648.0;
};

template <typename T>
std::vector<float> mono_16k(const T* samples, std::size_t frames, std::size_t channels, double rate) {
  using Mean = typename Scale<T>::Mean;
  constexpr std::size_t kBlock = 16'384;
  Mono16k resampling(rate);
  Peak peak;
  std::vector<float> mono(std::min(frames, kBlock));
  std::vector<Mean> frame(channels);
  std::vector<float> heard;
  for (std::size_t done = 0; done < frames; done += kBlock) {
    const std::size_t count = std::min(kBlock, frames - done);
    for (std::size_t i = 0; i < count; ++i) {
      const T* first = samples + (done + i) * channels;
      std::transform(first, first + channels, frame.begin(),
                     [](T sample) { return static_cast<Mean>(sample) / Scale<T>::kHalf; });
      const Mean mean = mean_of(frame.data(), channels);
      peak.add(static_cast<double>(mean));
      // What is beyond float32 has no value there.
      mono[i] = std::fabs(static_cast<double>(mean)) <= kMaxPeak ? static_cast<float>(mean) : 0.0F;
    }
    resampling.accept(mono.data(), count, heard);
  }
  peak.require();
  resampling.finish(heard);
  return heard;
}

}  // namespace

Error audio_error(const std::string& message) { return {MTAB_AUDIO_ERROR, message}; }

Error unreadable(const std::string& reason) {
  std::string text = one_line(reason);
  while (!text.empty() && text.back() == '.') text.pop_back();
  return audio_error("unreadable (" + text + "), expected a clip");
}

Error unreadable_by_system(int number) { return unreadable(std::generic_category().message(number)); }

Error no_sample() { return audio_error("holds no sample, expected a clip"); }

std::pair<double, double> within(double seconds, const Span& span) {
  const double first = span.start.value_or(0.0);
  const double last = span.end.value_or(seconds);
  if (!(first >= 0) || (span.end && !(first < last))) {
    throw audio_error("part from " + shown(first) + " to " + shown(last) + " s, expected 0 <= start < end");
  }
  const double furthest = std::max(first, last);
  if (furthest > seconds + kEndTolerance || first >= seconds) {
    throw audio_error(shown_seconds(seconds) + " s long, expected at least " + shown_seconds(furthest) +
                      " s");
  }
  return {first, std::min(last, seconds)};
}

std::pair<std::uint64_t, std::uint64_t> frames(std::uint64_t count, double rate, const Span& span) {
  const auto [first, last] = within(static_cast<double>(count) / rate, span);
  const std::uint64_t end = rounded(last * rate, count);
  return {std::min(rounded(first * rate, count), end), end};
}

double last_needed(const Span& span, double most_seconds) {
  return span.end ? *span.end : span.start.value_or(0.0) + most_seconds;
}

void require_at_most(double seconds, double most_seconds) {
  if (seconds > most_seconds) {
    throw audio_error(shown_seconds(seconds) + " s long, expected at most " + shown(most_seconds) + " s");
  }
}

bool is_channels(int channels) { return 1 <= channels && channels <= kMaxChannels; }

bool is_rate(double rate) { return kLeastRate <= rate && rate <= kMostRate; }

void require_shape(std::uint64_t frames, int channels) {
  if (is_channels(channels)) return;
  throw audio_error("has shape (" + std::to_string(frames) + ", " + std::to_string(channels) +
                    "), expected (samples,) or (samples, channels) with 1 to 64 channels");
}

bool Peak::fits() const { return size_ <= kMaxPeak; }

void Peak::require() const {
  if (fits()) return;
  throw audio_error("holds a sample of " + shown(size_) + ", expected finite numbers up to " +
                    shown(kMaxPeak));
}

}  // namespace audio

void require_rate(double rate) {
  if (audio::is_rate(rate)) return;
  throw audio::audio_error("has a sample rate of " + audio::shown(rate) + " Hz, expected 1000 to 1000000 Hz");
}

std::vector<float> to_mono_16k(const Samples& samples, const Span& span, double most_seconds) {
  audio::require_shape(samples.frames, samples.channels);
  require_rate(samples.rate);
  if (samples.frames == 0) throw audio::no_sample();
  const auto [first, last] = audio::frames(samples.frames, samples.rate, span);
  const auto count = static_cast<std::size_t>(last - first);
  audio::require_at_most(static_cast<double>(count) / samples.rate, most_seconds);
  if (count == 0) throw audio::no_sample();
  const auto channels = static_cast<std::size_t>(samples.channels);
  const std::size_t skipped = static_cast<std::size_t>(first) * channels;
  switch (samples.type) {
    case SampleType::kFloat32:
      return audio::mono_16k(static_cast<const float*>(samples.data) + skipped, count, channels,
                             samples.rate);
    case SampleType::kFloat64:
      return audio::mono_16k(static_cast<const double*>(samples.data) + skipped, count, channels,
                             samples.rate);
    case SampleType::kInt16:
      return audio::mono_16k(static_cast<const std::int16_t*>(samples.data) + skipped, count, channels,
                             samples.rate);
    case SampleType::kInt32: {
      const auto* whole = static_cast<const std::int32_t*>(samples.data) + skipped;
      audio::require_scale(whole, count * channels);
      return audio::mono_16k(whole, count, channels, samples.rate);
    }
  }
  throw Error(MTAB_INTERNAL_ERROR, "samples of an unknown type");
}

// The arithmetic is NumPy's in float32, to the last bit: of a clip with an offset, a mean that is rounded in
// another way would show.
void normalize(std::vector<float>& samples) {
  if (samples.empty()) return;
  const auto count = static_cast<float>(samples.size());
  const auto plain = [&samples](std::size_t i) { return samples[i]; };
  const float mean = audio::pairwise_sum<float>(plain, 0, samples.size()) / count;
  const auto square = [&samples, mean](std::size_t i) {
    const float difference = samples[i] - mean;
    return difference * difference;
  };
  const float variance = audio::pairwise_sum<float>(square, 0, samples.size()) / count;
  const float deviation = std::sqrt(variance + 1e-7F);
  for (float& sample : samples) sample = (sample - mean) / deviation;
}

}  // namespace mtab_core
