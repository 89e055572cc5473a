#include "audio/sound.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <utility>

#include "audio/samples.hpp"
#include "audio/truncation.hpp"

namespace mtab_core::audio {
namespace {

constexpr sf_count_t kNoFrames = INT64_MAX;
// Older headers lack it.
constexpr int kMp3 = 0x230000;

struct Name {
  int format;
  const char* name;
};
// What Python's soundfile calls the formats.
constexpr std::array kNames = {
    Name{0x010000, "WAV"},   Name{0x020000, "AIFF"},  Name{0x030000, "AU"},   Name{0x040000, "RAW"},
    Name{0x050000, "PAF"},   Name{0x060000, "SVX"},   Name{0x070000, "NIST"}, Name{0x080000, "VOC"},
    Name{0x0A0000, "IRCAM"}, Name{0x0B0000, "W64"},   Name{0x0C0000, "MAT4"}, Name{0x0D0000, "MAT5"},
    Name{0x0E0000, "PVF"},   Name{0x0F0000, "XI"},    Name{0x100000, "HTK"},  Name{0x110000, "SDS"},
    Name{0x120000, "AVR"},   Name{0x130000, "WAVEX"}, Name{0x160000, "SD2"},  Name{0x170000, "FLAC"},
    Name{0x180000, "CAF"},   Name{0x190000, "WVE"},   Name{0x200000, "OGG"},  Name{0x210000, "MPC2K"},
    Name{0x220000, "RF64"},  Name{kMp3, "MP3"},
};

sf_count_t as_count(std::uint64_t value) {
  return static_cast<sf_count_t>(std::min<std::uint64_t>(value, INT64_MAX));
}

Error unreadable_by_decoder(int number) { return unreadable(sf_error_number(number)); }

}  // namespace

Sound::Sound(ContentPtr content) : reader_(std::make_unique<Reader>()) {
  reader_->content = std::move(content);
  SF_VIRTUAL_IO io = callbacks();
  // Why a file could not be opened libsndfile keeps in one place for all threads.
  static std::mutex opening;
  const std::lock_guard<std::mutex> lock(opening);
  file_.reset(sf_open_virtual(&io, SFM_READ, &info_, reader_.get()));
  if (reader_->failure) std::rethrow_exception(reader_->failure);
  if (!file_) throw unreadable_by_decoder(sf_error(nullptr));
}

SF_VIRTUAL_IO Sound::callbacks() {
  SF_VIRTUAL_IO io{};
  io.get_filelen = [](void* user) { return as_count(static_cast<const Reader*>(user)->content->size()); };
  io.tell = [](void* user) { return as_count(static_cast<const Reader*>(user)->place); };
  io.seek = [](sf_count_t offset, int whence, void* user) -> sf_count_t {
    auto& reader = *static_cast<Reader*>(user);
    const std::uint64_t size = reader.content->size();
    const sf_count_t from = whence == SEEK_SET ? 0 : as_count(whence == SEEK_CUR ? reader.place : size);
    if (offset < 0 ? from + offset < 0 : offset > INT64_MAX - from) return -1;
    reader.place = static_cast<std::uint64_t>(from + offset);
    return from + offset;
  };
  io.read = [](void* data, sf_count_t count, void* user) noexcept -> sf_count_t {
    auto& reader = *static_cast<Reader*>(user);
    if (count <= 0 || reader.failure) return 0;
    try {
      const std::size_t got =
          reader.content->read(reader.place, static_cast<char*>(data), static_cast<std::size_t>(count));
      reader.place += got;
      return as_count(got);
    } catch (...) {
      reader.failure = std::current_exception();
      return 0;
    }
  };
  return io;
}

std::uint64_t Sound::frames() const {
  return info_.frames > 0 ? static_cast<std::uint64_t>(info_.frames) : 0;
}

bool Sound::says_frames() const { return is_mp3() ? has_xing(*reader_->content) : info_.frames != kNoFrames; }

std::string Sound::format() const {
  const auto* const found =
      std::find_if(kNames.begin(), kNames.end(), [this](const Name& each) { return each.format == major(); });
  return found == kNames.end() ? "n/a" : found->name;
}

bool Sound::is_supported() const {
  constexpr std::array<int, 6> kSupported = {SF_FORMAT_WAV,  SF_FORMAT_WAVEX, SF_FORMAT_RF64,
                                             SF_FORMAT_FLAC, SF_FORMAT_OGG,   kMp3};
  return std::find(kSupported.begin(), kSupported.end(), major()) != kSupported.end();
}

bool Sound::is_mp3() const { return major() == kMp3; }

bool Sound::finds_places() const { return major() != SF_FORMAT_OGG && !is_mp3(); }

void Sound::seek(std::uint64_t frame) {
  sf_seek(file_.get(), as_count(frame), SEEK_SET);
  require_no_error();
}

std::size_t Sound::read(float* samples, std::size_t frames) {
  const sf_count_t count = sf_readf_float(file_.get(), samples, as_count(frames));
  require_no_error();
  return count > 0 ? std::min(static_cast<std::size_t>(count), frames) : 0;
}

std::uint64_t Sound::bytes_left() {
  // As Python's soundfile does behind every read; in an mp3 it moves the place of the file.
  if (info_.seekable != 0) sf_seek(file_.get(), sf_seek(file_.get(), 0, SEEK_CUR), SEEK_SET);
  require_no_error();
  const std::uint64_t size = reader_->content->size();
  return size - std::min(reader_->place, size);
}

void Sound::require_no_error() const {
  if (reader_->failure) std::rethrow_exception(reader_->failure);
  if (const int number = sf_error(file_.get()); number != SF_ERR_NO_ERROR)
    throw unreadable_by_decoder(number);
}

}  // namespace mtab_core::audio
