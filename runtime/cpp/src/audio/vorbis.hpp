// What libsndfile needs of a Vorbis stream to open it, and to free all of it again.
#pragma once

#include "audio/content.hpp"

namespace mtab_core::audio {

// AudioError if an ogg begins as Vorbis, and lacks one of the three headers or holds a damaged page before
// their end: libsndfile (up to 1.2.2 at least) refuses it too, but loses memory by that.
void require_vorbis_headers(const Content& file);

}  // namespace mtab_core::audio
