#include "c_api/inputs.hpp"

#include <algorithm>
#include <limits>

#include "c_api/handles.hpp"
#include "tables.hpp"

namespace mtab_core::c_api {
namespace {

std::size_t require_size(std::size_t size, const char* name) {
  if (size > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw invalid(std::string(name) + " is " + std::to_string(size) + ", expected a size in memory");
  }
  return size;
}

Samples samples_of(const mtab_input& input) {
  Samples samples;
  samples.data = input.samples;
  samples.frames = input.frames;
  samples.channels = input.channels == 0 ? 1 : input.channels;
  samples.rate = input.sample_rate == 0.0 ? kSampleRate : input.sample_rate;
  std::size_t width = 0;
  switch (input.sample_type) {
    case MTAB_FLOAT32:
      samples.type = SampleType::kFloat32, width = 4;
      break;
    case MTAB_FLOAT64:
      samples.type = SampleType::kFloat64, width = 8;
      break;
    case MTAB_INT16:
      samples.type = SampleType::kInt16, width = 2;
      break;
    case MTAB_INT32:
      samples.type = SampleType::kInt32, width = 4;
      break;
    default:
      throw invalid("sample_type is " + std::to_string(input.sample_type) +
                    ", expected MTAB_FLOAT32, MTAB_FLOAT64, MTAB_INT16 or MTAB_INT32");
  }
  const std::size_t row = width * static_cast<std::size_t>(std::max(1, samples.channels));
  if (input.frames > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / row) {
    throw invalid("frames is " + std::to_string(input.frames) + ", expected samples that fit memory");
  }
  return samples;
}

}  // namespace

std::string text_or(const char* text, const char* otherwise) { return text != nullptr ? text : otherwise; }

std::optional<std::string_view> text_of(const char* text, std::size_t size) {
  if (text == nullptr) return std::nullopt;
  if (size == 0) return std::string_view(text);
  return std::string_view(text, require_size(size, "text_size"));
}

Utterance utterance_of(const mtab_input* given) {
  if (given == nullptr) throw invalid("input is NULL, expected an utterance");
  const mtab_input input = known(given, mtab_input MTAB_INPUT_INIT, "input");
  Utterance utterance;
  const int clips = (input.path != nullptr ? 1 : 0) + (input.content != nullptr ? 1 : 0) +
                    (input.samples != nullptr ? 1 : 0);
  if (clips > 1)
    throw invalid("input has " + std::to_string(clips) + " of path, content and samples, expected one");
  if (input.content == nullptr && input.content_size > 0) {
    throw invalid("content is NULL, expected content_size " + std::to_string(input.content_size) + " bytes");
  }
  if (input.samples == nullptr && input.frames > 0) {
    throw invalid("samples is NULL, expected frames " + std::to_string(input.frames));
  }
  if (input.path != nullptr) utterance.clip = Path(input.path);
  if (input.content != nullptr) {
    utterance.clip = Bytes{input.content, require_size(input.content_size, "content_size")};
  }
  if (input.samples != nullptr) utterance.clip = samples_of(input);
  if (input.start != 0.0) utterance.span.start = input.start;
  if (input.end != 0.0) utterance.span.end = input.end;
  utterance.text = text_of(input.text, input.text_size);
  utterance.name = text_or(input.name, "");
  return utterance;
}

Wanted wanted_of(const mtab_predict_options* given) {
  const auto options = known(given, mtab_predict_options MTAB_PREDICT_OPTIONS_INIT, "options");
  Wanted wanted{options.top_k, options.abstain, {options.batch_size, options.batch_seconds}};
  if (wanted.batch.utterances == 0) wanted.batch.utterances = tables::kBatchSize;
  if (wanted.batch.seconds == 0.0) wanted.batch.seconds = tables::kBatchSeconds;
  wanted.require();
  return wanted;
}

}  // namespace mtab_core::c_api
