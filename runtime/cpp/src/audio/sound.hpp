// libsndfile on a clip's bytes.
#pragma once

#include <sndfile.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>

#include "audio/content.hpp"

namespace mtab_core::audio {

// Every function throws AudioError for what libsndfile or the system cannot read.
class Sound {
 public:
  explicit Sound(ContentPtr content);

  [[nodiscard]] double rate() const { return info_.samplerate; }
  [[nodiscard]] int channels() const { return info_.channels; }
  // Those that it promises; an mp3 without a Xing header has those that its first bit rate makes likely.
  [[nodiscard]] std::uint64_t frames() const;
  // Whether the file itself says how many frames it has.
  [[nodiscard]] bool says_frames() const;

  // The name of the format, as "FLAC".
  [[nodiscard]] std::string format() const;
  [[nodiscard]] bool is_supported() const;
  [[nodiscard]] bool is_mp3() const;
  // Whether a seek ends at the very frame.
  [[nodiscard]] bool finds_places() const;

  void seek(std::uint64_t frame);
  // Decode the next frames; returns how many there were, fewer at the end alone.
  std::size_t read(float* samples, std::size_t frames);
  // The bytes behind those that were decoded.
  [[nodiscard]] std::uint64_t bytes_left();

 private:
  // Where libsndfile reads, and what was thrown there: through its C code nothing may be.
  struct Reader {
    ContentPtr content;
    std::uint64_t place = 0;
    std::exception_ptr failure;
  };
  struct Close {
    void operator()(SNDFILE* file) const { sf_close(file); }
  };

  std::unique_ptr<Reader> reader_;
  SF_INFO info_{};
  std::unique_ptr<SNDFILE, Close> file_;

  static SF_VIRTUAL_IO callbacks();
  [[nodiscard]] int major() const { return info_.format & SF_FORMAT_TYPEMASK; }
  void require_no_error() const;
};

}  // namespace mtab_core::audio
