// The audio part against what Python gave (write_audio_golden.py), and by hand.
#include "audio/audio.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "audio/content.hpp"
#include "audio/truncation.hpp"
#include "error.hpp"
#include "files.hpp"
#include "json.hpp"

namespace mtab_core {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kMost = 600.0;

// Decoders of other versions, or for other processors, may differ by this. With libsndfile 1.2.0 here
// and 1.2.2 in Python, wav, flac and mp3 were equal to the last bit, and Vorbis was not.
constexpr float kTolerance = 2e-6F;
constexpr float kMp3Tolerance = 1e-5F;

Path golden() {
  const char* folder = std::getenv("MTAB_GOLDEN");
  return folder == nullptr || *folder == '\0' ? Path() : Path(folder) / "audio";
}

template <typename T>
std::vector<T> read_raw(const Path& file) {
  const std::string content = read_file(file);
  std::vector<T> values(content.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), content.data(), values.size() * sizeof(T));
  return values;
}

std::optional<double> number_of(const Json& value) {
  if (value.is_null()) return std::nullopt;
  return value.is_string() ? std::strtod(value.get<std::string>().c_str(), nullptr) : value.get<double>();
}

Span span_of(const Json& one) { return {number_of(one["start"]), number_of(one["end"])}; }

Samples samples_of(const Json& one, const std::string& raw) {
  const std::string type = one["type"];
  Samples samples;
  samples.data = raw.data();
  samples.type = type == "float32"   ? SampleType::kFloat32
                 : type == "float64" ? SampleType::kFloat64
                 : type == "int16"   ? SampleType::kInt16
                                     : SampleType::kInt32;
  samples.frames = one["frames"];
  samples.channels = one["channels"];
  samples.rate = number_of(one["rate"]).value();
  return samples;
}

std::vector<float> heard_of(const Json& one) {
  const Span span = span_of(one);
  const double most = number_of(one["most"]).value();
  if (one.contains("raw")) {
    const std::string raw = read_file(golden() / one["raw"].get<std::string>());
    return to_mono_16k(samples_of(one, raw), span, most);
  }
  const Path file = golden() / one["file"].get<std::string>();
  if (one["as"] == "path") return load_audio(file, span, most);
  const std::string content = read_file(file);
  return load_audio(Bytes{content.data(), content.size()}, span, most);
}

// The message, without what the library that decodes says in parentheses: its versions differ.
std::string without_reason(const std::string& message) {
  const std::size_t begin = message.find("unreadable (");
  const std::size_t end = message.rfind("), expected");
  if (begin == std::string::npos || end == std::string::npos) return message;
  return message.substr(0, begin) + "unreadable (" + message.substr(end);
}

void expect_near(const std::vector<float>& found, const Path& file, float tolerance) {
  const std::vector<float> expected = read_raw<float>(file);
  ASSERT_EQ(found.size(), expected.size());
  float scale = 1;
  for (const float value : expected) scale = std::max(scale, std::fabs(value));
  float worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) worst = std::max(worst, std::fabs(found[i] - expected[i]));
  EXPECT_LE(worst, tolerance * scale);
}

bool is_mp3(const Json& one) {
  return one.contains("file") && one["file"].get<std::string>().find("mp3") != std::string::npos;
}

void expect_same(const Json& one) {
  try {
    std::vector<float> heard = heard_of(one);
    ASSERT_TRUE(one.contains("samples")) << "expected: " << one["message"];
    const float tolerance = is_mp3(one) ? kMp3Tolerance : kTolerance;
    expect_near(heard, golden() / one["samples"].get<std::string>(), tolerance);
    if (!one.contains("normalized")) return;
    normalize(heard);
    expect_near(heard, golden() / one["normalized"].get<std::string>(), 10 * tolerance);
  } catch (const Error& error) {
    ASSERT_TRUE(one.contains("error")) << "found: " << error.message();
    EXPECT_EQ(error.code(), MTAB_AUDIO_ERROR);
    EXPECT_EQ(without_reason(error.message()), without_reason(one["message"].get<std::string>()));
  }
}

TEST(AudioGolden, EveryCaseIsAsInPython) {
  if (golden().empty()) GTEST_SKIP() << "MTAB_GOLDEN names no folder";
  const Json index = read_json(golden() / "index.json");
  for (const Json& one : index["cases"]) {
    SCOPED_TRACE(one.dump());
    expect_same(one);
  }
}

// Whole numbers of 16 bits that look random, as write_audio_golden.py makes them too.
std::vector<float> hashed(std::size_t count, float scale, float offset) {
  std::vector<float> values(count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<std::uint32_t>(i * 2'654'435'761U);
    values[i] = static_cast<float>(static_cast<std::int32_t>(value >> 16U) - 32'768) * scale;
  }
  for (float& value : values) value += offset;
  return values;
}

TEST(AudioGolden, TenMinutesAreNormalizedAsInPython) {
  if (golden().empty()) GTEST_SKIP() << "MTAB_GOLDEN names no folder";
  const Json index = read_json(golden() / "index.json");
  for (const Json& one : index["long"]) {
    SCOPED_TRACE(one.dump());
    std::vector<float> values = hashed(one["count"], one["scale"], one["offset"]);
    normalize(values);
    std::vector<float> some;
    for (std::size_t i = 0; i < values.size(); i += one["step"].get<std::size_t>()) some.push_back(values[i]);
    expect_near(some, golden() / one["samples"].get<std::string>(), 1e-6F);
  }
}

// By hand

template <typename Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), MTAB_AUDIO_ERROR);
    return error.message();
  }
  return "nothing was refused";
}

std::string refusal_of(const Path& path, const Span& span = {}) {
  return refusal([&] { load_audio(path, span, kMost); });
}

std::string refusal_of(const std::string& content, const Span& span = {}, double most = kMost) {
  return refusal([&] { load_audio(Bytes{content.data(), content.size()}, span, most); });
}

std::vector<float> heard(const std::string& content, const Span& span = {}) {
  return load_audio(Bytes{content.data(), content.size()}, span, kMost);
}

std::string little(std::uint32_t value, int bytes) {
  std::string written;
  for (int i = 0; i < bytes; ++i) written += static_cast<char>(value >> 8 * i & 0xFFU);
  return written;
}

// A wav of 16 bits at 16 kHz; `size` in place of the true one in the head.
std::string wav(const std::vector<std::int16_t>& samples, std::uint32_t channels = 1,
                std::optional<std::uint32_t> size = std::nullopt) {
  const auto bytes = static_cast<std::uint32_t>(2 * samples.size());
  std::string content = "RIFF" + little(size ? *size : 36 + bytes, 4) + "WAVEfmt " + little(16, 4) +
                        little(1, 2) + little(channels, 2) + little(16'000, 4) +
                        little(32'000 * channels, 4) + little(2 * channels, 2) + little(16, 2) + "data" +
                        little(size.value_or(bytes), 4);
  for (const std::int16_t sample : samples) content += little(static_cast<std::uint16_t>(sample), 2);
  return content;
}

std::vector<std::int16_t> rising(std::size_t count) {
  std::vector<std::int16_t> samples(count);
  for (std::size_t i = 0; i < count; ++i) samples[i] = static_cast<std::int16_t>(i);
  return samples;
}

class TemporaryFolder : public testing::Test {
 protected:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mtab_audio_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    folder_ = name;
  }
  ~TemporaryFolder() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  [[nodiscard]] Path written(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }

  Path folder_;
};

using AudioSources = TemporaryFolder;

TEST_F(AudioSources, AFileIsWhatItHoldsUnderAnyName) {
  const std::string content = wav(rising(1000));
  const std::vector<float> expected = heard(content);
  ASSERT_EQ(expected.size(), 1000U);
  EXPECT_EQ(expected[999], 999.0F / 32768.0F);
  for (const char* name : {"a.wav", "A.WAV", "0123abcd", "16:21.mp4", "a b'\".wav", "\xFF\xFE.wav"}) {
    EXPECT_EQ(load_audio(written(name, content), {}, kMost), expected) << name;
  }
  EXPECT_EQ(load_audio(written("a.wav", content) / "", {}, kMost), expected);
  EXPECT_EQ(load_audio(folder_ / "." / "a.wav", {}, kMost), expected);
}

TEST_F(AudioSources, WhatIsNoFileIsRefused) {
  EXPECT_EQ(refusal_of(Path()), "not found, expected a clip");
  EXPECT_EQ(refusal_of(folder_ / "none.wav"), "not found, expected a clip");
  EXPECT_EQ(refusal_of(written("a.wav", "a") / "b.wav"), "not found, expected a clip");
  EXPECT_EQ(refusal_of(folder_), "not found (but a folder), expected a clip");
  EXPECT_EQ(refusal_of(Path("/dev/null")), "is a device, expected a clip");
  EXPECT_EQ(refusal_of(written("b.wav", "")), "unreadable (0 bytes), expected a clip");
  EXPECT_EQ(refusal_of(std::string()), "unreadable (0 bytes), expected a clip");
  EXPECT_EQ(refusal_of(folder_ / std::string(300, 'a')), "unreadable (File name too long), expected a clip");
  EXPECT_EQ(refusal_of(Path(std::string("a\0b.wav", 7))), "unreadable (embedded null byte), expected a clip");
  std::filesystem::create_symlink("loop", folder_ / "loop");
  EXPECT_EQ(refusal_of(folder_ / "loop"), "unreadable (Too many levels of symbolic links), expected a clip");
}

TEST_F(AudioSources, ASocketIsRefused) {
  const int number = ::socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_GE(number, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = (folder_ / "s").string();
  ASSERT_LT(path.size(), sizeof(address.sun_path));
  path.copy(address.sun_path, path.size());
  ASSERT_EQ(::bind(number, reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_EQ(refusal_of(Path(path)), "is a socket, expected a clip");
  ::close(number);
}

TEST_F(AudioSources, AFileThatMayNotBeReadIsRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may read everything";
  const Path path = written("a.wav", wav(rising(10)));
  ASSERT_EQ(::chmod(path.c_str(), 0), 0);
  EXPECT_EQ(refusal_of(path), "unreadable (Permission denied), expected a clip");
}

TEST_F(AudioSources, APipeIsReadToItsEnd) {
  const Path path = folder_ / "pipe.wav";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const std::string content = wav(rising(100'000));  // more than a pipe holds
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    std::ofstream pipe(path, std::ios::binary);
    pipe << content.substr(0, 30) << std::flush;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    pipe << content.substr(30);
  });
  EXPECT_EQ(load_audio(path, {}, kMost), heard(content));
  writer.join();
  std::thread silent([&] { std::ofstream pipe(path, std::ios::binary); });
  EXPECT_EQ(refusal_of(path), "unreadable (0 bytes), expected a clip");
  silent.join();
}

TEST_F(AudioSources, NobodyWritesToAPipe) {
  const Path path = folder_ / "pipe.wav";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  EXPECT_EQ(refusal_of(path), "is a pipe that nobody writes to, expected a clip");
}

TEST(Audio, APartOfAClip) {
  const std::string content = wav(rising(16'000));
  const std::vector<float> part = heard(content, {0.5, 0.75});
  ASSERT_EQ(part.size(), 4000U);
  EXPECT_EQ(part[0], 8000.0F / 32768.0F);
  EXPECT_EQ(heard(content, {std::nullopt, 1.009}).size(), 16'000U);
  EXPECT_EQ(refusal_of(content, {std::nullopt, 1.2}), "1.00 s long, expected at least 1.20 s");
  EXPECT_EQ(refusal_of(content, {1.0, std::nullopt}), "1.00 s long, expected at least 1.00 s");
  EXPECT_EQ(refusal_of(content, {0.0, kInfinity}), "1.00 s long, expected at least inf s");
  EXPECT_EQ(refusal_of(content, {0.5, 0.5}), "part from 0.5 to 0.5 s, expected 0 <= start < end");
  EXPECT_EQ(refusal_of(content, {-std::nan(""), std::nullopt}),
            "part from nan to 1 s, expected 0 <= start < end");
  EXPECT_EQ(refusal_of(content, {}, 0.5), "1.00 s long, expected at most 0.5 s");
}

TEST(Audio, AWavThatBreaksOff) {
  const std::string content = wav(rising(1000));
  EXPECT_EQ(refusal_of(content.substr(0, content.size() - 1)),
            "truncated: holds 1999 bytes of samples, expected 2000 by its header");
  EXPECT_EQ(refusal_of(wav(rising(1000), 1, 0x5265'C000)),
            "truncated: holds 2000 bytes of samples, expected 1382400000 by its header");
  // One that was written to a pipe says nothing of its length.
  for (const std::uint32_t size : {0U, 0xFFFF'FFFFU, 0x7FFF'FFF0U}) {
    EXPECT_EQ(heard(wav(rising(1000), 1, size)), heard(content)) << size;
  }
  EXPECT_EQ(refusal_of(wav({})), "holds no sample, expected a clip");
}

TEST(Audio, ChannelsAreAveraged) {
  const std::vector<float> mono = heard(wav({100, 300, -5, 5, 32767, 32767}, 2));
  EXPECT_EQ(mono, (std::vector<float>{200 / 32768.0F, 0, 32767 / 32768.0F}));
  EXPECT_EQ(refusal_of(wav(rising(1000), 100)),
            "has shape (10, 100), expected (samples,) or (samples, channels) with 1 to 64 channels");
}

TEST(Audio, WhatNeedsFfmpegIsRefused) {
  const std::string expected = "needs FFmpeg, which this library has not, expected wav, flac, ogg or mp3";
  EXPECT_EQ(refusal_of(std::string("\0\0\0\x20", 4) + "ftypisom" + std::string(100, '\0')), expected);
  EXPECT_EQ(refusal_of(std::string("text, and no sound")), expected);
  EXPECT_EQ(refusal_of(std::string(".snd\0\0\0\x18\0\0\1\0", 12) + std::string(20, 'a')),
            "truncated: holds 8 bytes of samples, expected 256 by its header");
}

TEST(Audio, AChainIsSeenWhereverItsPartsMeet) {
  const std::string later("OggS\0\0", 6);
  const std::string first("OggS\0\2", 6);
  const std::string xing = "\xFF\xFB" + std::string(15, '.') + "Xing" + std::string("\0\0\0\1\0\0\0\1", 8);
  // A file is read in blocks of 65,536 bytes.
  for (std::size_t between = 65'460; between < 65'550; ++between) {
    const std::string filler(between, 'x');
    EXPECT_TRUE(audio::is_chain(*audio::in_memory(first + later + filler + first)));
    EXPECT_FALSE(audio::is_chain(*audio::in_memory(first + first + filler + later)));
    EXPECT_TRUE(audio::is_chain(*audio::in_memory(xing + filler + xing)));
    EXPECT_FALSE(audio::is_chain(*audio::in_memory(xing + filler)));
  }
}

TEST(Audio, AHeaderThatPromisesAFantasyTakesNoMemory) {
  // A FLAC of 2**36 - 1 samples, by its STREAMINFO, that has none.
  const std::string info = std::string("\x80\0\0\x22\x10\0\x10\0", 8) + std::string(6, '\0') +
                           std::string("\x03\xE8\0\xFF\xFF\xFF\xFF\xFF", 8) + std::string(16, '\0');
  const std::string content = "fLaC" + info + std::string(100, '\0');
  const std::string found = refusal_of(content, {}, kInfinity);
  EXPECT_TRUE(found.find("truncated") == 0 || found.find("unreadable") == 0) << found;
}

Samples of(const std::vector<float>& samples, double rate = kSampleRate, int channels = 1) {
  const auto frames = samples.size() / static_cast<std::size_t>(channels);
  return {samples.data(), SampleType::kFloat32, frames, channels, rate};
}

TEST(Audio, SamplesInMemory) {
  const std::vector<std::int16_t> shorts = {-32768, 0, 16384};
  EXPECT_EQ(to_mono_16k({shorts.data(), SampleType::kInt16, 3, 1, kSampleRate}, {}, kMost),
            (std::vector<float>{-1, 0, 0.5F}));
  const std::vector<std::int32_t> small = {-9000, 8999};
  EXPECT_EQ(refusal([&] {
              to_mono_16k({small.data(), SampleType::kInt32, 2, 1, kSampleRate}, {}, kMost);
            }),
            "holds int32 samples from -9000 to 8999, expected int16, floats, or the scale of int32");
  const std::vector<float> bad = {0, std::nanf(""), 0, std::numeric_limits<float>::infinity()};
  EXPECT_EQ(refusal([&] { to_mono_16k(of(bad), {}, kMost); }),
            "holds a sample of nan, expected finite numbers up to 2.14748e+09");
  EXPECT_EQ(refusal([&] { to_mono_16k(of(bad, kInfinity), {}, kMost); }),
            "has a sample rate of inf Hz, expected 1000 to 1000000 Hz");
  EXPECT_EQ(refusal([&] { to_mono_16k(of({}), {}, kMost); }), "holds no sample, expected a clip");
}

TEST(Audio, RatesOfNoRecording) {
  require_rate(1000);
  require_rate(1e6);
  EXPECT_EQ(refusal([] { require_rate(999.9); }),
            "has a sample rate of 999.9 Hz, expected 1000 to 1000000 Hz");
  EXPECT_EQ(refusal([] { require_rate(std::nan("")); }),
            "has a sample rate of nan Hz, expected 1000 to 1000000 Hz");
}

TEST(Audio, Normalized) {
  std::vector<float> none;
  normalize(none);
  EXPECT_TRUE(none.empty());
  std::vector<float> silence(500, 0.0F);
  normalize(silence);
  EXPECT_EQ(silence, std::vector<float>(500, 0.0F));
  std::vector<float> two = {1, 3};
  normalize(two);
  EXPECT_NEAR(two[0], -1.0, 1e-6);
  EXPECT_NEAR(two[1], 1.0, 1e-6);
}

// Streaming

std::vector<float> noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> values(-1, 1);
  std::vector<float> samples(count);
  for (float& sample : samples) sample = values(random);
  return samples;
}

std::vector<float> streamed(const std::vector<float>& samples, double rate, int channels, std::size_t largest,
                            unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<std::size_t> sizes(0, largest);
  Resampler resampler(rate, channels);
  const auto width = static_cast<std::size_t>(channels);
  std::vector<float> found;
  for (std::size_t done = 0; done < samples.size() / width;) {
    const std::size_t count = std::min(sizes(random), samples.size() / width - done);
    resampler.accept(samples.data() + done * width, count, found);
    done += count;
  }
  resampler.finish(found);
  return found;
}

TEST(AudioStream, ChunksOfAnySizeGiveWhatAllAtOnceGives) {
  unsigned seed = 0;
  for (const double rate : {1000.0, 8000.0, 11'025.0, 16'000.0, 16'000.5, 44'100.0, 48'000.0, 1e6}) {
    for (const int channels : {1, 2, 9}) {
      const std::vector<float> samples = noise(static_cast<std::size_t>(45'000 * channels), ++seed);
      const std::vector<float> whole = to_mono_16k(of(samples, rate, channels), {}, kMost);
      for (const std::size_t largest : {std::size_t{7}, std::size_t{1000}, std::size_t{50'000}}) {
        EXPECT_EQ(streamed(samples, rate, channels, largest, seed), whole) << rate << ' ' << channels;
      }
    }
  }
}

TEST(AudioStream, NothingWasSaid) {
  for (const double rate : {8000.0, 16'000.0}) {
    Resampler resampler(rate, 1);
    std::vector<float> found;
    resampler.accept(nullptr, 0, found);
    resampler.finish(found);
    EXPECT_TRUE(found.empty());
  }
}

TEST(AudioStream, ABadSampleChangesNothing) {
  const std::vector<float> samples = noise(30'000, 1);
  const std::vector<float> bad = {0, 0, 3e9F};
  for (const double rate : {16'000.0, 22'050.0}) {
    Resampler resampler(rate, 1);
    std::vector<float> found;
    resampler.accept(samples.data(), 10'000, found);
    EXPECT_EQ(refusal([&] { resampler.accept(bad.data(), bad.size(), found); }),
              "holds a sample of 3e+09, expected finite numbers up to 2.14748e+09");
    resampler.accept(samples.data() + 10'000, 20'000, found);
    resampler.finish(found);
    EXPECT_EQ(found, to_mono_16k(of(samples, rate), {}, kMost));
  }
}

TEST(AudioStream, WhatIsNoStreamIsRefused) {
  EXPECT_EQ(refusal([] { Resampler(10, 1); }), "has a sample rate of 10 Hz, expected 1000 to 1000000 Hz");
  EXPECT_EQ(refusal([] { Resampler(16'000, 0); }), "has 0 channels, expected 1 to 64");
  EXPECT_EQ(refusal([] { Resampler(16'000, 65); }), "has 65 channels, expected 1 to 64");
}

TEST(AudioThreads, GetWhatOneGets) {
  const std::vector<float> samples = noise(60'000, 3);
  const std::vector<float> resampled = to_mono_16k(of(samples, 44'100), {}, kMost);
  const std::string content = wav(rising(20'000));
  const std::vector<float> decoded = heard(content);
  const std::string refused = refusal_of(content.substr(0, 20));
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < 5; ++round) {
        EXPECT_EQ(streamed(samples, 44'100, 1, 5000, i), resampled);
        EXPECT_EQ(heard(content), decoded);
        EXPECT_EQ(refusal_of(content.substr(0, 20)), refused);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace mtab_core
