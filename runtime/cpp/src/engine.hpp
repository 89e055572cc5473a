// One graph in ONNX Runtime, on the device that was asked for and on no other; as `mtab.engines.onnxruntime`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "bundle.hpp"
#include "json.hpp"
#include "log.hpp"
#include "onnxruntime.hpp"

namespace mtab_core {

struct EngineOptions {
  // "auto" or a name: see mtab_load_options.
  std::string engine = "auto";
  std::string device = "auto";
  std::string precision = "auto";
  int threads = 0;
  std::string library;
  std::string provider_library;
  // Empty: keep nothing.
  Path cache;
  Log log;
};

// A padded batch; a modality that the model does not take has no values.
struct Batch {
  std::size_t utterances = 0;
  std::size_t samples = 0;
  std::size_t tokens = 0;
  std::vector<float> input_values;
  std::vector<std::int64_t> audio_lengths;
  std::vector<std::int64_t> input_ids;
  std::vector<std::int64_t> text_lengths;
};

// A row for each utterance of a batch.
struct Answers {
  std::vector<float> logits;
  std::vector<float> probabilities;
  std::vector<float> embeddings;
  std::vector<float> dimensions;
};

class Engine {
 public:
  // Throws EngineError if the engine, the device or the precision cannot be had here, and if the graph cannot
  // be read, is not that of `bundle` or cannot be computed on the device alone; BundleError if the bundle
  // lacks it.
  Engine(const Bundle& bundle, const EngineOptions& options);
  ~Engine();

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& device() const { return device_; }
  [[nodiscard]] const std::string& precision() const { return graph_.precision; }
  [[nodiscard]] const std::string& version() const { return runtime_.version(); }

  // Safe to call from many threads at once. Throws MemoryLimitError, before it computes, where a batch needs
  // more than there is; EngineError if the device fails or does not answer every row.
  [[nodiscard]] Answers run(const Batch& batch) const;

 private:
  [[nodiscard]] OrtHandle<OrtSessionOptions> session_options() const;
  OrtHandle<OrtSession> begin(const Path& graph, OrtSessionOptions* options) const;
  [[nodiscard]] OrtHandle<OrtSession> on_cpu() const;
  OrtHandle<OrtSession> on_gpu(const std::string& provider, int index);
  void add_provider(OrtSessionOptions* options, const std::string& provider, int index) const;
  void add_plugin(OrtSessionOptions* options, const std::string& provider, int index) const;
  [[nodiscard]] std::map<std::string, std::string> provider_options(const std::string& provider) const;
  void require_provider(const std::string& provider) const;
  void require_signature() const;
  void require_no_compute(const std::string& provider);
  [[nodiscard]] Answers compute(const Batch& batch) const;

  const Bundle& bundle_;
  EngineOptions options_;
  OnnxRuntime runtime_;
  GraphEntry graph_;
  Path path_;
  MemoryNeed memory_;
  std::string name_;
  std::string device_;
  // Where a GPU's provider keeps what it compiles of the graph; empty where it compiles nothing.
  Path compiled_;
  OrtHandle<OrtSession> session_;
};

// How often each kind of operator ran on `provider`, by what a session's profile recorded.
std::map<std::string, int> operators_on(const Json& profile, const std::string& provider);
// Throws EngineError if a provider left more than arithmetic on shapes to the CPU.
void require_no_compute_on_cpu(const std::map<std::string, int>& left, const Path& path,
                               const std::string& provider, const std::string& device);

}  // namespace mtab_core
