#include "engine.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "error.hpp"
#include "graph_cache.hpp"
#include "graph_file.hpp"
#include "machine.hpp"
#include "python_text.hpp"
#include "tables.hpp"

namespace mtab_core {
namespace {

// What parse_device of Python tells: the kind of a device, and its number.
std::pair<std::string, int> parsed_device(const std::string& device, const Json& kinds,
                                          const std::string& engine) {
  const std::size_t colon = device.find(':');
  const std::string kind = device.substr(0, colon);
  const std::string number = colon == std::string::npos ? "" : device.substr(colon + 1);
  const bool digits = number.size() < 6 && number.find_first_not_of("0123456789") == std::string::npos;
  const bool numbered = colon == std::string::npos || (!number.empty() && digits && kind != "cpu");
  if (kinds.contains(kind) && numbered) return {kind, std::atoi(number.c_str())};
  std::vector<std::string> expected;
  for (const auto& [each, provider] : kinds.items()) {
    expected.push_back(each);
    if (each != "cpu") expected.push_back(each + ":N");
  }
  const std::string last = expected.back();
  expected.pop_back();
  throw Error(MTAB_ENGINE_ERROR, "device " + in_quotes(device) + ", expected " + joined(expected) + " or " +
                                     last + " with engine " + engine);
}

void ORT_API_CALL pass_on(void* log, OrtLoggingLevel severity, const char* category, const char*, const char*,
                          const char* message) {
  const auto level = severity >= ORT_LOGGING_LEVEL_WARNING ? MTAB_LOG_WARNING : MTAB_LOG_DEBUG;
  (*static_cast<const Log*>(log))(level,
                                  std::string("ONNX Runtime (") + category + "): " + one_line(message));
}

std::string type_name(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return "float64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return "int32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    default:
      return "type " + std::to_string(type);
  }
}

// The tensors of `spec` of a model with these modalities, as the engine should list them.
std::string expected_tensors(const Json& spec, const Bundle& bundle) {
  std::vector<std::string> found;
  for (const Json& tensor : spec) {
    const Json& modality = tensor.at("modality");
    if (modality == "audio" && (bundle.modalities & kAudio) == 0) continue;
    if (modality == "text" && (bundle.modalities & kText) == 0) continue;
    if (tensor.at("name") == "dimensions" && bundle.dimensions.empty()) continue;
    std::vector<std::string> axes;
    for (const Json& axis : tensor.at("axes")) {
      const std::string name = axis;
      axes.push_back(name == "classes"      ? std::to_string(bundle.labels.size())
                     : name == "embedding"  ? std::to_string(bundle.embedding_size)
                     : name == "dimensions" ? std::to_string(bundle.dimensions.size())
                                            : name);
    }
    found.push_back(tensor.at("name").get<std::string>() + " " + tensor.at("dtype").get<std::string>() +
                    " [" + joined(axes) + "]");
  }
  return joined(found);
}

}  // namespace

Engine::Engine(const Bundle& bundle, const EngineOptions& options)
    : bundle_(bundle), options_(options), runtime_(options.library), session_(nullptr, nullptr) {
  const Json engines = parse_json(tables::kProviders);
  name_ = options.engine;
  device_ = options.device;
  if (device_ == "auto") {
    const auto available = runtime_.providers();
    const bool cuda = std::find(available.begin(), available.end(), engines.at("onnxruntime").at("cuda")) !=
                      available.end();
    const bool plain = name_ == "auto" || name_ == "onnxruntime";
    device_ = !plain || (cuda && cuda_gpus() > 0) ? "cuda" : "cpu";
  }
  if (name_ == "auto") name_ = "onnxruntime";
  if (!engines.contains(name_)) {
    std::vector<std::string> names;
    for (const auto& [each, kinds] : engines.items()) names.push_back(each);
    throw Error(MTAB_ENGINE_ERROR, "engine " + in_quotes(name_) + ", expected auto, " + joined(names));
  }
  if (options.threads < 0) {
    throw Error(MTAB_ENGINE_ERROR, std::to_string(options.threads) + " threads, expected 1 or more");
  }
  const Json& kinds = engines.at(name_);
  const auto [kind, index] = parsed_device(device_, kinds, name_);
  graph_ = bundle.whole(options.precision);
  path_ = bundle.folder / graph_.file;
  memory_ = graph_.memory.value_or(assumed_need(bundle.hidden_size));
  if (graph_.reduce_range == false && kind == "cpu" && saturates_int8()) {
    throw Error(MTAB_ENGINE_ERROR, path_.string() +
                                       ": sums of its int8 products saturate on a processor without VNNI, "
                                       "expected a graph exported with --reduce-range");
  }
  // From this version on ONNX Runtime refuses a graph that takes weights from elsewhere.
  if (runtime_.release() < 24) require_own_weights(path_);
  session_ = kind == "cpu" ? on_cpu() : on_gpu(kinds.at(kind), index);
  require_signature();
  if (kind != "cpu") require_no_compute(kinds.at(kind));
}

Engine::~Engine() {
  if (compiled_.empty()) return;
  try {
    // More is compiled as shapes come: what is there at the end counts the next time.
    write_stamp(compiled_);
  } catch (const std::exception&) {
    // What is not stamped is made anew.
  }
}

OrtHandle<OrtSessionOptions> Engine::session_options() const {
  const OrtApi& api = runtime_.api();
  OrtSessionOptions* made = nullptr;
  runtime_.check(api.CreateSessionOptions(&made));
  OrtHandle<OrtSessionOptions> options(made, api.ReleaseSessionOptions);
  // By itself it takes one a core, whichever of them it may use.
  runtime_.check(api.SetIntraOpNumThreads(made, options_.threads > 0 ? options_.threads : limited_cores()));
  // A plan of memory for every shape, which is never forgotten and gains nothing measurable.
  runtime_.check(api.DisableMemPattern(made));
  if (options_.log.callback != nullptr) {
    const bool all = options_.log.wants(MTAB_LOG_DEBUG);
    runtime_.check(api.SetUserLoggingFunction(made, pass_on, const_cast<Log*>(&options_.log)));
    runtime_.check(
        api.SetSessionLogSeverityLevel(made, all ? ORT_LOGGING_LEVEL_INFO : ORT_LOGGING_LEVEL_WARNING));
  } else {
    // What it has to say comes as an error, in one line of ours.
    runtime_.check(api.SetSessionLogSeverityLevel(made, ORT_LOGGING_LEVEL_FATAL));
  }
  if (saturates_int8()) {
    // Products of fixed-range int8 as exact as elsewhere, for some speed.
    runtime_.check(api.AddSessionConfigEntry(made, "session.x64quantprecision", "1"));
  }
  return options;
}

OrtHandle<OrtSession> Engine::begin(const Path& graph, OrtSessionOptions* options) const {
  OrtSession* session = nullptr;
  try {
    runtime_.check(runtime_.api().CreateSession(runtime_.environment(), graph.c_str(), options, &session));
  } catch (const Failure& failure) {
    throw Error(MTAB_ENGINE_ERROR, path_.string() + ": ONNX Runtime cannot load it (" + failure.what() + ")");
  }
  return {session, runtime_.api().ReleaseSession};
}

// A session on the CPU, which begins from the optimised graph or, if the bundle was verified, leaves one.
OrtHandle<OrtSession> Engine::on_cpu() const {
  const OrtApi& api = runtime_.api();
  // What was not verified may be anything, and another thing the next time.
  if (!bundle_.verified || options_.cache.empty()) return begin(path_, session_options().get());
  const GraphCache cache(options_.cache, bundle_.content + " " + graph_.file, runtime_.version(),
                         runtime_.build());
  if (const auto graph = cache.kept()) {
    const auto options = session_options();
    runtime_.check(api.SetSessionGraphOptimizationLevel(options.get(), ORT_DISABLE_ALL));
    try {
      return begin(*graph, options.get());
    } catch (const Error& error) {
      options_.log(MTAB_LOG_WARNING, error.message() + "; its optimised form is made again");
      cache.forget();
    }
  }
  OrtHandle<OrtSession> session(nullptr, nullptr);
  try {
    cache.keep(path_, [&](const Path& target) {
      const auto options = session_options();
      const std::string weights = target.filename().string() + ".data";
      runtime_.check(api.AddSessionConfigEntry(
          options.get(), "session.optimized_model_external_initializers_file_name", weights.c_str()));
      runtime_.check(api.AddSessionConfigEntry(options.get(),
                                               "session.save_external_prepacked_constant_initializers", "1"));
      runtime_.check(api.SetOptimizedModelFilePath(options.get(), target.c_str()));
      session = begin(path_, options.get());
    });
    return session;
  } catch (const std::exception& error) {
    // A cache that is full or read-only keeps no model from being loaded.
    options_.log(MTAB_LOG_WARNING, std::string("the optimised graph is not kept: ") + error.what());
  }
  return session != nullptr ? std::move(session) : begin(path_, session_options().get());
}

void Engine::require_signature() const {
  const OrtApi& api = runtime_.api();
  OrtAllocator* allocator = nullptr;
  runtime_.check(api.GetAllocatorWithDefaultOptions(&allocator));
  const auto listed_side = [&](bool inputs) {
    std::size_t count = 0;
    runtime_.check(inputs ? api.SessionGetInputCount(session_.get(), &count)
                          : api.SessionGetOutputCount(session_.get(), &count));
    std::vector<std::string> tensors;
    for (std::size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      OrtTypeInfo* type = nullptr;
      runtime_.check(inputs ? api.SessionGetInputName(session_.get(), i, allocator, &name)
                            : api.SessionGetOutputName(session_.get(), i, allocator, &name));
      std::string text = name;
      runtime_.check(api.AllocatorFree(allocator, name));
      runtime_.check(inputs ? api.SessionGetInputTypeInfo(session_.get(), i, &type)
                            : api.SessionGetOutputTypeInfo(session_.get(), i, &type));
      const OrtHandle<OrtTypeInfo> released(type, api.ReleaseTypeInfo);
      const OrtTensorTypeAndShapeInfo* tensor = nullptr;
      runtime_.check(api.CastTypeInfoToTensorInfo(type, &tensor));
      if (tensor == nullptr) {
        tensors.push_back(text + " of no tensor");
        continue;
      }
      ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
      std::size_t rank = 0;
      runtime_.check(api.GetTensorElementType(tensor, &element));
      runtime_.check(api.GetDimensionsCount(tensor, &rank));
      std::vector<std::int64_t> sizes(rank);
      std::vector<const char*> names(rank);
      runtime_.check(api.GetDimensions(tensor, sizes.data(), rank));
      runtime_.check(api.GetSymbolicDimensions(tensor, names.data(), rank));
      std::vector<std::string> axes;
      for (std::size_t axis = 0; axis < rank; ++axis) {
        axes.push_back(sizes[axis] >= 0 ? std::to_string(sizes[axis]) : *names[axis] ? names[axis] : "?");
      }
      tensors.push_back(text + " " + type_name(element) + " [" + joined(axes) + "]");
    }
    return tensors.empty() ? "nothing" : joined(tensors);
  };
  const Json whole = parse_json(tables::kFused);
  for (const auto& [side, verb] : {std::pair{"inputs", "takes"}, std::pair{"outputs", "answers"}}) {
    const std::string found = listed_side(std::strcmp(side, "inputs") == 0);
    const std::string expected = expected_tensors(whole.at(side), bundle_);
    if (found != expected) {
      throw Error(MTAB_ENGINE_ERROR, path_.string() + ": " + verb + " " + found + ", expected " + expected);
    }
  }
}

Answers Engine::run(const Batch& batch) const {
  if (device_ == "cpu" && batch.samples > 0) {
    require_memory(memory_, batch.utterances, static_cast<double>(batch.samples) / tables::kSampleRate);
  }
  const std::string rows = std::to_string(batch.utterances);
  const auto begun = std::chrono::steady_clock::now();
  try {
    Answers answers = compute(batch);
    if (options_.log.wants(MTAB_LOG_DEBUG)) {
      const std::chrono::duration<double, std::milli> taken = std::chrono::steady_clock::now() - begun;
      options_.log(MTAB_LOG_DEBUG, "ran " + rows + " x " + std::to_string(batch.samples) + " samples, " +
                                       std::to_string(batch.tokens) + " tokens in " +
                                       fixed(taken.count(), 3) + " ms");
    }
    return answers;
  } catch (const Failure& failure) {
    std::vector<std::string> shapes;
    if (batch.samples > 0) {
      shapes.push_back("input_values [" + rows + ", " + std::to_string(batch.samples) + "]");
      shapes.push_back("audio_lengths [" + rows + "]");
    }
    if (batch.tokens > 0) {
      shapes.push_back("input_ids [" + rows + ", " + std::to_string(batch.tokens) + "]");
      shapes.push_back("text_lengths [" + rows + "]");
    }
    throw Error(MTAB_ENGINE_ERROR, path_.string() + ": ONNX Runtime fails on " + device_ + " with " +
                                       joined(shapes) + " (" + failure.what() + ")");
  }
}

Answers Engine::compute(const Batch& batch) const {
  const OrtApi& api = runtime_.api();
  OrtMemoryInfo* made = nullptr;
  runtime_.check(api.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &made));
  const OrtHandle<OrtMemoryInfo> memory(made, api.ReleaseMemoryInfo);

  std::vector<const char*> names;
  std::vector<OrtHandle<OrtValue>> inputs;
  const auto add = [&](const char* name, const auto& values, std::vector<std::int64_t> shape,
                       ONNXTensorElementDataType type) {
    using Value = typename std::decay_t<decltype(values)>::value_type;
    OrtValue* value = nullptr;
    // ONNX Runtime reads it alone.
    runtime_.check(api.CreateTensorWithDataAsOrtValue(made, const_cast<Value*>(values.data()),
                                                      values.size() * sizeof(Value), shape.data(),
                                                      shape.size(), type, &value));
    names.push_back(name);
    inputs.emplace_back(value, api.ReleaseValue);
  };
  const auto rows = static_cast<std::int64_t>(batch.utterances);
  if ((bundle_.modalities & kAudio) != 0) {
    add("input_values", batch.input_values, {rows, static_cast<std::int64_t>(batch.samples)},
        ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
    add("audio_lengths", batch.audio_lengths, {rows}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
  }
  if ((bundle_.modalities & kText) != 0) {
    add("input_ids", batch.input_ids, {rows, static_cast<std::int64_t>(batch.tokens)},
        ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
    add("text_lengths", batch.text_lengths, {rows}, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64);
  }
  std::vector<const OrtValue*> fed;
  for (const auto& input : inputs) fed.push_back(input.get());

  constexpr std::array<const char*, 4> kOutputs = {"logits", "probabilities", "embeddings", "dimensions"};
  // The last is there where the model has dimensions.
  std::vector<OrtValue*> found(bundle_.dimensions.empty() ? kOutputs.size() - 1 : kOutputs.size(), nullptr);
  runtime_.check(api.Run(session_.get(), nullptr, names.data(), fed.data(), fed.size(), kOutputs.data(),
                         found.size(), found.data()));
  std::vector<OrtHandle<OrtValue>> outputs;
  for (OrtValue* value : found) outputs.emplace_back(value, api.ReleaseValue);

  Answers answers;
  const std::array<std::vector<float>*, 4> targets = {&answers.logits, &answers.probabilities,
                                                      &answers.embeddings, &answers.dimensions};
  const std::array<std::size_t, 4> widths = {bundle_.labels.size(), bundle_.labels.size(),
                                             bundle_.embedding_size, bundle_.dimensions.size()};
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    OrtTensorTypeAndShapeInfo* shape = nullptr;
    runtime_.check(api.GetTensorTypeAndShape(outputs[i].get(), &shape));
    const OrtHandle<OrtTensorTypeAndShapeInfo> released(shape, api.ReleaseTensorTypeAndShapeInfo);
    std::size_t count = 0;
    runtime_.check(api.GetTensorShapeElementCount(shape, &count));
    if (count != batch.utterances * widths[i]) {
      throw Error(MTAB_ENGINE_ERROR, path_.string() + ": ONNX Runtime on " + device_ + " answers " +
                                         std::to_string(count / std::max<std::size_t>(1, widths[i])) +
                                         " of " + std::to_string(batch.utterances) +
                                         " utterances, expected all");
    }
    void* data = nullptr;
    runtime_.check(api.GetTensorMutableData(outputs[i].get(), &data));
    const auto* values = static_cast<const float*>(data);
    targets[i]->assign(values, values + count);
  }
  return answers;
}

}  // namespace mtab_core
