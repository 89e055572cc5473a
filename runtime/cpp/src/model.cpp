#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <type_traits>

#include "python_text.hpp"
#include "tables.hpp"

namespace mtab_core {
namespace {

// Beyond this samples are on the scale of whole numbers, which only `normalize` makes up for.
constexpr float kMaxUnnormalized = 64.0F;

// What errors call a clip: its path, or what kind of thing without a name it is.
std::string name_of(const Clip& clip) {
  if (const auto* path = std::get_if<Path>(&clip)) return plain_path(path->native());
  return std::holds_alternative<Bytes>(clip) ? "audio bytes" : "audio array";
}

// Throws MemoryLimitError unless there is memory for what stands in place of clips: a bundle may name any
// least number of samples, and a transcript alone is no longer for it.
void require_padding(const std::vector<const Features*>& features, std::size_t samples) {
  const bool silent = std::any_of(features.begin(), features.end(),
                                  [](const Features* each) { return !each->input_values.has_value(); });
  if (!silent) return;
  MemoryNeed padding;
  padding.per_sample = 1;
  require_memory(padding, features.size(), static_cast<double>(samples) / kSampleRate);
}

bool begins_with(const std::string& text, const std::string& start) { return text.rfind(start, 0) == 0; }

}  // namespace

double Features::seconds() const {
  return input_values ? static_cast<double>(input_values->size()) / kSampleRate
                      : std::numeric_limits<double>::quiet_NaN();
}

std::uint32_t Features::modalities() const { return (input_values ? kAudio : 0U) | (input_ids ? kText : 0U); }

Length Features::length() const {
  return {input_values ? seconds() : 0.0, input_ids ? static_cast<double>(input_ids->size()) : 0.0};
}

void Wanted::require() const {
  if (!(abstain >= 0 && abstain <= 1)) {
    throw Error(MTAB_ERROR, "abstain is " + repr(abstain) + ", expected a probability from 0 to 1");
  }
  if (!(batch.seconds > 0)) {
    throw Error(MTAB_ERROR, "batches of " + repr(batch.seconds) + " seconds, expected more than 0");
  }
}

Model::Model(const Path& folder, bool verify, const Limits& limits, const EngineOptions& options)
    : bundle_(open_bundle(folder, verify, options.cache)),
      labels_(std::make_shared<const std::vector<std::string>>(bundle_.labels)),
      limits_(limits) {
  if (!(limits.seconds > 0)) {
    throw Error(MTAB_ERROR, "at most " + repr(limits.seconds) + " seconds, expected more than 0");
  }
  if ((bundle_.modalities & kText) != 0) {
    tokenizer_.emplace(bundle_.tokenizer(), bundle_.preprocessing.max_tokens);
  }
  engine_ = std::make_unique<const Engine>(bundle_, options);
}

Features Model::read(const Utterance& utterance, const std::string& otherwise) const {
  const auto* path = std::get_if<Path>(&utterance.clip);
  const std::string name = !utterance.name.empty()             ? utterance.name
                           : path != nullptr && !path->empty() ? plain_path(path->native())
                                                               : otherwise;
  std::optional<std::vector<float>> samples;
  if (!std::holds_alternative<std::monostate>(utterance.clip) && (bundle_.modalities & kAudio) != 0) {
    if (const auto* given = std::get_if<Samples>(&utterance.clip)) {
      try {
        require_rate(given->rate);
      } catch (const Error& error) {
        throw error.of(name);
      }
    }
    try {
      samples = heard(utterance.clip, utterance.span);
      prepare(*samples);
    } catch (const Error& error) {
      const Error named = error.of(name_of(utterance.clip));
      throw begins_with(named.message(), name + ":") ? named : named.of(name);
    }
  }
  return with_text(std::move(samples), utterance.text, name);
}

Features Model::read(std::optional<std::vector<float>> heard, std::optional<std::string_view> text,
                     const std::string& name) const {
  if ((bundle_.modalities & kAudio) == 0) heard.reset();
  try {
    if (heard) prepare(*heard);
  } catch (const Error& error) {
    throw error.of(name);
  }
  return with_text(std::move(heard), text, name);
}

std::vector<float> Model::heard(const Clip& clip, const Span& span) const {
  if (const auto* samples = std::get_if<Samples>(&clip)) return to_mono_16k(*samples, span, limits_.seconds);
  if (const auto* content = std::get_if<Bytes>(&clip)) return load_audio(*content, span, limits_.seconds);
  return load_audio(std::get<Path>(clip), span, limits_.seconds);
}

void Model::prepare(std::vector<float>& samples) const {
  const std::size_t least = bundle_.preprocessing.min_samples;
  if (samples.size() < least) {
    const auto in_seconds = [](std::size_t count) {
      return " (" + fixed(static_cast<double>(count) / kSampleRate, 4) + " s)";
    };
    throw Error(MTAB_AUDIO_ERROR, std::to_string(samples.size()) + " samples at 16 kHz" +
                                      in_seconds(samples.size()) + ", expected at least " +
                                      std::to_string(least) + in_seconds(least));
  }
  if (bundle_.preprocessing.do_normalize) return normalize(samples);
  float peak = 0;
  for (const float sample : samples) peak = std::max(peak, std::fabs(sample));
  if (peak > kMaxUnnormalized) {
    throw Error(MTAB_AUDIO_ERROR,
                "holds a sample of " + general(peak) + ", expected -1 to 1: it is not normalised");
  }
}

Features Model::with_text(std::optional<std::vector<float>> samples, std::optional<std::string_view> text,
                          const std::string& name) const {
  Features features;
  features.input_values = std::move(samples);
  try {
    if (text && tokenizer_) add_text(*text, features);
    require_supported(features);
  } catch (const Error& error) {
    throw error.of(name);
  }
  return features;
}

void Model::add_text(std::string_view text, Features& features) const {
  require_utf8(text);
  if (is_blank(text)) return;
  if (const std::size_t count = characters(text); count > limits_.characters) {
    throw Error(MTAB_TEXT_ERROR, "text of " + std::to_string(count) + " characters, expected at most " +
                                     std::to_string(limits_.characters));
  }
  Tokens tokens = (*tokenizer_)(text);
  features.input_ids = std::move(tokens.ids);
  features.text_truncated = tokens.truncated;
}

void Model::require_supported(const Features& features) const {
  const std::uint32_t there = features.modalities();
  const auto& supported = bundle_.supported;
  if (std::find(supported.begin(), supported.end(), there) != supported.end()) return;
  std::vector<std::string> names;
  bool with_text = false;
  for (const std::uint32_t each : supported) {
    names.push_back(modality_names(each, " and "));
    with_text = with_text || (each & kText) != 0;
  }
  const std::string expected = "this model answers from " + joined(names, " or ");
  if ((there & kText) == 0 && with_text) {
    throw Error(MTAB_TEXT_ERROR, "no transcript, expected one: " + expected);
  }
  throw Error(MTAB_AUDIO_ERROR, "no audio, expected some: " + expected);
}

std::vector<Outcome> Model::answer(const std::vector<Utterance>& utterances, const Wanted& wanted) const {
  std::vector<Outcome> outcomes;
  outcomes.reserve(utterances.size());
  while (outcomes.size() < utterances.size()) {
    // As many are read ahead as `kWindow` batches may hold.
    const std::size_t first = outcomes.size();
    std::vector<std::variant<Features, Error>> read_ahead;
    std::vector<std::string> names;
    double seconds = 0;
    while (first + read_ahead.size() < utterances.size() &&
           // Divided, since a product of any number of utterances may wrap, and nothing would be read.
           read_ahead.size() / kWindow < wanted.batch.utterances &&
           seconds < static_cast<double>(kWindow) * wanted.batch.seconds) {
      const std::size_t i = first + read_ahead.size();
      const Utterance& utterance = utterances[i];
      const auto* path = std::get_if<Path>(&utterance.clip);
      const std::string number = "utterance " + std::to_string(i);
      names.push_back(!utterance.name.empty() ? utterance.name
                      : path != nullptr       ? plain_path(path->native())
                                              : number);
      try {
        read_ahead.emplace_back(read(utterance, number));
        seconds += std::get<Features>(read_ahead.back()).length().cost();
      } catch (const Error& error) {
        read_ahead.emplace_back(error);
      }
    }
    std::vector<std::size_t> usable;
    std::vector<Length> lengths;
    for (std::size_t i = 0; i < read_ahead.size(); ++i) {
      if (const auto* features = std::get_if<Features>(&read_ahead[i])) {
        usable.push_back(i);
        lengths.push_back(features->length());
      }
    }
    std::vector<std::optional<Outcome>> found(read_ahead.size());
    for (const auto& batch : planned(lengths, wanted.batch)) {
      std::vector<const Features*> features;
      for (const std::size_t each : batch) features.push_back(&std::get<Features>(read_ahead[usable[each]]));
      std::vector<Outcome> answers = answer_each(features);
      for (std::size_t i = 0; i < batch.size(); ++i) {
        const std::size_t place = usable[batch[i]];
        if (auto* result = std::get_if<Result>(&answers[i])) apply(wanted, *result);
        const auto* error = std::get_if<Error>(&answers[i]);
        // The engine does not know which utterance needs too much.
        const bool unnamed = error != nullptr && error->code() == MTAB_MEMORY_LIMIT_ERROR;
        found[place] = unnamed ? Outcome(error->of(names[place])) : std::move(answers[i]);
        read_ahead[place] = Features{};
      }
    }
    for (std::size_t i = 0; i < read_ahead.size(); ++i) {
      const auto* error = std::get_if<Error>(&read_ahead[i]);
      outcomes.push_back(error != nullptr ? Outcome(*error) : std::move(*found[i]));
    }
  }
  return outcomes;
}

Result Model::answer(const Features& features, const Wanted& wanted) const {
  Result result = std::move(answer_batch({&features}).front());
  apply(wanted, result);
  return result;
}

// A batch that fails, as for want of memory, is computed again one by one.
std::vector<Outcome> Model::answer_each(const std::vector<const Features*>& features) const {
  std::vector<Outcome> outcomes;
  try {
    for (Result& result : answer_batch(features)) outcomes.emplace_back(std::move(result));
  } catch (const Error& error) {
    if (features.size() == 1) return {Outcome(error)};
    for (const Features* each : features) outcomes.push_back(std::move(answer_each({each}).front()));
  }
  return outcomes;
}

std::vector<Result> Model::answer_batch(const std::vector<const Features*>& features) const {
  const Answers answers = engine_->run(collated(features));
  const std::size_t classes = labels_->size();
  const std::size_t width = bundle_.embedding_size;
  std::vector<Result> results;
  for (std::size_t i = 0; i < features.size(); ++i) {
    const auto row = [i](const std::vector<float>& values, std::size_t size) {
      const auto begin = values.begin() + static_cast<std::ptrdiff_t>(i * size);
      return std::vector<float>(begin, begin + static_cast<std::ptrdiff_t>(size));
    };
    Result result;
    result.labels = labels_;
    result.logits = row(answers.logits, classes);
    result.probabilities = row(answers.probabilities, classes);
    result.embedding = row(answers.embeddings, width);
    result.dimensions = row(answers.dimensions, bundle_.dimensions.size());
    result.classes.resize(classes);
    std::iota(result.classes.begin(), result.classes.end(), std::size_t{0});
    const auto likeliest = std::max_element(result.probabilities.begin(), result.probabilities.end());
    result.score = *likeliest;
    result.label = (*labels_)[static_cast<std::size_t>(likeliest - result.probabilities.begin())];
    result.duration = features[i]->seconds();
    result.modalities = features[i]->modalities();
    result.text_truncated = features[i]->text_truncated;
    results.push_back(std::move(result));
  }
  return results;
}

Batch Model::collated(const std::vector<const Features*>& features) const {
  Batch batch;
  batch.utterances = features.size();
  // Rows of one length, `fill` after each; a missing modality has length 0.
  const auto pad = [&](auto member, std::size_t least, auto fill, auto& values,
                       std::vector<std::int64_t>& lengths) {
    std::size_t longest = least;
    for (const Features* each : features) {
      const auto& row = each->*member;
      lengths.push_back(row ? static_cast<std::int64_t>(row->size()) : 0);
      longest = std::max(longest, row ? row->size() : 0);
    }
    values.assign(features.size() * longest, fill);
    for (std::size_t i = 0; i < features.size(); ++i) {
      if (const auto& row = features[i]->*member) {
        std::copy(row->begin(), row->end(), values.begin() + static_cast<std::ptrdiff_t>(i * longest));
      }
    }
    return longest;
  };
  if ((bundle_.modalities & kAudio) != 0) {
    require_padding(features, bundle_.preprocessing.min_samples);
    batch.samples = pad(&Features::input_values, bundle_.preprocessing.min_samples, 0.0F, batch.input_values,
                        batch.audio_lengths);
  }
  if ((bundle_.modalities & kText) != 0) {
    batch.tokens =
        pad(&Features::input_ids, 1, bundle_.preprocessing.pad_token_id, batch.input_ids, batch.text_lengths);
  }
  return batch;
}

// Of a result that holds everything, what is wanted.
void Model::apply(const Wanted& wanted, Result& result) const {
  if (static_cast<double>(result.score) < wanted.abstain) result.label = tables::kUnknown;
  if (wanted.top_k == 0) return;
  std::stable_sort(result.classes.begin(), result.classes.end(), [&](std::size_t a, std::size_t b) {
    return result.probabilities[a] > result.probabilities[b];
  });
  result.classes.resize(std::min(wanted.top_k, result.classes.size()));
  std::vector<float> kept;
  for (const std::size_t each : result.classes) kept.push_back(result.probabilities[each]);
  result.probabilities = std::move(kept);
}

}  // namespace mtab_core
