// Mono samples at 16 kHz of samples at another rate, as they come.
#pragma once

#include <soxr.h>

#include <cstddef>
#include <memory>
#include <vector>

namespace mtab_core::audio {

class Mono16k {
 public:
  // For a rate of 1 kHz to 1 MHz.
  explicit Mono16k(double rate);

  // Append to `heard` what these finite samples give by now. What comes in the end does not depend on how
  // they are cut.
  void accept(const float* samples, std::size_t count, std::vector<float>& heard);
  // Append the rest.
  void finish(std::vector<float>& heard);

 private:
  struct Delete {
    void operator()(soxr* resampler) const { soxr_delete(resampler); }
  };
  // None where the rate is 16 kHz already.
  std::unique_ptr<soxr, Delete> soxr_;

  void drain(const float* samples, std::size_t count, std::vector<float>& heard);
};

}  // namespace mtab_core::audio
