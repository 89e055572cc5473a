// The C interface as a program of bytes: calls in any order, with what a caller may get wrong and the header
// promises to notice. Every call succeeds with an answer that is whole, or fails with a code and a message.
//
// MTAB_FUZZ_BUNDLE names the bundle to answer from (it is loaded once), MTAB_ONNXRUNTIME ONNX Runtime's
// library. Without them the models are NULL.
#include <fuzzer/FuzzedDataProvider.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <limits>
#include <string>
#include <type_traits>
#include <vector>

#include "mtab.h"
#include "text/tokenizer.hpp"

namespace {

constexpr std::size_t kMostCalls = 24;
constexpr std::size_t kMostFrames = 36'000;
constexpr double kMostSeconds = 2.0;
constexpr std::size_t kMostCharacters = 500;
constexpr std::size_t kHuge = std::numeric_limits<std::size_t>::max();
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

void require(bool condition) {
  if (!condition) std::abort();
}

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

// A structure with room behind it for what a newer header adds; its size may be any.
template <typename Structure>
class Sized {
 public:
  Sized(Structure structure, FuzzedDataProvider& bytes)
      : words_(16 * sizeof(Structure) / sizeof(std::uint64_t)) {
    if (bytes.ConsumeIntegralInRange(0, 15) == 0) {
      structure.struct_size = bytes.ConsumeBool()
                                  ? bytes.ConsumeIntegralInRange<std::size_t>(0, 17 * sizeof structure)
                                  : bytes.ConsumeIntegral<std::size_t>();
      if (bytes.ConsumeBool()) words_.back() = 1;
    }
    std::memcpy(words_.data(), &structure, sizeof structure);
  }
  [[nodiscard]] const Structure* get() const { return reinterpret_cast<const Structure*>(words_.data()); }

 private:
  std::vector<std::uint64_t> words_;
};

// Files that a program may name; gone at the end.
class Folder {
 public:
  Folder() {
    path_ =
        (std::filesystem::temp_directory_path() / ("mtab-abi-fuzz-" + std::to_string(::getpid()))).string();
    std::filesystem::create_directories(path_ + "/broken");
    std::ofstream(path_ + "/broken/manifest.json") << R"({"format_version": 2})";
    std::string wav(
        "RIFF\x24\x7d\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x80\x3e\0\0\0\x7d\0\0\2\0\x10\0data\0\x7d\0\0", 44);
    for (int i = 0; i < 16'000; ++i) {
      wav += static_cast<char>(i * 37);
      wav += static_cast<char>(i % 29);
    }
    std::ofstream(path_ + "/clip.wav", std::ios::binary) << wav;
    std::ofstream(path_ + "/empty.wav");
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string path(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void hear(void* context, mtab_log_level level, const char* message) {
  require(context != nullptr && level >= MTAB_LOG_DEBUG && level <= MTAB_LOG_WARNING && message != nullptr);
  ++*static_cast<std::size_t*>(context);
}

mtab_model* loaded() {
  const char* bundle = environment("MTAB_FUZZ_BUNDLE");
  if (bundle == nullptr) return nullptr;
  mtab_load_options options = MTAB_LOAD_OPTIONS_INIT;
  options.device = "cpu";
  options.threads = 1;
  options.skip_verification = 1;
  options.onnxruntime_library = environment("MTAB_ONNXRUNTIME");
  options.cache_dir = "";
  options.max_seconds = kMostSeconds;
  options.max_characters = kMostCharacters;
  mtab_model* model = nullptr;
  mtab_error* error = nullptr;
  if (mtab_load(bundle, &options, &model, &error) != MTAB_OK) {
    std::fprintf(stderr, "%s\n", mtab_error_message(error));
    std::abort();
  }
  return model;
}

class Program {
 public:
  Program(const std::uint8_t* data, std::size_t size, mtab_model* model, const Folder& folder)
      : bytes_(data, size), model_(model), folder_(folder) {}
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() {
    for (mtab_result* result : results_) mtab_result_free(result);
    for (mtab_results* batch : batches_) mtab_results_free(batch);
    for (mtab_stream* stream : streams_) mtab_stream_free(stream);
    for (mtab_error* error : errors_) mtab_error_free(error);
  }

  void run() {
    for (std::size_t calls = 0; calls < kMostCalls && bytes_.remaining_bytes() > 0; ++calls) step();
    for (const mtab_result* result : results_) look_at(result);
  }

 private:
  void step() {
    switch (bytes_.ConsumeIntegralInRange(0, 13)) {
      case 0:
      case 1:
        return predict();
      case 2:
        return predict_batch();
      case 3:
        return create_stream();
      case 4:
      case 5:
        return accept();
      case 6:
        return set_text();
      case 7:
        return predict_stream();
      case 8:
        return finish_stream();
      case 9:
        return load();
      case 10:
        return look_at_model();
      case 11:
        return misuse();
      case 12:
        return free_one();
      default:
        return mtab_stream_reset(any_stream());
    }
  }

  // What a call says of itself: the answer or the error, and never both.
  template <typename Handle>
  bool done(mtab_code code, const Handle* handle, const mtab_error* error, bool wants_error) {
    require((code == MTAB_OK) == (handle != nullptr));
    return done(code, error, wants_error);
  }

  bool done(mtab_code code, const mtab_error* error, bool wants_error) {
    require(code != MTAB_INTERNAL_ERROR && code >= MTAB_OK && code <= MTAB_OUT_OF_MEMORY);
    require((code != MTAB_OK && wants_error) == (error != nullptr));
    require(std::strcmp(mtab_code_name(code), "UnknownError") != 0);
    if (error == nullptr) return code == MTAB_OK;
    const std::string message = mtab_error_message(error);
    require(mtab_error_code(error) == code && !message.empty() && message.find('\n') == std::string::npos);
    mtab_core::require_utf8(message);
    return false;
  }

  // Where an error goes, if anywhere; it is kept for a while.
  struct Place {
    explicit Place(Program& owner) : program(owner), wanted(owner.bytes_.ConsumeIntegralInRange(0, 7) != 0) {}
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      if (error != nullptr) program.errors_.push_back(error);
    }
    mtab_error** get() { return wanted ? &error : nullptr; }
    Program& program;
    bool wanted;
    mtab_error* error = nullptr;
  };

  template <typename T, std::size_t kSize>
  T one_of(const T (&choices)[kSize]) {
    return choices[bytes_.ConsumeIntegralInRange<std::size_t>(0, kSize - 1)];
  }

  double number() {
    constexpr double kChoices[] = {0.0,       0.5,        1.0,   1.5,  2.0,       16000.0, 8000.0,
                                   44100.0,   1e6,        -1.0,  -0.0, 1e-300,    1e300,   kNaN,
                                   kInfinity, -kInfinity, 999.9, 0.25, 1'000'001, 9.3e18};
    if (bytes_.ConsumeIntegralInRange(0, 7) == 0) return bytes_.ConsumeFloatingPoint<double>();
    return one_of(kChoices);
  }

  double rate() {
    constexpr double kChoices[] = {0.0, 16000.0, 16000.0, 8000.0, 44100.0, 48000.0, 1000.0, 1e6, 22050.5};
    return bytes_.ConsumeIntegralInRange(0, 7) == 0 ? number() : one_of(kChoices);
  }

  std::size_t size() {
    constexpr std::size_t kChoices[] = {0, 0, 1, 2, 3, 8, 1000, kHuge, kHuge / 2, kHuge / 2 + 1};
    return one_of(kChoices);
  }

  std::int32_t channels() {
    constexpr std::int32_t kChoices[] = {0,
                                         1,
                                         1,
                                         2,
                                         6,
                                         64,
                                         65,
                                         -1,
                                         std::numeric_limits<std::int32_t>::max(),
                                         std::numeric_limits<std::int32_t>::min()};
    return one_of(kChoices);
  }

  // Memory of `count` values of up to 8 bytes: nothing, a tone, or the input's own bytes again and again.
  const void* memory(std::size_t count) {
    std::vector<double>& values = kept_samples_.emplace_back(std::max<std::size_t>(1, count));
    auto* place = reinterpret_cast<unsigned char*>(values.data());
    const std::size_t size = values.size() * sizeof(double);
    switch (bytes_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        break;
      case 1: {
        // A float32 for each half of a value.
        for (std::size_t i = 0; i < size / sizeof(float); ++i) {
          const auto sample = static_cast<float>(0.3 * std::sin(0.05 * static_cast<double>(i)));
          std::memcpy(place + i * sizeof sample, &sample, sizeof sample);
        }
        break;
      }
      case 2:
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = std::sin(0.05 * static_cast<double>(i));
        break;
      default: {
        const std::string own = bytes_.ConsumeRandomLengthString(64);
        for (std::size_t i = 0; i < size && !own.empty(); ++i) {
          place[i] = static_cast<unsigned char>(own[i % own.size()]);
        }
      }
    }
    return values.data();
  }

  // A text that lives as long as the program; NULL now and then.
  const char* text(std::size_t& size) {
    size = 0;
    switch (bytes_.ConsumeIntegralInRange(0, 7)) {
      case 0:
        return nullptr;
      case 1:
        return "";
      case 2:
        return " \t\n";
      case 3: {
        const std::string& many =
            kept_texts_.emplace_back(bytes_.ConsumeIntegralInRange<std::size_t>(400, 600), 'a');
        return many.c_str();
      }
      case 4:
        size = kHuge - 1 - bytes_.ConsumeIntegralInRange<std::size_t>(0, kHuge / 2 - 3);
        return "a";
      case 5:
        return kept_texts_.emplace_back(bytes_.ConsumeRandomLengthString(64)).c_str();
      default: {
        const std::string& own = kept_texts_.emplace_back(bytes_.ConsumeRandomLengthString(64));
        size = own.size();
        return own.c_str();
      }
    }
  }

  const char* path() {
    switch (bytes_.ConsumeIntegralInRange(0, 6)) {
      case 0:
        return "";
      case 1:
        return kept_texts_.emplace_back(folder_.path("empty.wav")).c_str();
      case 2:
        return kept_texts_.emplace_back(folder_.path("broken")).c_str();
      case 3:
        return kept_texts_.emplace_back(bytes_.ConsumeIntegralInRange<std::size_t>(200, 5000), 'p').c_str();
      case 4:
        return "nowhere.wav";
      default:
        return kept_texts_.emplace_back(folder_.path("clip.wav")).c_str();
    }
  }

  void add_content(mtab_input& input) {
    std::string& content = kept_texts_.emplace_back();
    if (bytes_.ConsumeBool()) {
      std::ifstream file(folder_.path("clip.wav"), std::ios::binary);
      content.assign(std::istreambuf_iterator<char>(file), {});
      content.resize(bytes_.ConsumeIntegralInRange<std::size_t>(0, content.size()));
      for (int i = bytes_.ConsumeIntegralInRange(0, 4); i > 0 && !content.empty(); --i) {
        const auto place =
            bytes_.ConsumeIntegralInRange<std::size_t>(0, std::min<std::size_t>(64, content.size()) - 1);
        content[place] = bytes_.ConsumeIntegral<char>();
      }
    } else {
      content = bytes_.ConsumeRandomLengthString(200);
    }
    input.content = content.data();
    input.content_size = bytes_.ConsumeIntegralInRange(0, 31) == 0 ? kHuge : content.size();
  }

  void add_samples(mtab_input& input) {
    constexpr mtab_sample_type kTypes[] = {
        MTAB_FLOAT32, MTAB_FLOAT32, MTAB_FLOAT64, MTAB_INT16, MTAB_INT32, -1, 17};
    input.channels = channels();
    input.sample_type = one_of(kTypes);
    input.sample_rate = rate();
    input.frames = bytes_.ConsumeIntegralInRange<std::size_t>(0, kMostFrames);
    const std::int32_t wide = std::clamp(input.channels, 1, 64);
    input.frames = std::min(input.frames, 4 * kMostFrames / static_cast<std::size_t>(wide));
    input.samples = memory(input.frames * static_cast<std::size_t>(wide));
    if (bytes_.ConsumeIntegralInRange(0, 31) == 0) input.frames = kHuge;
  }

  mtab_input input() {
    mtab_input made = MTAB_INPUT_INIT;
    const int kind = bytes_.ConsumeIntegralInRange(0, 15);
    if (kind >= 1 && kind <= 8) add_samples(made);
    if (kind >= 9 && kind <= 11) add_content(made);
    if (kind >= 12 && kind <= 13) made.path = path();
    if (kind == 14) made.frames = size();
    if (kind == 15) {
      made.path = path();
      made.content_size = size();
    }
    if (bytes_.ConsumeIntegralInRange(0, 3) == 0) {
      made.start = number();
      made.end = number();
    }
    made.text = text(made.text_size);
    if (bytes_.ConsumeIntegralInRange(0, 7) == 0) made.name = "a name";
    return made;
  }

  mtab_predict_options options() {
    mtab_predict_options made = MTAB_PREDICT_OPTIONS_INIT;
    made.top_k = size();
    if (bytes_.ConsumeIntegralInRange(0, 3) == 0) made.abstain = number();
    if (bytes_.ConsumeIntegralInRange(0, 3) == 0) made.batch_size = size();
    if (bytes_.ConsumeIntegralInRange(0, 3) == 0) made.batch_seconds = number();
    return made;
  }

  // A live handle of another kind than the one that is asked for, or NULL.
  template <typename Handle>
  Handle* wrong() {
    if (!errors_.empty() && bytes_.ConsumeBool()) return reinterpret_cast<Handle*>(errors_.back());
    if constexpr (!std::is_same_v<Handle, mtab_result>) {
      if (!results_.empty() && bytes_.ConsumeBool()) return reinterpret_cast<Handle*>(results_.back());
    }
    if constexpr (!std::is_same_v<Handle, mtab_stream>) {
      if (!streams_.empty() && bytes_.ConsumeBool()) return reinterpret_cast<Handle*>(streams_.back());
    }
    if constexpr (!std::is_same_v<Handle, mtab_results>) {
      if (!batches_.empty() && bytes_.ConsumeBool()) return reinterpret_cast<Handle*>(batches_.back());
    }
    return nullptr;
  }

  const mtab_model* any_model() {
    return bytes_.ConsumeIntegralInRange(0, 15) == 0 ? wrong<mtab_model>() : model_;
  }

  mtab_stream* any_stream() {
    if (streams_.empty() || bytes_.ConsumeIntegralInRange(0, 15) == 0) return wrong<mtab_stream>();
    return streams_[bytes_.ConsumeIntegralInRange<std::size_t>(0, streams_.size() - 1)];
  }

  bool sometimes_null() { return bytes_.ConsumeIntegralInRange(0, 31) == 0; }

  void keep(mtab_result* result) {
    if (result == nullptr) return;
    look_at(result);
    results_.push_back(result);
  }

  void predict() {
    const Sized<mtab_input> given(input(), bytes_);
    const Sized<mtab_predict_options> wanted(options(), bytes_);
    const mtab_model* model = any_model();
    mtab_result* result = nullptr;
    Place place(*this);
    const bool no_target = sometimes_null();
    const mtab_code code = mtab_predict(model, sometimes_null() ? nullptr : given.get(),
                                        bytes_.ConsumeBool() ? wanted.get() : nullptr,
                                        no_target ? nullptr : &result, place.get());
    require(!no_target || code != MTAB_OK);
    done(code, result, place.error, place.wanted);
    keep(result);
  }

  // Inputs as an older or a newer header lays them out, each as far from the last as the first says it is
  // long.
  void predict_batch() {
    const auto count = bytes_.ConsumeIntegralInRange<std::size_t>(0, 5);
    std::size_t stride = sizeof(mtab_input);
    if (bytes_.ConsumeIntegralInRange(0, 7) == 0) {
      stride = bytes_.ConsumeIntegralInRange<std::size_t>(0, 3 * sizeof(mtab_input));
    }
    std::vector<std::uint64_t> words((count + 1) * 3 * sizeof(mtab_input) / sizeof(std::uint64_t) + 1);
    auto* place_of = reinterpret_cast<unsigned char*>(words.data());
    for (std::size_t i = 0; i < count; ++i) {
      mtab_input each = input();
      each.struct_size = sometimes_null() ? bytes_.ConsumeIntegral<std::size_t>() : stride;
      std::memcpy(place_of + i * stride, &each, std::min(stride, sizeof each));
    }
    const Sized<mtab_predict_options> wanted(options(), bytes_);
    const mtab_model* model = any_model();
    mtab_results* results = nullptr;
    Place place(*this);
    const bool no_target = sometimes_null();
    const bool no_inputs = sometimes_null();
    const mtab_code code = mtab_predict_batch(
        model, no_inputs ? nullptr : reinterpret_cast<const mtab_input*>(words.data()), count,
        bytes_.ConsumeBool() ? wanted.get() : nullptr, no_target ? nullptr : &results, place.get());
    if (!done(code, results, place.error, place.wanted)) return;
    require(mtab_results_count(results) == count);
    for (std::size_t i = 0; i < count; ++i) {
      const mtab_result* result = mtab_results_get(results, i);
      const mtab_error* error = mtab_results_error(results, i);
      require((result == nullptr) != (error == nullptr));
      if (result != nullptr) look_at(result);
      if (error != nullptr) done(mtab_error_code(error), error, true);
    }
    require(mtab_results_get(results, count) == nullptr && mtab_results_error(results, kHuge) == nullptr);
    batches_.push_back(results);
  }

  void create_stream() {
    const mtab_model* model = any_model();
    const double hz = rate();
    const std::int32_t wide = channels();
    mtab_stream* stream = nullptr;
    Place place(*this);
    const bool no_target = sometimes_null();
    const mtab_code code = mtab_stream_create(model, hz, wide, no_target ? nullptr : &stream, place.get());
    if (!done(code, stream, place.error, place.wanted)) return;
    require(mtab_stream_seconds(stream) == 0.0);
    streams_.push_back(stream);
    widths_.push_back(static_cast<std::size_t>(wide));
  }

  void accept() {
    mtab_stream* stream = any_stream();
    const auto found = std::find(streams_.begin(), streams_.end(), stream);
    const std::size_t wide =
        found == streams_.end() ? 1 : widths_[static_cast<std::size_t>(found - streams_.begin())];
    std::size_t frames =
        bytes_.ConsumeIntegralInRange<std::size_t>(0, kMostFrames / std::max<std::size_t>(1, wide));
    const auto* samples = static_cast<const float*>(memory((frames * wide + 1) / 2));
    if (bytes_.ConsumeIntegralInRange(0, 31) == 0) frames = kHuge - bytes_.ConsumeIntegral<std::uint16_t>();
    const double before = mtab_stream_seconds(stream);
    Place place(*this);
    const mtab_code code =
        mtab_stream_accept(stream, sometimes_null() ? nullptr : samples, frames, place.get());
    if (!done(code, place.error, place.wanted)) require(mtab_stream_seconds(stream) == before);
    require(mtab_stream_seconds(stream) <= kMostSeconds);
  }

  void set_text() {
    std::size_t size = 0;
    const char* words = text(size);
    mtab_stream* stream = any_stream();
    Place place(*this);
    done(mtab_stream_set_text(stream, words, size, place.get()), place.error, place.wanted);
  }

  void predict_stream() {
    const Sized<mtab_predict_options> wanted(options(), bytes_);
    mtab_stream* stream = any_stream();
    const double seconds = number();
    const double before = mtab_stream_seconds(stream);
    mtab_result* result = nullptr;
    Place place(*this);
    const mtab_code code = mtab_stream_predict(stream, seconds, bytes_.ConsumeBool() ? wanted.get() : nullptr,
                                               sometimes_null() ? nullptr : &result, place.get());
    done(code, result, place.error, place.wanted);
    require(mtab_stream_seconds(stream) == before);
    keep(result);
  }

  void finish_stream() {
    const Sized<mtab_predict_options> wanted(options(), bytes_);
    mtab_stream* stream = any_stream();
    const double before = mtab_stream_seconds(stream);
    mtab_result* result = nullptr;
    Place place(*this);
    const mtab_code code = mtab_stream_finish(stream, bytes_.ConsumeBool() ? wanted.get() : nullptr,
                                              sometimes_null() ? nullptr : &result, place.get());
    done(code, result, place.error, place.wanted);
    if (code == MTAB_INVALID_ARGUMENT) require(mtab_stream_seconds(stream) == before);
    if (code == MTAB_OK) require(mtab_stream_seconds(stream) == 0.0);
    keep(result);
  }

  void load() {
    mtab_load_options made = MTAB_LOAD_OPTIONS_INIT;
    constexpr const char* kEngines[] = {
        nullptr, "onnxruntime", "onnxruntime-tensorrt", "onnxruntime-tensorrt-rtx", "", "auto", "\xff"};
    constexpr const char* kDevices[] = {nullptr,      "cpu", "cuda", "cuda:0", "cpu:1",
                                        "cuda:99999", "",    ":",    "tpu"};
    constexpr const char* kPrecisions[] = {nullptr, "fp32", "int8", "bf16", "", "fp8"};
    made.engine = one_of(kEngines);
    made.device = one_of(kDevices);
    made.precision = one_of(kPrecisions);
    made.threads = channels();
    made.skip_verification = bytes_.ConsumeBool() ? 1 : 0;
    made.onnxruntime_library = "/nowhere/libonnxruntime.so";
    made.cache_dir = "";
    made.max_seconds = number();
    made.max_characters = size();
    made.log = bytes_.ConsumeBool() ? hear : nullptr;
    made.log_context = &heard_;
    // A program in C may say any number.
    const auto level = bytes_.ConsumeIntegralInRange(-3, 40);
    static_assert(sizeof level == sizeof made.log_level);
    std::memcpy(&made.log_level, &level, sizeof level);
    const char* const bundles[] = {nullptr, "", "/dev/null", "nowhere",
                                   kept_texts_.emplace_back(folder_.path("broken")).c_str()};
    const char* bundle = one_of(bundles);
    bool all_known = false;
    // Once, and unverified, since it takes a while: up to the ONNX Runtime that is not there.
    if (!opened_ && bytes_.ConsumeIntegralInRange(0, 7) == 0 && environment("MTAB_FUZZ_BUNDLE") != nullptr) {
      opened_ = all_known = true;
      bundle = environment("MTAB_FUZZ_BUNDLE");
      made.skip_verification = 1;
    }
    const Sized<mtab_load_options> sized(made, bytes_);
    const mtab_load_options* options = all_known ? &made : sized.get();
    if (!all_known && bytes_.ConsumeIntegralInRange(0, 7) == 0) options = nullptr;
    mtab_model* model = nullptr;
    Place place(*this);
    const mtab_code code = mtab_load(bundle, options, sometimes_null() ? nullptr : &model, place.get());
    require(code != MTAB_OK);
    done(code, model, place.error, place.wanted);
  }

  void look_at_model() {
    const mtab_model* model = any_model();
    const std::size_t index = size();
    const std::size_t count = mtab_model_label_count(model);
    require((mtab_model_label(model, index) != nullptr) == (index < count));
    const bool live = count > 0;
    require((mtab_model_engine(model) != nullptr) == live && (mtab_model_device(model) != nullptr) == live);
    require((mtab_model_precision(model) != nullptr) == live);
    require((mtab_model_onnxruntime_version(model) != nullptr) == live);
    const std::uint32_t modalities = mtab_model_modalities(model);
    require((mtab_model_supports(model, modalities) != 0) == live);
    require(mtab_model_supports(model, bytes_.ConsumeIntegralInRange(4U, ~0U)) == 0);
    require((mtab_model_embedding_size(model) > 0) == live);
  }

  // Handles of another kind, given to what frees and to what looks: nothing happens.
  void misuse() {
    mtab_result_free(wrong<mtab_result>());
    mtab_results_free(wrong<mtab_results>());
    mtab_stream_free(wrong<mtab_stream>());
    mtab_model_free(wrong<mtab_model>());
    mtab_stream_reset(wrong<mtab_stream>());
    if (!results_.empty()) mtab_error_free(reinterpret_cast<mtab_error*>(results_.back()));
    const auto* result = wrong<mtab_result>();
    require(mtab_result_label(result) == nullptr && mtab_result_count(result) == 0);
    require(mtab_result_logits(result) == nullptr && mtab_result_embedding(result) == nullptr);
    require(std::isnan(mtab_result_score(result)) && std::isnan(mtab_result_duration(result)));
    require(mtab_result_class(result, 0) == nullptr && std::isnan(mtab_result_probability(result, 0)));
    require(mtab_result_modalities(result) == 0 && mtab_result_text_truncated(result) == 0);
    const auto* results = wrong<mtab_results>();
    require(mtab_results_count(results) == 0 && mtab_results_get(results, 0) == nullptr);
    require(mtab_results_error(results, 0) == nullptr);
    require(mtab_stream_seconds(wrong<mtab_stream>()) == 0.0);
    mtab_code_name(bytes_.ConsumeIntegral<mtab_code>());
  }

  void free_one() {
    switch (bytes_.ConsumeIntegralInRange(0, 3)) {
      case 0:
        return free_last(results_, mtab_result_free);
      case 1:
        return free_last(batches_, mtab_results_free);
      case 2:
        return free_last(errors_, mtab_error_free);
      default:
        if (!widths_.empty()) widths_.pop_back();
        return free_last(streams_, mtab_stream_free);
    }
  }

  template <typename Handle>
  static void free_last(std::vector<Handle*>& handles, void (*give_back)(Handle*)) {
    if (handles.empty()) return give_back(nullptr);
    give_back(handles.back());
    handles.pop_back();
  }

  // All of an answer is there, and is an answer.
  void look_at(const mtab_result* result) const {
    const std::size_t classes = mtab_model_label_count(model_);
    const std::size_t kept = mtab_result_count(result);
    require(kept > 0 && kept <= classes);
    require(std::strlen(mtab_result_label(result)) > 0);
    const float score = mtab_result_score(result);
    require(score > 0.0F && score <= 1.0001F);
    float sum = 0;
    for (std::size_t i = 0; i < kept; ++i) {
      require(mtab_result_class(result, i) != nullptr);
      require(mtab_result_probability(result, i) <= score);
      sum += mtab_result_probability(result, i);
    }
    require(kept < classes ? sum <= 1.001F : std::fabs(sum - 1.0F) < 0.001F);
    require(mtab_result_class(result, kept) == nullptr && std::isnan(mtab_result_probability(result, kHuge)));
    for (std::size_t i = 0; i < classes; ++i) require(std::isfinite(mtab_result_logits(result)[i]));
    for (std::size_t i = 0; i < mtab_model_embedding_size(model_); ++i) {
      require(std::isfinite(mtab_result_embedding(result)[i]));
    }
    const std::uint32_t modalities = mtab_result_modalities(result);
    require(mtab_model_supports(model_, modalities) != 0);
    const double duration = mtab_result_duration(result);
    // A resampler rounds up.
    require((modalities & MTAB_AUDIO) != 0 ? duration > 0 && duration < kMostSeconds + 0.002
                                           : std::isnan(duration));
  }

  FuzzedDataProvider bytes_;
  const mtab_model* model_;
  const Folder& folder_;
  std::size_t heard_ = 0;
  bool opened_ = false;
  std::vector<mtab_result*> results_;
  std::vector<mtab_results*> batches_;
  std::vector<mtab_stream*> streams_;
  std::vector<std::size_t> widths_;
  std::vector<mtab_error*> errors_;
  // Where they lie is kept as they become more.
  std::deque<std::string> kept_texts_;
  std::deque<std::vector<double>> kept_samples_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  static mtab_model* const model = loaded();
  Program(data, size, model, folder).run();
  return 0;
}
