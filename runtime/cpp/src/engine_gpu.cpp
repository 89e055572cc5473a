// The part of Engine that needs a GPU: providers, their options, and proof that they compute what they
// should.
#include <unistd.h>

#include <algorithm>
#include <system_error>

#include "engine.hpp"
#include "error.hpp"
#include "graph_cache.hpp"
#include "python_text.hpp"

namespace mtab_core {
namespace {

constexpr char kCpu[] = "CPUExecutionProvider";
constexpr char kCuda[] = "CUDAExecutionProvider";
constexpr char kTensorRt[] = "TensorrtExecutionProvider";
constexpr char kTensorRtRtx[] = "NvTensorRTRTXExecutionProvider";

// Options as ONNX Runtime takes them; what they are made of outlives them.
struct KeysAndValues {
  explicit KeysAndValues(const std::map<std::string, std::string>& options) {
    for (const auto& [key, value] : options) {
      keys.push_back(key.c_str());
      values.push_back(value.c_str());
    }
  }

  std::vector<const char*> keys;
  std::vector<const char*> values;
};

// The part of a graph's options for TensorRT that tells shapes: a bundle has no say in where files are
// written.
bool is_shape(const std::string& key) {
  for (const char* prefix : {"nv", "trt"}) {
    for (const char* which : {"min", "opt", "max"}) {
      if (key == std::string(prefix) + "_profile_" + which + "_shapes") return true;
    }
  }
  return false;
}

}  // namespace

// A session on a GPU, which records what runs where until `require_no_compute` has looked.
OrtHandle<OrtSession> Engine::on_gpu(const std::string& provider, int index) {
  if (provider != kCuda && !options_.cache.empty()) {
    std::error_code ignored;
    const Path place = std::filesystem::weakly_canonical(path_, ignored);
    compiled_ = options_.cache / provider / sha256(place.native()).substr(0, 32);
    try {
      // From what is there as it was made, and from nothing else.
      std::filesystem::create_directories(compiled_);
      for (const Path& file : unstamped(compiled_, options_.cache)) std::filesystem::remove(file, ignored);
    } catch (const std::system_error&) {
      compiled_.clear();
    }
  }
  const auto options = session_options();
  try {
    if (provider == kTensorRtRtx) {
      add_plugin(options.get(), provider, index);
    } else {
      require_provider(provider);
      add_provider(options.get(), provider, index);
      // What TensorRT does not take stays on the GPU.
      if (provider == kTensorRt) add_provider(options.get(), kCuda, index);
    }
    const std::string place = std::filesystem::temp_directory_path() / "mtab-profile";
    const std::string prefix = place + "-" + std::to_string(::getpid()) + "-" +
                               std::to_string(reinterpret_cast<std::uintptr_t>(this));
    runtime_.check(runtime_.api().EnableProfiling(options.get(), prefix.c_str()));
  } catch (const Failure& failure) {
    throw Error(MTAB_ENGINE_ERROR,
                "device " + device_ + ": " + provider + " cannot be used (" + failure.what() + ")");
  }
  return begin(path_, options.get());
}

void Engine::require_provider(const std::string& provider) const {
  const auto available = runtime_.providers();
  if (std::find(available.begin(), available.end(), provider) != available.end()) return;
  throw Error(MTAB_ENGINE_ERROR,
              "device " + device_ + ": this ONNX Runtime has no " + provider + ", expected one that has");
}

std::map<std::string, std::string> Engine::provider_options(const std::string& provider) const {
  std::map<std::string, std::string> options;
  if (provider == kCuda) {
    // TF32, its default, keeps 10 bits of a float32: too few for the parity promised. And its default search
    // tries every algorithm of a convolution again for each new length of audio.
    return {{"use_tf32", "0"}, {"cudnn_conv_algo_search", "HEURISTIC"}};
  }
  if (provider == kTensorRt && !compiled_.empty()) {
    for (const std::string kind : {"engine", "timing"}) {
      options["trt_" + kind + "_cache_enable"] = "1";
      options["trt_" + kind + "_cache_path"] = compiled_.string();
    }
  }
  if (provider == kTensorRt && graph_.precision == "fp16") options["trt_fp16_enable"] = "1";
  if (provider == kTensorRtRtx && !compiled_.empty()) options["nv_runtime_cache_path"] = compiled_.string();
  // The shapes that TensorRT shall be ready for, where the exporter left them beside the graph.
  const Path shapes = path_.parent_path() / (path_.stem().string() + "_ort_trt.json");
  std::error_code ignored;
  if (std::filesystem::is_regular_file(shapes, ignored)) {
    const Json values = read_json(shapes);
    const Json own = values.is_object() ? values.value(provider, Json::object()) : Json::object();
    for (const auto& [key, value] : own.items()) {
      if (is_shape(key)) options[key] = value.is_string() ? value.get<std::string>() : value.dump();
    }
  }
  return options;
}

void Engine::add_provider(OrtSessionOptions* options, const std::string& provider, int index) const {
  const OrtApi& api = runtime_.api();
  auto chosen = provider_options(provider);
  chosen["device_id"] = std::to_string(index);
  const KeysAndValues given(chosen);
  if (provider == kCuda) {
    OrtCUDAProviderOptionsV2* made = nullptr;
    runtime_.check(api.CreateCUDAProviderOptions(&made));
    const OrtHandle<OrtCUDAProviderOptionsV2> cuda(made, api.ReleaseCUDAProviderOptions);
    runtime_.check(
        api.UpdateCUDAProviderOptions(made, given.keys.data(), given.values.data(), given.keys.size()));
    runtime_.check(api.SessionOptionsAppendExecutionProvider_CUDA_V2(options, made));
  } else {
    OrtTensorRTProviderOptionsV2* made = nullptr;
    runtime_.check(api.CreateTensorRTProviderOptions(&made));
    const OrtHandle<OrtTensorRTProviderOptionsV2> tensorrt(made, api.ReleaseTensorRTProviderOptions);
    runtime_.check(
        api.UpdateTensorRTProviderOptions(made, given.keys.data(), given.values.data(), given.keys.size()));
    runtime_.check(api.SessionOptionsAppendExecutionProvider_TensorRT_V2(options, made));
  }
}

// A plugin knows devices, and takes no number of one.
void Engine::add_plugin(OrtSessionOptions* options, const std::string& provider, int index) const {
  const std::string needed_for = "device " + device_;
  if (options_.provider_library.empty()) {
    throw Error(MTAB_ENGINE_ERROR, needed_for +
                                       ": no provider_library, expected the path of TensorRT-RTX's "
                                       "provider for ONNX Runtime");
  }
  const OrtApi& api = runtime_.newer_api(needed_for);
  const auto found = [&] {
    const OrtEpDevice* const* all = nullptr;
    std::size_t count = 0;
    runtime_.check(api.GetEpDevices(runtime_.environment(), &all, &count));
    std::vector<const OrtEpDevice*> devices;
    for (std::size_t i = 0; i < count; ++i) {
      if (provider == api.EpDevice_EpName(all[i])) devices.push_back(all[i]);
    }
    return devices;
  };
  auto devices = found();
  if (devices.empty()) {
    try {
      runtime_.check(api.RegisterExecutionProviderLibrary(runtime_.environment(), provider.c_str(),
                                                          options_.provider_library.c_str()));
    } catch (const Failure& failure) {
      throw Error(MTAB_ENGINE_ERROR,
                  needed_for + ": " + provider + " cannot be loaded (" + failure.what() + ")");
    }
    devices = found();
  }
  if (static_cast<std::size_t>(index) >= devices.size()) {
    throw Error(MTAB_ENGINE_ERROR, needed_for + ": " + provider + " finds " + std::to_string(devices.size()) +
                                       " GPUs that it supports");
  }
  const auto chosen = provider_options(provider);
  const KeysAndValues given(chosen);
  const OrtEpDevice* device = devices[static_cast<std::size_t>(index)];
  runtime_.check(api.SessionOptionsAppendExecutionProvider_V2(options, runtime_.environment(), &device, 1,
                                                              given.keys.data(), given.values.data(),
                                                              given.keys.size()));
}

// ONNX Runtime leaves to the CPU, without a word, what a provider does not take: a short clip tells.
void Engine::require_no_compute(const std::string& provider) {
  Batch batch;
  batch.utterances = 1;
  if ((bundle_.modalities & kAudio) != 0) {
    batch.samples = std::max<std::size_t>(16'000, bundle_.preprocessing.min_samples);
    batch.input_values.assign(batch.samples, 0.0F);
    batch.audio_lengths = {static_cast<std::int64_t>(batch.samples)};
  }
  if ((bundle_.modalities & kText) != 0) {
    batch.tokens = std::min<std::size_t>(8, bundle_.preprocessing.max_tokens);
    batch.input_ids.assign(batch.tokens, bundle_.preprocessing.pad_token_id);
    batch.text_lengths = {static_cast<std::int64_t>(batch.tokens)};
  }
  static_cast<void>(run(batch));
  const OrtApi& api = runtime_.api();
  OrtAllocator* allocator = nullptr;
  char* name = nullptr;
  runtime_.check(api.GetAllocatorWithDefaultOptions(&allocator));
  runtime_.check(api.SessionEndProfiling(session_.get(), allocator, &name));
  const Path file = name;
  runtime_.check(api.AllocatorFree(allocator, name));
  const Json profile = read_json(file);
  std::error_code ignored;
  std::filesystem::remove(file, ignored);
  require_no_compute_on_cpu(operators_on(profile, kCpu), path_, provider, device_);
}

std::map<std::string, int> operators_on(const Json& profile, const std::string& provider) {
  std::map<std::string, int> found;
  for (const Json& event : profile.is_array() ? profile : Json::array()) {
    const Json arguments = event.is_object() ? event.value("args", Json::object()) : Json::object();
    if (!arguments.is_object() || arguments.value("provider", "") != provider) continue;
    ++found[arguments.value("op_name", "")];
  }
  return found;
}

void require_no_compute_on_cpu(const std::map<std::string, int>& left, const Path& path,
                               const std::string& provider, const std::string& device) {
  // A provider for a GPU leaves arithmetic on shapes to the CPU, on purpose. These would be a fall-back.
  constexpr const char* kCompute[] = {"MatMul", "Gemm",    "Conv", "Attention",
                                      "Norm",   "Softmax", "Gelu", "Quantize"};
  std::vector<std::string> computed;
  for (const auto& [kind, count] : left) {
    const bool computes =
        std::any_of(std::begin(kCompute), std::end(kCompute),
                    [&kind = kind](const char* name) { return kind.find(name) != std::string::npos; });
    if (computes) computed.push_back(std::to_string(count) + " " + kind);
  }
  if (computed.empty()) return;
  throw Error(MTAB_ENGINE_ERROR, path.string() + ": " + provider + " leaves " + joined(computed) +
                                     " to the CPU, expected all on " + device + "; another precision may be");
}

}  // namespace mtab_core
