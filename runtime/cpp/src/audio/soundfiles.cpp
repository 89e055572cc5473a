#include "audio/soundfiles.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "audio/resampling.hpp"
#include "audio/samples.hpp"
#include "audio/sound.hpp"
#include "audio/truncation.hpp"
#include "audio/vorbis.hpp"

namespace mtab_core {
namespace audio {
namespace {

// The longest mp3 frame, and the tag that may follow the last one.
constexpr std::uint64_t kMp3Rest = 1'441 + 128;

// Places among the frames of a recording, from `first` up to `last`.
struct Places {
  std::uint64_t first = 0;
  std::uint64_t last = 0;

  [[nodiscard]] std::uint64_t count() const { return last - first; }
};

// What is heard of a recording. Of each block the mean of the channels at 16 kHz is kept alone, so that
// nothing that a file says of itself makes it take more memory than the speech in it.
class Listener {
 public:
  explicit Listener(const Sound& sound) : channels_(sound.channels()), rate_(sound.rate()) {
    // Of others nothing is heard; `finish` says why.
    if (is_channels(channels_) && is_rate(rate_)) resampling_.emplace(rate_);
  }

  void hear(const float* samples, std::size_t frames) {
    frames_ += frames;
    if (!resampling_) return;
    const auto channels = static_cast<std::size_t>(channels_);
    mono_.resize(frames);
    for (std::size_t i = 0; i < frames; ++i) {
      mono_[i] = mean_of(samples + i * channels, channels);
      peak_.add(static_cast<double>(mono_[i]));
    }
    // The first bad sample is what there is to say of a clip.
    if (peak_.fits()) resampling_->accept(mono_.data(), frames, heard_);
  }

  // All that was heard; AudioError if it is no clip.
  std::vector<float> finish() {
    require_shape(frames_, channels_);
    require_rate(rate_);
    if (frames_ == 0) throw no_sample();
    peak_.require();
    resampling_->finish(heard_);
    return std::move(heard_);
  }

 private:
  int channels_;
  double rate_;
  std::optional<Mono16k> resampling_;
  Peak peak_;
  std::uint64_t frames_ = 0;
  std::vector<float> mono_;
  std::vector<float> heard_;
};

// Decode up to `most` frames, and hear those of them that lie at `wanted`. How many there were.
std::uint64_t listen(Sound& sound, std::uint64_t most, const Places& wanted, Listener& listener) {
  const auto channels = static_cast<std::size_t>(sound.channels());
  const std::size_t frames = std::max<std::size_t>(1, 65'536 / channels);
  std::vector<float> block(frames * channels);
  std::uint64_t place = 0;
  while (place < most) {
    const auto asked = static_cast<std::size_t>(std::min<std::uint64_t>(frames, most - place));
    const std::size_t got = sound.read(block.data(), asked);
    const std::uint64_t from = std::clamp<std::uint64_t>(wanted.first, place, place + got) - place;
    const std::uint64_t to = std::clamp<std::uint64_t>(wanted.last, place, place + got) - place;
    if (from < to) listener.hear(block.data() + from * channels, static_cast<std::size_t>(to - from));
    place += got;
    if (got < asked) break;
  }
  return place;
}

std::uint64_t place_of(double seconds, double rate) {
  const double place = std::nearbyint(seconds * rate);
  if (!(place > 0)) return 0;
  return place < 0x1p63 ? static_cast<std::uint64_t>(place) : UINT64_MAX;
}

// A recording that says how many frames it has.
std::vector<float> read_sized(Sound& sound, std::uint64_t promised, const Span& span, double most_seconds) {
  const double rate = sound.rate();
  const auto [first, last] = frames(promised, rate, span);
  require_at_most(static_cast<double>(last - first) / rate, most_seconds);
  // libsndfile finds only nearly the right place in an ogg or mp3: there a part is cut from the whole.
  const Places decoded = sound.finds_places() ? Places{first, last} : Places{0, promised};
  if (decoded.first != 0) sound.seek(decoded.first);
  Listener listener(sound);
  const Places wanted{first - decoded.first, last - decoded.first};
  const std::uint64_t held = listen(sound, decoded.count(), wanted, listener);
  if (held < decoded.count()) {
    throw audio_error("truncated: holds " + std::to_string(held) + " samples, expected " +
                      std::to_string(decoded.count()));
  }
  return listener.finish();
}

// An mp3 that does not say how many frames it has; nothing where libsndfile does not read all of it.
std::optional<std::vector<float>> read_unsized_mp3(Sound& sound, const Span& span, double most_seconds) {
  const double rate = sound.rate();
  const double needed = last_needed(span, most_seconds) * rate;
  const bool all = !(0 <= needed && needed < static_cast<double>(sound.frames()));
  const std::uint64_t room =
      all ? sound.frames() : std::min(static_cast<std::uint64_t>(needed) + 1, sound.frames());
  const Places wanted{place_of(span.start.value_or(0.0), rate),
                      span.end ? place_of(*span.end, rate) : UINT64_MAX};
  Listener listener(sound);
  const std::uint64_t held = listen(sound, room, wanted, listener);
  // Without a Xing header libsndfile takes the first frame's bit rate for all frames', and stops where the
  // file would then end: one of variable bit rate may go on.
  if (held == sound.frames() && sound.bytes_left() > kMp3Rest) return std::nullopt;
  require_shape(held, sound.channels());
  require_rate(rate);
  if (held == 0) throw no_sample();
  const auto [first, last] = frames(held, rate, span);
  require_at_most(static_cast<double>(last - first) / rate, most_seconds);
  return listener.finish();
}

// What libsndfile reads of a recording. AudioError for a wav or an ogg that is truncated.
ContentPtr whole(const ContentPtr& content) {
  const std::string magic = magic_of(*content);
  if (is_wav(magic)) return whole_wav(content);
  if (magic != "OggS") return content;
  ContentPtr ogg = whole_ogg(content);
  require_vorbis_headers(*ogg);
  return ogg;
}

// wav, flac, ogg or mp3, with a sample.
Sound open_soundfile(const ContentPtr& content) {
  Sound sound(whole(content));
  if (!sound.is_supported()) {
    throw audio_error("holds " + sound.format() + ", expected wav, flac, ogg or mp3");
  }
  if (sound.frames() == 0) throw no_sample();
  return sound;
}

}  // namespace

bool is_soundfile(const Recording& recording) {
  const Content& file = *recording.content;
  const std::string head = file.bytes(0, 12);
  const auto at = [&head](std::size_t place, std::string_view bytes) {
    return head.size() >= place + bytes.size() && head.compare(place, bytes.size(), bytes) == 0;
  };
  // Matroska and webm; asf and wma; flv; mp4, m4a and mov; avi.
  if (at(0, "\x1A\x45\xDF\xA3") || at(0, "0&\xB2u") || at(0, "FLV\x01") || at(4, "ftyp") ||
      (at(0, "RIFF") && at(8, "AVI "))) {
    return false;
  }
  const std::string magic = magic_of(file, after_tags(file));
  const auto bits = [&magic](unsigned mask) {
    return magic.size() > 1 && magic[0] == '\xFF' ? static_cast<unsigned char>(magic[1]) & mask : 0U;
  };
  // Raw AAC (ADTS): the 12 bits of a frame, and the layer that is none.
  if (bits(0xF6) == 0xF0) return false;
  // An mp3 has no more than the first 11 bits of a frame, and what says that it is of layer III.
  const bool mp3 = bits(0xE6) == 0xE2;
  if (is_wav(magic) || magic == "fLaC") return true;
  const std::string& suffix = recording.suffix;
  const bool named = suffix.empty()
                         ? magic == "OggS" || mp3
                         : suffix == ".wav" || suffix == ".flac" || suffix == ".ogg" || suffix == ".mp3";
  return named && !is_chain(file);
}

std::vector<float> read_soundfile(const Recording& recording, const Span& span, double most_seconds) {
  Sound sound = open_soundfile(recording.content);
  if (sound.says_frames()) return read_sized(sound, sound.frames(), span, most_seconds);
  if (sound.is_mp3()) {
    if (auto heard = read_unsized_mp3(sound, span, most_seconds)) return std::move(*heard);
  }
  refuse_container(recording.content);
}

void refuse_container(const ContentPtr& content) {
  require_whole(content);
  throw audio_error("needs FFmpeg, which this library has not, expected wav, flac, ogg or mp3");
}

namespace {

std::vector<float> load(const Recording& recording, const Span& span, double most_seconds) {
  if (!is_soundfile(recording)) refuse_container(recording.content);
  return read_soundfile(recording, span, most_seconds);
}

}  // namespace
}  // namespace audio

std::vector<float> load_audio(const Path& path, const Span& span, double most_seconds) {
  return audio::load(audio::opened(path), span, most_seconds);
}

std::vector<float> load_audio(const Bytes& content, const Span& span, double most_seconds) {
  return audio::load(audio::opened(content), span, most_seconds);
}

}  // namespace mtab_core
