// A bundle on an engine: from utterances to answers, as `mtab.model` and `mtab.preprocess`.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "audio/audio.hpp"
#include "batching.hpp"
#include "bundle.hpp"
#include "engine.hpp"
#include "error.hpp"
#include "text/tokenizer.hpp"

namespace mtab_core {

// Where a clip comes from: nowhere, a file, a file's content, or samples.
using Clip = std::variant<std::monostate, Path, Bytes, Samples>;

// One utterance; what it refers to outlives the call.
struct Utterance {
  Clip clip;
  Span span;
  std::optional<std::string_view> text;
  // What errors call it; empty: its file, or its number.
  std::string name;
};

// One utterance as the model takes it; a modality that it lacks has no value.
struct Features {
  std::optional<std::vector<float>> input_values;
  std::optional<std::vector<std::int64_t>> input_ids;
  bool text_truncated = false;

  [[nodiscard]] double seconds() const;
  [[nodiscard]] std::uint32_t modalities() const;
  [[nodiscard]] Length length() const;
};

// The answer for one utterance.
struct Result {
  std::shared_ptr<const std::vector<std::string>> labels;
  // "unknown" where the likeliest class is not likely enough.
  std::string label;
  float score = 0;
  // The classes that were kept, and their probabilities.
  std::vector<std::size_t> classes;
  std::vector<float> probabilities;
  std::vector<float> logits;
  std::vector<float> embedding;
  std::vector<float> dimensions;
  double duration = std::numeric_limits<double>::quiet_NaN();
  std::uint32_t modalities = 0;
  bool text_truncated = false;
};

using Outcome = std::variant<Result, Error>;

// What of an answer is wanted, and how a batch is computed.
struct Wanted {
  std::size_t top_k = 0;
  double abstain = 0;
  BatchLimits batch;

  // Throws Error for what no answer can be.
  void require() const;
};

struct Limits {
  double seconds;
  std::size_t characters;
};

class Model {
 public:
  // Throws as mtab_load says.
  Model(const Path& folder, bool verify, const Limits& limits, const EngineOptions& options);
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  [[nodiscard]] const Bundle& bundle() const { return bundle_; }
  [[nodiscard]] const Engine& engine() const { return *engine_; }
  [[nodiscard]] const Limits& limits() const { return limits_; }

  // Prepare one utterance. Throws AudioError and TextError that begin with its name, or `otherwise`.
  [[nodiscard]] Features read(const Utterance& utterance, const std::string& otherwise) const;
  // The same of samples that are mono at 16 kHz already; nothing where there is no clip.
  [[nodiscard]] Features read(std::optional<std::vector<float>> heard, std::optional<std::string_view> text,
                              const std::string& name) const;
  // An outcome for each utterance, in their order.
  [[nodiscard]] std::vector<Outcome> answer(const std::vector<Utterance>& utterances,
                                            const Wanted& wanted) const;
  // The outcome for one that was read. Throws EngineError.
  [[nodiscard]] Result answer(const Features& features, const Wanted& wanted) const;

 private:
  [[nodiscard]] std::vector<float> heard(const Clip& clip, const Span& span) const;
  void prepare(std::vector<float>& samples) const;
  [[nodiscard]] Features with_text(std::optional<std::vector<float>> samples,
                                   std::optional<std::string_view> text, const std::string& name) const;
  void add_text(std::string_view text, Features& features) const;
  void require_supported(const Features& features) const;
  [[nodiscard]] Batch collated(const std::vector<const Features*>& features) const;
  [[nodiscard]] std::vector<Result> answer_batch(const std::vector<const Features*>& features) const;
  [[nodiscard]] std::vector<Outcome> answer_each(const std::vector<const Features*>& features) const;
  void apply(const Wanted& wanted, Result& result) const;

  Bundle bundle_;
  std::shared_ptr<const std::vector<std::string>> labels_;
  std::optional<Tokenizer> tokenizer_;
  Limits limits_;
  std::unique_ptr<const Engine> engine_;
};

// An utterance that is being heard.
class Stream {
 public:
  // Throws AudioError for a rate or a number of channels that no clip may have.
  Stream(std::shared_ptr<const Model> model, double rate, int channels);

  void accept(const float* samples, std::size_t frames);
  void set_text(std::optional<std::string_view> text);
  [[nodiscard]] double seconds() const;
  // From the last `seconds`, 0 for all.
  [[nodiscard]] Result predict(double seconds, const Wanted& wanted) const;
  [[nodiscard]] Result finish(const Wanted& wanted);
  void reset();

 private:
  std::shared_ptr<const Model> model_;
  double rate_;
  int channels_;
  Resampler resampler_;
  std::size_t frames_ = 0;
  std::vector<float> heard_;
  std::optional<std::string> text_;
};

}  // namespace mtab_core
