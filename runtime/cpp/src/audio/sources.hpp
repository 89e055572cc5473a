// Where an encoded clip comes from: a file, a pipe, bytes in memory; as `mtab.audio.sources`.
#pragma once

#include <string>

#include "audio/content.hpp"

namespace mtab_core::audio {

// An encoded clip, and the end of its name in small letters, as ".wav".
struct Recording {
  ContentPtr content;
  std::string suffix;
};

// Throw AudioError, without a name, if there is nothing in it, or it cannot be read.
Recording opened(const Path& path);
Recording opened(const Bytes& bytes);

}  // namespace mtab_core::audio
