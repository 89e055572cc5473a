// wav, flac, ogg and mp3, decoded by libsndfile; as `mtab.audio.soundfiles`.
#pragma once

#include <vector>

#include "audio/audio.hpp"
#include "audio/sources.hpp"

namespace mtab_core::audio {

// Whether libsndfile is what reads a recording, and not FFmpeg. The name decides, unless the content is
// plainly for the other one, or there is no name.
bool is_soundfile(const Recording& recording);

// A wav, flac, ogg or mp3, or its part: mono at 16 kHz.
std::vector<float> read_soundfile(const Recording& recording, const Span& span, double most_seconds);

// AudioError for what only FFmpeg reads.
[[noreturn]] void refuse_container(const ContentPtr& content);

}  // namespace mtab_core::audio
