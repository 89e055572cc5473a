// Whether a file is as long as it promises, told from its own structure; as `mtab.audio.truncation`.
#pragma once

#include <cstdint>
#include <string>

#include "audio/content.hpp"

namespace mtab_core::audio {

// AudioError if a file ends before its samples do, in a format that says where that is.
void require_whole(const ContentPtr& file);
// The four bytes that tell a file's format.
std::string magic_of(const Content& file, std::uint64_t place = 0);
// Whether a file that begins so has tags of its own, and no ID3.
bool is_tagless(const std::string& magic);
// Whether a file that begins so is a wav.
bool is_wav(const std::string& magic);
// Where a file's ID3 tags end: 0 for one without.
std::uint64_t after_tags(const Content& file);
// Whether recordings were put one behind the other in an ogg or mp3: libsndfile reads the first alone.
bool is_chain(const Content& file);
// The wav itself, or what libsndfile reads whole: with a size where it was written to a pipe with none, or
// the mp3 that a wav may hold. AudioError if it is truncated.
ContentPtr whole_wav(const ContentPtr& file);
// An ogg up to its last page: of one with a tag behind that, older versions of libsndfile do not find the
// length. AudioError unless that page is whole, and marked as the last.
ContentPtr whole_ogg(const ContentPtr& file);
// Whether a file begins as an mp3 with a Xing (or Info) header that gives the number of its frames.
bool has_xing(const Content& file);

}  // namespace mtab_core::audio
