#include <cmath>

#include "model.hpp"
#include "python_text.hpp"

namespace mtab_core {
namespace {

constexpr char kName[] = "stream";

}  // namespace

Stream::Stream(std::shared_ptr<const Model> model, double rate, int channels)
    : model_(std::move(model)), rate_(rate), channels_(channels), resampler_(rate, channels) {}

void Stream::accept(const float* samples, std::size_t frames) {
  try {
    const double after = (static_cast<double>(frames_) + static_cast<double>(frames)) / rate_;
    if (after > model_->limits().seconds) {
      throw Error(MTAB_AUDIO_ERROR,
                  "more than " + general(model_->limits().seconds) + " s long, expected at most that");
    }
    resampler_.accept(samples, frames, heard_);
  } catch (const Error& error) {
    throw error.of(kName);
  }
  frames_ += frames;
}

void Stream::set_text(std::optional<std::string_view> text) {
  if (text) {
    try {
      require_utf8(*text);
    } catch (const Error& error) {
      throw error.of(kName);
    }
  }
  text_ = text;
}

double Stream::seconds() const { return static_cast<double>(frames_) / rate_; }

Result Stream::predict(double seconds, const Wanted& wanted) const {
  if (!(seconds >= 0)) {
    throw Error(MTAB_ERROR,
                std::string(kName) + ": the last " + general(seconds) + " seconds, expected 0 or more");
  }
  std::optional<std::vector<float>> samples;
  if (frames_ > 0) {
    const double wanted_samples = std::ceil(seconds * kSampleRate);
    const bool all = seconds == 0 || wanted_samples >= static_cast<double>(heard_.size());
    const auto begin = all ? heard_.begin() : heard_.end() - static_cast<std::ptrdiff_t>(wanted_samples);
    samples.emplace(begin, heard_.end());
  }
  return model_->answer(model_->read(std::move(samples), text_, kName), wanted);
}

Result Stream::finish(const Wanted& wanted) {
  std::optional<std::vector<float>> samples;
  if (frames_ > 0) {
    resampler_.finish(heard_);
    samples = std::move(heard_);
  }
  const std::optional<std::string> text = std::move(text_);
  reset();
  return model_->answer(model_->read(std::move(samples), text, kName), wanted);
}

void Stream::reset() {
  // First, so that nothing is half forgotten where there is no memory for it.
  resampler_ = Resampler(rate_, channels_);
  frames_ = 0;
  heard_.clear();
  text_.reset();
}

}  // namespace mtab_core
