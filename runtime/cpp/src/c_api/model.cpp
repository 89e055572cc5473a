// The functions of mtab.h for errors, models and answers.
#include "c_api/handles.hpp"
#include "c_api/inputs.hpp"

namespace core = mtab_core;
using namespace mtab_core::c_api;

namespace {

// A program in C may give any number, which in C++ is no value of the enumeration.
mtab_log_level level_of(const mtab_load_options& options) {
  static_assert(sizeof options.log_level == sizeof(std::int32_t));
  std::int32_t number = 0;
  std::memcpy(&number, &options.log_level, sizeof number);
  constexpr std::int32_t kSilent = MTAB_LOG_WARNING + 1;
  return static_cast<mtab_log_level>(std::clamp<std::int32_t>(number, MTAB_LOG_DEBUG, kSilent));
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
    engine.log = {given.log, given.log_context, level_of(given)};
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

size_t mtab_model_dimension_count(const mtab_model* model) {
  return alive(model) ? model->model->bundle().dimensions.size() : 0;
}

const char* mtab_model_dimension(const mtab_model* model, size_t index) {
  if (!alive(model) || index >= model->model->bundle().dimensions.size()) return nullptr;
  return model->model->bundle().dimensions[index].c_str();
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
      try {
        utterances.push_back(utterance_of(each));
      } catch (const core::Error& failure) {
        throw failure.of("inputs[" + std::to_string(i) + "]");
      }
    }
    auto made = std::make_unique<mtab_results>();
    for (core::Outcome& outcome : model->model->answer(utterances, wanted)) {
      auto& entry = made->entries.emplace_back();
      if (auto* answer = std::get_if<core::Result>(&outcome)) {
        entry.result.emplace(std::move(*answer));
      } else {
        const auto& failure = std::get<core::Error>(outcome);
        entry.error.emplace(failure.code(), in_one_line(failure.message()));
      }
    }
    *results = made.release();
  });
}
