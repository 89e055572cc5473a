// mtab.h for C++17: objects that free themselves, and exceptions. Header alone; link libmtab.
//
//   const mtab::Model model("bundle");
//   const mtab::Result result = model.predict(mtab::Input::file("clip.wav").with_text("I never said that!"));
//   std::cout << result.label() << " " << result.score() << "\n";
//
// Threads, limits and errors are those of mtab.h.
#ifndef MTAB_HPP
#define MTAB_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "mtab.h"

namespace mtab {

// What the library says went wrong; `what()` is its message in one line.
class Error : public std::runtime_error {
 public:
  Error(mtab_code code, const std::string& message) : std::runtime_error(message), code_(code) {}

  // One of mtab.h's, and its name: "AudioError".
  [[nodiscard]] mtab_code code() const noexcept { return code_; }
  [[nodiscard]] const char* name() const noexcept { return mtab_code_name(code_); }

 private:
  mtab_code code_;
};

namespace detail {

struct Free {
  void operator()(mtab_model* handle) const noexcept { mtab_model_free(handle); }
  void operator()(mtab_result* handle) const noexcept { mtab_result_free(handle); }
  void operator()(mtab_results* handle) const noexcept { mtab_results_free(handle); }
  void operator()(mtab_stream* handle) const noexcept { mtab_stream_free(handle); }
  void operator()(mtab_error* handle) const noexcept { mtab_error_free(handle); }
};

template <typename Handle>
using Owned = std::unique_ptr<Handle, Free>;

// Call a function of mtab.h, which takes an mtab_error** last, and throw what it reports.
template <typename Function, typename... Arguments>
void call(Function function, Arguments... arguments) {
  mtab_error* reported = nullptr;
  const mtab_code code = function(arguments..., &reported);
  const Owned<mtab_error> error(reported);
  if (code != MTAB_OK) throw Error(code, mtab_error_message(error.get()));
}

}  // namespace detail

// The answer for one utterance. Copies share it.
class Result {
 public:
  explicit Result(mtab_result* owned) : handle_(owned, detail::Free()) {}
  // Of one that `owner` keeps alive.
  Result(const mtab_result* borrowed, const std::shared_ptr<const void>& owner) : handle_(owner, borrowed) {}

  // The likeliest class, or "unknown"; and its probability.
  [[nodiscard]] std::string label() const { return mtab_result_label(handle_.get()); }
  [[nodiscard]] float score() const { return mtab_result_score(handle_.get()); }
  // The classes that were kept, with their calibrated probabilities.
  [[nodiscard]] std::vector<std::pair<std::string, float>> probabilities() const {
    std::vector<std::pair<std::string, float>> found;
    for (std::size_t i = 0; i < mtab_result_count(handle_.get()); ++i) {
      found.emplace_back(mtab_result_class(handle_.get(), i), mtab_result_probability(handle_.get(), i));
    }
    return found;
  }
  // What the classifier sees, Model::embedding_size values; they live as long as a copy of this result.
  [[nodiscard]] const float* embedding() const { return mtab_result_embedding(handle_.get()); }
  // Model::dimensions().size() values, in the units of the corpus that the model learned from.
  [[nodiscard]] const float* dimensions() const { return mtab_result_dimensions(handle_.get()); }
  // Model::labels().size() values.
  [[nodiscard]] const float* logits() const { return mtab_result_logits(handle_.get()); }
  // Seconds of the audio that was used; nothing without audio.
  [[nodiscard]] std::optional<double> duration() const {
    const double seconds = mtab_result_duration(handle_.get());
    return seconds == seconds ? std::optional<double>(seconds) : std::nullopt;
  }
  // MTAB_AUDIO and MTAB_TEXT, as bits.
  [[nodiscard]] std::uint32_t modalities() const { return mtab_result_modalities(handle_.get()); }
  [[nodiscard]] bool text_truncated() const { return mtab_result_text_truncated(handle_.get()) != 0; }

 private:
  std::shared_ptr<const mtab_result> handle_;
};

// In the place of an utterance of a batch: its answer, or why it has none.
using Outcome = std::variant<Result, Error>;

// One utterance. It keeps its texts; samples and content are the caller's until it was answered.
class Input {
 public:
  // A wav, flac, ogg or mp3.
  static Input file(std::string path) {
    // What is behind it would be lost.
    if (path.find('\0') != std::string::npos)
      throw Error(MTAB_INVALID_ARGUMENT, "path holds a NUL, expected none");
    Input input;
    input.path_ = std::move(path);
    return input;
  }
  // The content of such a file.
  static Input content(const void* data, std::size_t size) {
    Input input;
    input.values_.content = data;
    input.values_.content_size = size;
    return input;
  }
  // `frames` times `channels` interleaved samples.
  static Input samples(const float* data, std::size_t frames, double sample_rate = 16000.0,
                       std::int32_t channels = 1) {
    return of(data, frames, sample_rate, channels, MTAB_FLOAT32);
  }
  static Input samples(const double* data, std::size_t frames, double sample_rate = 16000.0,
                       std::int32_t channels = 1) {
    return of(data, frames, sample_rate, channels, MTAB_FLOAT64);
  }
  static Input samples(const std::int16_t* data, std::size_t frames, double sample_rate = 16000.0,
                       std::int32_t channels = 1) {
    return of(data, frames, sample_rate, channels, MTAB_INT16);
  }
  static Input samples(const std::int32_t* data, std::size_t frames, double sample_rate = 16000.0,
                       std::int32_t channels = 1) {
    return of(data, frames, sample_rate, channels, MTAB_INT32);
  }
  // A text without a clip.
  static Input text(std::string text) { return Input().with_text(std::move(text)); }

  // Its transcript in UTF-8.
  Input with_text(std::string text) && {
    text_ = std::move(text);
    return std::move(*this);
  }
  // The part from `start` to `end` seconds; 0: to the end.
  Input with_span(double start, double end) && {
    values_.start = start;
    values_.end = end;
    return std::move(*this);
  }
  // What errors call it.
  Input with_name(std::string name) && {
    name_ = std::move(name);
    return std::move(*this);
  }

  // As mtab.h takes it; it lives as long as this input, unchanged.
  [[nodiscard]] mtab_input get() const {
    mtab_input input = values_;
    if (path_) input.path = path_->c_str();
    if (text_) {
      input.text = text_->data();
      input.text_size = text_->size();
    }
    if (name_) input.name = name_->c_str();
    return input;
  }

 private:
  Input() = default;
  static Input of(const void* data, std::size_t frames, double sample_rate, std::int32_t channels,
                  mtab_sample_type type) {
    Input input;
    input.values_.samples = data;
    input.values_.frames = frames;
    input.values_.sample_rate = sample_rate;
    input.values_.channels = channels;
    input.values_.sample_type = type;
    return input;
  }

  mtab_input values_ = MTAB_INPUT_INIT;
  std::optional<std::string> path_;
  std::optional<std::string> text_;
  std::optional<std::string> name_;
};

struct PredictOptions {
  std::size_t top_k = 0;
  double abstain = 0.0;
  std::size_t batch_size = 0;
  double batch_seconds = 0.0;

  [[nodiscard]] mtab_predict_options get() const {
    mtab_predict_options options = MTAB_PREDICT_OPTIONS_INIT;
    options.top_k = top_k;
    options.abstain = abstain;
    options.batch_size = batch_size;
    options.batch_seconds = batch_seconds;
    return options;
  }
};

using Log = std::function<void(mtab_log_level level, const char* message)>;

// See mtab_load_options; what is empty or 0 is the default.
struct LoadOptions {
  std::string engine;
  std::string device;
  std::string precision;
  std::int32_t threads = 0;
  bool verify = true;
  std::string onnxruntime_library;
  std::string provider_library;
  // Nothing: the default; empty: keep nothing.
  std::optional<std::string> cache_dir;
  double max_seconds = 0.0;
  std::size_t max_characters = 0;
  // Called from any thread; an exception that it throws is dropped.
  Log log;
  mtab_log_level log_level = MTAB_LOG_WARNING;
};

class Stream;

// A bundle on an engine. Safe to use from many threads at once. Copies share it.
class Model {
 public:
  explicit Model(const std::string& bundle, const LoadOptions& options = {})
      : log_(options.log ? std::make_shared<const Log>(options.log) : nullptr) {
    const auto or_default = [](const std::string& text) { return text.empty() ? nullptr : text.c_str(); };
    mtab_load_options given = MTAB_LOAD_OPTIONS_INIT;
    given.engine = or_default(options.engine);
    given.device = or_default(options.device);
    given.precision = or_default(options.precision);
    given.threads = options.threads;
    given.skip_verification = options.verify ? 0 : 1;
    given.onnxruntime_library = or_default(options.onnxruntime_library);
    given.provider_library = or_default(options.provider_library);
    given.cache_dir = options.cache_dir ? options.cache_dir->c_str() : nullptr;
    given.max_seconds = options.max_seconds;
    given.max_characters = options.max_characters;
    given.log = log_ ? &Model::pass_on : nullptr;
    given.log_context = const_cast<Log*>(log_.get());
    given.log_level = options.log_level;
    mtab_model* made = nullptr;
    detail::call(mtab_load, bundle.c_str(), &given, &made);
    // The log lives as long as the model, whichever copy is the last.
    handle_ = std::shared_ptr<mtab_model>(made, FreeWithLog{log_});
  }

  // The classes in the order of the logits.
  [[nodiscard]] std::vector<std::string> labels() const {
    std::vector<std::string> found;
    for (std::size_t i = 0; i < mtab_model_label_count(get()); ++i)
      found.emplace_back(mtab_model_label(get(), i));
    return found;
  }
  // What it answers beside the classes, of valence, arousal and dominance; often nothing.
  [[nodiscard]] std::vector<std::string> dimensions() const {
    std::vector<std::string> found;
    for (std::size_t i = 0; i < mtab_model_dimension_count(get()); ++i)
      found.emplace_back(mtab_model_dimension(get(), i));
    return found;
  }
  [[nodiscard]] std::size_t embedding_size() const { return mtab_model_embedding_size(get()); }
  [[nodiscard]] std::uint32_t modalities() const { return mtab_model_modalities(get()); }
  [[nodiscard]] bool supports(std::uint32_t modalities) const {
    return mtab_model_supports(get(), modalities) != 0;
  }
  [[nodiscard]] std::string engine() const { return mtab_model_engine(get()); }
  [[nodiscard]] std::string device() const { return mtab_model_device(get()); }
  [[nodiscard]] std::string precision() const { return mtab_model_precision(get()); }
  [[nodiscard]] std::string onnxruntime_version() const { return mtab_model_onnxruntime_version(get()); }

  // Throws Error.
  [[nodiscard]] Result predict(const Input& input, const PredictOptions& options = {}) const {
    const mtab_input given = input.get();
    const mtab_predict_options wanted = options.get();
    mtab_result* made = nullptr;
    detail::call(mtab_predict, static_cast<const mtab_model*>(get()), &given, &wanted, &made);
    return Result(made);
  }

  // An outcome for each input, in their order. Throws Error for what is wrong with all of them.
  [[nodiscard]] std::vector<Outcome> predict(const std::vector<Input>& inputs,
                                             const PredictOptions& options = {}) const {
    std::vector<mtab_input> given;
    given.reserve(inputs.size());
    for (const Input& input : inputs) given.push_back(input.get());
    const mtab_predict_options wanted = options.get();
    mtab_results* made = nullptr;
    detail::call(mtab_predict_batch, static_cast<const mtab_model*>(get()),
                 static_cast<const mtab_input*>(given.data()), given.size(), &wanted, &made);
    const std::shared_ptr<const mtab_results> results(made, detail::Free());
    std::vector<Outcome> outcomes;
    for (std::size_t i = 0; i < mtab_results_count(made); ++i) {
      if (const mtab_result* result = mtab_results_get(made, i)) {
        outcomes.emplace_back(Result(result, results));
      } else {
        const mtab_error* error = mtab_results_error(made, i);
        outcomes.emplace_back(Error(mtab_error_code(error), mtab_error_message(error)));
      }
    }
    return outcomes;
  }

  // Hear an utterance as it comes.
  [[nodiscard]] Stream stream(double sample_rate, std::int32_t channels = 1) const;

  [[nodiscard]] mtab_model* get() const noexcept { return handle_.get(); }

 private:
  struct FreeWithLog {
    std::shared_ptr<const Log> log;
    void operator()(mtab_model* handle) const noexcept { mtab_model_free(handle); }
  };

  static void pass_on(void* log, mtab_log_level level, const char* message) {
    try {
      (*static_cast<const Log*>(log))(level, message);
    } catch (...) {
      // There is nobody to tell.
    }
  }

  std::shared_ptr<const Log> log_;
  std::shared_ptr<mtab_model> handle_;
};

// An utterance that is being heard; used by one thread at a time. It keeps its model.
class Stream {
 public:
  Stream(Model model, double sample_rate, std::int32_t channels) : model_(std::move(model)) {
    mtab_stream* made = nullptr;
    detail::call(mtab_stream_create, static_cast<const mtab_model*>(model_.get()), sample_rate, channels,
                 &made);
    handle_.reset(made);
  }

  // `frames` more, channels interleaved.
  void accept(const float* samples, std::size_t frames) {
    detail::call(mtab_stream_accept, handle_.get(), samples, frames);
  }
  // Its transcript so far, in place of the one before.
  void set_text(const std::string& text) {
    detail::call(mtab_stream_set_text, handle_.get(), text.data(), text.size());
  }
  [[nodiscard]] double seconds() const { return mtab_stream_seconds(handle_.get()); }
  // From the last `seconds` that were heard, 0 for all of them.
  [[nodiscard]] Result predict(double seconds = 0.0, const PredictOptions& options = {}) const {
    const mtab_predict_options wanted = options.get();
    mtab_result* made = nullptr;
    detail::call(mtab_stream_predict, handle_.get(), seconds, &wanted, &made);
    return Result(made);
  }
  // For the whole utterance, as Model::predict gives for all of its samples; the stream begins another one.
  [[nodiscard]] Result finish(const PredictOptions& options = {}) {
    const mtab_predict_options wanted = options.get();
    mtab_result* made = nullptr;
    detail::call(mtab_stream_finish, handle_.get(), &wanted, &made);
    return Result(made);
  }
  void reset() { mtab_stream_reset(handle_.get()); }

 private:
  Model model_;
  detail::Owned<mtab_stream> handle_;
};

inline Stream Model::stream(double sample_rate, std::int32_t channels) const {
  return {*this, sample_rate, channels};
}

}  // namespace mtab

#endif
