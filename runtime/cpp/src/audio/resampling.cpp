#include "audio/resampling.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <string>

#include "audio/audio.hpp"
#include "audio/samples.hpp"

namespace mtab_core {
namespace audio {
namespace {

void require_done(soxr_error_t error) {
  if (error == nullptr) return;
  if (std::strstr(error, "malloc") != nullptr) throw std::bad_alloc();
  throw Error(MTAB_INTERNAL_ERROR, std::string("libsoxr: ") + error);
}

}  // namespace

Mono16k::Mono16k(double rate) {
  if (rate == kSampleRate) return;
  // Python's resampler is of the same recipe.
  const soxr_quality_spec_t quality = soxr_quality_spec(SOXR_HQ, 0);
  const soxr_io_spec_t types = soxr_io_spec(SOXR_FLOAT32_I, SOXR_FLOAT32_I);
  soxr_error_t error = nullptr;
  soxr_.reset(soxr_create(rate, kSampleRate, 1, &error, &types, &quality, nullptr));
  require_done(error);
}

void Mono16k::accept(const float* samples, std::size_t count, std::vector<float>& heard) {
  if (!soxr_) {
    heard.insert(heard.end(), samples, samples + count);
    return;
  }
  // libsoxr holds as much as it is given at once.
  constexpr std::size_t kBlock = 16'384;
  for (std::size_t done = 0; done < count; done += kBlock) {
    drain(samples + done, std::min(kBlock, count - done), heard);
  }
}

void Mono16k::finish(std::vector<float>& heard) {
  if (soxr_) drain(nullptr, 0, heard);
}

void Mono16k::drain(const float* samples, std::size_t count, std::vector<float>& heard) {
  std::array<float, 8'192> block{};
  std::size_t done = 0;
  do {
    require_done(soxr_process(soxr_.get(), samples, count, nullptr, block.data(), block.size(), &done));
    heard.insert(heard.end(), block.data(), block.data() + done);
    count = 0;
  } while (done == block.size());
}

}  // namespace audio

struct Resampler::State {
  std::size_t channels;
  audio::Mono16k resampling;
};

Resampler::Resampler(double rate, int channels) {
  if (!audio::is_channels(channels)) {
    throw audio::audio_error("has " + std::to_string(channels) + " channels, expected 1 to 64");
  }
  require_rate(rate);
  state_ = std::make_unique<State>(State{static_cast<std::size_t>(channels), audio::Mono16k(rate)});
}

Resampler::~Resampler() = default;
Resampler::Resampler(Resampler&&) noexcept = default;
Resampler& Resampler::operator=(Resampler&&) noexcept = default;

void Resampler::accept(const float* samples, std::size_t frames, std::vector<float>& heard) {
  std::vector<float> mono(frames);
  audio::Peak peak;
  for (std::size_t i = 0; i < frames; ++i) {
    mono[i] = audio::mean_of(samples + i * state_->channels, state_->channels);
    peak.add(static_cast<double>(mono[i]));
  }
  peak.require();
  state_->resampling.accept(mono.data(), frames, heard);
}

void Resampler::finish(std::vector<float>& heard) { state_->resampling.finish(heard); }

}  // namespace mtab_core
