// The C interface over Model and Stream: handles, checked arguments, and no exception across it.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <variant>
#include <vector>

#include "model.hpp"
#include "mtab.h"
#include "tables.hpp"

namespace core = mtab_core;

namespace {

// What a handle begins with while it is alive, so that another one in its place is noticed.
enum class Tag : std::uint64_t {
  kFreed = 0,
  kError = 0x6d746162'45525201,
  kModel = 0x6d746162'4d4f4401,
  kResult = 0x6d746162'52455301,
  kResults = 0x6d746162'42415401,
  kStream = 0x6d746162'53545201,
};

template <Tag kTag>
struct Tagged {
  static constexpr Tag kOwn = kTag;
  volatile Tag tag = kTag;
  Tagged() = default;
  Tagged(const Tagged&) {}
  Tagged& operator=(const Tagged&) { return *this; }
  ~Tagged() { tag = Tag::kFreed; }
};

}  // namespace

struct mtab_error : Tagged<Tag::kError> {
  mtab_error(mtab_code kind, std::string line) : code(kind), message(std::move(line)) {}
  mtab_code code;
  std::string message;
};

struct mtab_model : Tagged<Tag::kModel> {
  std::shared_ptr<const core::Model> model;
};

struct mtab_result : Tagged<Tag::kResult> {
  explicit mtab_result(core::Result found) : answer(std::move(found)) {}
  core::Result answer;
};

struct mtab_results : Tagged<Tag::kResults> {
  struct Entry {
    std::optional<mtab_result> result;
    std::optional<mtab_error> error;
  };
  std::vector<Entry> entries;
};

struct mtab_stream : Tagged<Tag::kStream> {
  explicit mtab_stream(core::Stream begun) : heard(std::move(begun)) {}
  core::Stream heard;
};

namespace {

// There before any memory is short, and never freed.
mtab_error& out_of_memory() {
  static mtab_error error(MTAB_OUT_OF_MEMORY, "out of memory");
  return error;
}

template <typename Handle>
bool alive(const Handle* handle) {
  return handle != nullptr && handle->tag == Handle::kOwn;
}

core::Error invalid(const std::string& message) { return {MTAB_INVALID_ARGUMENT, message}; }

template <typename Handle>
void require(const Handle* handle, const char* name) {
  if (handle == nullptr) throw invalid(std::string(name) + " is NULL, expected a handle");
  if (!alive(handle))
    throw invalid(std::string(name) + " is freed or another handle, expected a live one of its kind");
}

mtab_code report(mtab_error** error, mtab_code code, const char* message) noexcept {
  if (error != nullptr) {
    try {
      *error = new mtab_error(code, message);
    } catch (const std::bad_alloc&) {
      *error = &out_of_memory();
    }
  }
  return code;
}

mtab_code report_out_of_memory(mtab_error** error) noexcept {
  if (error != nullptr) *error = &out_of_memory();
  return MTAB_OUT_OF_MEMORY;
}

// Run `body`, and turn what it throws into a code and an error.
template <typename Body>
mtab_code guarded(mtab_error** error, const Body& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    body();
    return MTAB_OK;
  } catch (const core::Error& failure) {
    return report(error, failure.code(), failure.what());
  } catch (const core::Failure& failure) {
    return report(error, MTAB_ENGINE_ERROR, failure.what());
  } catch (const std::bad_alloc&) {
    return report_out_of_memory(error);
  } catch (const std::length_error&) {
    return report_out_of_memory(error);
  } catch (const std::system_error& failure) {
    return report(error, MTAB_ERROR, failure.what());
  } catch (const std::exception& failure) {
    return report(error, MTAB_INTERNAL_ERROR, failure.what());
  } catch (...) {
    return report(error, MTAB_INTERNAL_ERROR, "unknown exception");
  }
}

// A structure of the caller's, which may be of an older or a newer header, as this library knows it.
template <typename Structure>
Structure known(const Structure* given, Structure defaults, const char* name) {
  if (given == nullptr) return defaults;
  const std::size_t size = given->struct_size;
  const std::size_t most = 16 * sizeof(Structure);
  if (size < sizeof(std::size_t) || size > most) {
    throw invalid(std::string(name) + ".struct_size is " + std::to_string(size) + ", expected " +
                  std::to_string(sizeof(Structure)) + ": initialise it with its _INIT");
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(Structure); i < size; ++i) {
    if (bytes[i] != 0) {
      throw invalid(std::string(name) +
                    " sets a field that this mtab does not know, expected one of version " +
                    core::tables::kVersion);
    }
  }
  std::memcpy(&defaults, given, std::min(size, sizeof(Structure)));
  return defaults;
}

std::string text_or(const char* text, const char* otherwise) { return text != nullptr ? text : otherwise; }

std::size_t require_size(std::size_t size, const char* name) {
  if (size > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw invalid(std::string(name) + " is " + std::to_string(size) + ", expected a size in memory");
  }
  return size;
}

std::optional<std::string_view> text_of(const char* text, std::size_t size) {
  if (text == nullptr) return std::nullopt;
  if (size == MTAB_NUL_TERMINATED) return std::string_view(text);
  return std::string_view(text, require_size(size, "text_size"));
}

core::Samples samples_of(const mtab_input& input) {
  core::Samples samples;
  samples.data = input.samples;
  samples.frames = input.frames;
  samples.channels = input.channels == 0 ? 1 : input.channels;
  samples.rate = input.sample_rate == 0.0 ? core::kSampleRate : input.sample_rate;
  std::size_t width = 0;
  switch (input.sample_type) {
    case MTAB_FLOAT32:
      samples.type = core::SampleType::kFloat32, width = 4;
      break;
    case MTAB_FLOAT64:
      samples.type = core::SampleType::kFloat64, width = 8;
      break;
    case MTAB_INT16:
      samples.type = core::SampleType::kInt16, width = 2;
      break;
    case MTAB_INT32:
      samples.type = core::SampleType::kInt32, width = 4;
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

core::Utterance utterance_of(const mtab_input* given) {
  if (given == nullptr) throw invalid("input is NULL, expected an utterance");
  const mtab_input input = known(given, mtab_input MTAB_INPUT_INIT, "input");
  core::Utterance utterance;
  const int clips = (input.path != nullptr) + (input.content != nullptr) + (input.samples != nullptr);
  if (clips > 1)
    throw invalid("input has " + std::to_string(clips) + " of path, content and samples, expected one");
  if (input.content == nullptr && input.content_size > 0) {
    throw invalid("content is NULL, expected content_size " + std::to_string(input.content_size) + " bytes");
  }
  if (input.samples == nullptr && input.frames > 0) {
    throw invalid("samples is NULL, expected frames " + std::to_string(input.frames));
  }
  if (input.path != nullptr) utterance.clip = core::Path(input.path);
  if (input.content != nullptr) {
    utterance.clip = core::Bytes{input.content, require_size(input.content_size, "content_size")};
  }
  if (input.samples != nullptr) utterance.clip = samples_of(input);
  if (input.start != 0.0) utterance.span.start = input.start;
  if (input.end != 0.0) utterance.span.end = input.end;
  utterance.text = text_of(input.text, input.text_size);
  utterance.name = text_or(input.name, "");
  return utterance;
}

core::Wanted wanted_of(const mtab_predict_options* given) {
  const auto options = known(given, mtab_predict_options MTAB_PREDICT_OPTIONS_INIT, "options");
  core::Wanted wanted{options.top_k, options.abstain, {options.batch_size, options.batch_seconds}};
  if (wanted.batch.utterances == 0) wanted.batch.utterances = core::tables::kBatchSize;
  if (wanted.batch.seconds == 0.0) wanted.batch.seconds = core::tables::kBatchSeconds;
  wanted.require();
  return wanted;
}

template <typename Handle>
void require_target(Handle** target, const char* name) {
  if (target == nullptr) throw invalid(std::string(name) + " is NULL, expected where to put it");
}

}  // namespace

uint32_t mtab_abi_version(void) { return MTAB_ABI_VERSION; }

const char* mtab_version(void) { return core::tables::kVersion; }

const char* mtab_code_name(mtab_code code) {
  switch (code) {
    case MTAB_OK:
      return "OK";
    case MTAB_ERROR:
      return "MtabError";
    case MTAB_AUDIO_ERROR:
      return "AudioError";
    case MTAB_TEXT_ERROR:
      return "TextError";
    case MTAB_CONFIG_ERROR:
      return "ConfigError";
    case MTAB_BUNDLE_ERROR:
      return "BundleError";
    case MTAB_ENGINE_ERROR:
      return "EngineError";
    case MTAB_MEMORY_LIMIT_ERROR:
      return "MemoryLimitError";
    case MTAB_INVALID_ARGUMENT:
      return "InvalidArgument";
    case MTAB_OUT_OF_MEMORY:
      return "OutOfMemory";
    case MTAB_INTERNAL_ERROR:
      return "InternalError";
    default:
      return "UnknownError";
  }
}

mtab_code mtab_error_code(const mtab_error* error) { return alive(error) ? error->code : MTAB_OK; }

const char* mtab_error_message(const mtab_error* error) { return alive(error) ? error->message.c_str() : ""; }

void mtab_error_free(mtab_error* error) {
  if (error != &out_of_memory() && alive(error)) delete error;
}

mtab_code mtab_load(const char* bundle, const mtab_load_options* options, mtab_model** model,
                    mtab_error** error) {
  if (model != nullptr) *model = nullptr;
  return guarded(error, [&] {
    require_target(model, "model");
    if (bundle == nullptr) throw invalid("bundle is NULL, expected the path of a folder");
    const auto given = known(options, mtab_load_options MTAB_LOAD_OPTIONS_INIT, "options");
    core::EngineOptions engine;
    engine.engine = text_or(given.engine, "auto");
    engine.device = text_or(given.device, "auto");
    engine.precision = text_or(given.precision, "auto");
    engine.threads = given.threads;
    engine.library = text_or(given.onnxruntime_library, "");
    engine.provider_library = text_or(given.provider_library, "");
    engine.cache = given.cache_dir != nullptr ? core::Path(given.cache_dir) : core::default_cache_dir();
    engine.log = {given.log, given.log_context, given.log_level};
    core::Limits limits{given.max_seconds, given.max_characters};
    if (limits.seconds == 0.0) limits.seconds = core::tables::kMaxSeconds;
    if (limits.characters == 0) limits.characters = core::tables::kMaxCharacters;
    auto made = std::make_unique<mtab_model>();
    made->model = std::make_shared<const core::Model>(bundle, given.skip_verification == 0, limits, engine);
    *model = made.release();
  });
}

void mtab_model_free(mtab_model* model) {
  if (alive(model)) delete model;
}

size_t mtab_model_label_count(const mtab_model* model) {
  return alive(model) ? model->model->bundle().labels.size() : 0;
}

const char* mtab_model_label(const mtab_model* model, size_t index) {
  if (!alive(model) || index >= model->model->bundle().labels.size()) return nullptr;
  return model->model->bundle().labels[index].c_str();
}

size_t mtab_model_embedding_size(const mtab_model* model) {
  return alive(model) ? model->model->bundle().embedding_size : 0;
}

uint32_t mtab_model_modalities(const mtab_model* model) {
  return alive(model) ? model->model->bundle().modalities : 0;
}

int32_t mtab_model_supports(const mtab_model* model, uint32_t modalities) {
  if (!alive(model)) return 0;
  for (const std::uint32_t each : model->model->bundle().supported) {
    if (each == modalities) return 1;
  }
  return 0;
}

const char* mtab_model_engine(const mtab_model* model) {
  return alive(model) ? model->model->engine().name().c_str() : nullptr;
}

const char* mtab_model_device(const mtab_model* model) {
  return alive(model) ? model->model->engine().device().c_str() : nullptr;
}

const char* mtab_model_precision(const mtab_model* model) {
  return alive(model) ? model->model->engine().precision().c_str() : nullptr;
}

const char* mtab_model_onnxruntime_version(const mtab_model* model) {
  return alive(model) ? model->model->engine().version().c_str() : nullptr;
}

mtab_code mtab_predict(const mtab_model* model, const mtab_input* input, const mtab_predict_options* options,
                       mtab_result** result, mtab_error** error) {
  if (result != nullptr) *result = nullptr;
  return guarded(error, [&] {
    require_target(result, "result");
    require(model, "model");
    const core::Wanted wanted = wanted_of(options);
    const core::Features features = model->model->read(utterance_of(input), "utterance 0");
    *result = new mtab_result(model->model->answer(features, wanted));
  });
}

mtab_code mtab_predict_batch(const mtab_model* model, const mtab_input* inputs, size_t count,
                             const mtab_predict_options* options, mtab_results** results,
                             mtab_error** error) {
  if (results != nullptr) *results = nullptr;
  return guarded(error, [&] {
    require_target(results, "results");
    require(model, "model");
    const core::Wanted wanted = wanted_of(options);
    if (inputs == nullptr && count > 0) throw invalid("inputs is NULL, expected " + std::to_string(count));
    std::vector<core::Utterance> utterances;
    // What the caller's header calls an input may be shorter or longer than here.
    const std::size_t stride = count > 0 ? inputs->struct_size : 0;
    const auto* place = reinterpret_cast<const unsigned char*>(inputs);
    for (std::size_t i = 0; i < count; ++i, place += stride) {
      const auto* each = reinterpret_cast<const mtab_input*>(place);
      if (each->struct_size != stride) {
        throw invalid("inputs[" + std::to_string(i) + "].struct_size is " +
                      std::to_string(each->struct_size) + ", expected " + std::to_string(stride) +
                      " as in the first");
      }
      utterances.push_back(utterance_of(each));
    }
    auto made = std::make_unique<mtab_results>();
    for (core::Outcome& outcome : model->model->answer(utterances, wanted)) {
      auto& entry = made->entries.emplace_back();
      if (auto* answer = std::get_if<core::Result>(&outcome)) {
        entry.result.emplace(std::move(*answer));
      } else {
        const auto& failure = std::get<core::Error>(outcome);
        entry.error.emplace(failure.code(), failure.message());
      }
    }
    *results = made.release();
  });
}

size_t mtab_results_count(const mtab_results* results) {
  return alive(results) ? results->entries.size() : 0;
}

const mtab_result* mtab_results_get(const mtab_results* results, size_t index) {
  if (!alive(results) || index >= results->entries.size()) return nullptr;
  const auto& found = results->entries[index].result;
  return found ? &*found : nullptr;
}

const mtab_error* mtab_results_error(const mtab_results* results, size_t index) {
  if (!alive(results) || index >= results->entries.size()) return nullptr;
  const auto& found = results->entries[index].error;
  return found ? &*found : nullptr;
}

void mtab_results_free(mtab_results* results) {
  if (alive(results)) delete results;
}

const char* mtab_result_label(const mtab_result* result) {
  return alive(result) ? result->answer.label.c_str() : nullptr;
}

float mtab_result_score(const mtab_result* result) {
  return alive(result) ? result->answer.score : std::numeric_limits<float>::quiet_NaN();
}

size_t mtab_result_count(const mtab_result* result) {
  return alive(result) ? result->answer.classes.size() : 0;
}

const char* mtab_result_class(const mtab_result* result, size_t index) {
  if (!alive(result) || index >= result->answer.classes.size()) return nullptr;
  return (*result->answer.labels)[result->answer.classes[index]].c_str();
}

float mtab_result_probability(const mtab_result* result, size_t index) {
  if (!alive(result) || index >= result->answer.probabilities.size())
    return std::numeric_limits<float>::quiet_NaN();
  return result->answer.probabilities[index];
}

const float* mtab_result_logits(const mtab_result* result) {
  return alive(result) ? result->answer.logits.data() : nullptr;
}

const float* mtab_result_embedding(const mtab_result* result) {
  return alive(result) ? result->answer.embedding.data() : nullptr;
}

double mtab_result_duration(const mtab_result* result) {
  return alive(result) ? result->answer.duration : std::numeric_limits<double>::quiet_NaN();
}

uint32_t mtab_result_modalities(const mtab_result* result) {
  return alive(result) ? result->answer.modalities : 0;
}

int32_t mtab_result_text_truncated(const mtab_result* result) {
  return alive(result) && result->answer.text_truncated ? 1 : 0;
}

void mtab_result_free(mtab_result* result) {
  if (alive(result)) delete result;
}

mtab_code mtab_stream_create(const mtab_model* model, double sample_rate, int32_t channels,
                             mtab_stream** stream, mtab_error** error) {
  if (stream != nullptr) *stream = nullptr;
  return guarded(error, [&] {
    require_target(stream, "stream");
    require(model, "model");
    *stream = new mtab_stream(core::Stream(model->model, sample_rate, channels));
  });
}

mtab_code mtab_stream_accept(mtab_stream* stream, const float* samples, size_t frames, mtab_error** error) {
  return guarded(error, [&] {
    require(stream, "stream");
    if (samples == nullptr && frames > 0)
      throw invalid("samples is NULL, expected frames " + std::to_string(frames));
    if (frames > 0) stream->heard.accept(samples, frames);
  });
}

mtab_code mtab_stream_set_text(mtab_stream* stream, const char* text, size_t text_size, mtab_error** error) {
  return guarded(error, [&] {
    require(stream, "stream");
    stream->heard.set_text(text_of(text, text_size));
  });
}

double mtab_stream_seconds(const mtab_stream* stream) {
  return alive(stream) ? stream->heard.seconds() : 0.0;
}

mtab_code mtab_stream_predict(mtab_stream* stream, double seconds, const mtab_predict_options* options,
                              mtab_result** result, mtab_error** error) {
  if (result != nullptr) *result = nullptr;
  return guarded(error, [&] {
    require_target(result, "result");
    require(stream, "stream");
    *result = new mtab_result(stream->heard.predict(seconds, wanted_of(options)));
  });
}

mtab_code mtab_stream_finish(mtab_stream* stream, const mtab_predict_options* options, mtab_result** result,
                             mtab_error** error) {
  if (result != nullptr) *result = nullptr;
  return guarded(error, [&] {
    require_target(result, "result");
    require(stream, "stream");
    *result = new mtab_result(stream->heard.finish(wanted_of(options)));
  });
}

void mtab_stream_reset(mtab_stream* stream) {
  if (alive(stream)) guarded(nullptr, [&] { stream->heard.reset(); });
}

void mtab_stream_free(mtab_stream* stream) {
  if (alive(stream)) delete stream;
}
