// Encoded clips in memory: whatever they hold, there are samples or an AudioError.
//
// The first two bytes choose the part; the rest is the clip. Seeds: the small clips that
// write_audio_golden.py makes, with two bytes before each.
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <vector>

#include "audio/audio.hpp"
#include "error.hpp"

namespace {

constexpr double kMostSeconds = 5.0;

std::optional<double> seconds(std::uint8_t choice) {
  if (choice == 255) return std::nan("");
  return choice < 128 ? std::optional<double>() : (choice - 140) / 50.0;
}

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const mtab_core::Span span{seconds(data[0]), seconds(data[1])};
  try {
    std::vector<float> heard =
        mtab_core::load_audio(mtab_core::Bytes{data + 2, size - 2}, span, kMostSeconds);
    // A part's ends are rounded to frames of its own rate, of which there may be 1,000 in a second.
    require(static_cast<double>(heard.size()) <= (kMostSeconds + 0.002) * mtab_core::kSampleRate);
    mtab_core::normalize(heard);
    for (const float sample : heard) require(std::isfinite(sample));
  } catch (const mtab_core::Error& error) {
    require(error.code() == MTAB_AUDIO_ERROR && !error.message().empty());
  }
  return 0;
}
