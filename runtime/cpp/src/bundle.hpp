// A bundle: the folder that holds everything a deployed model needs, as `mtab.bundle`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "files.hpp"
#include "memory.hpp"

namespace mtab_core {

// MTAB_AUDIO and MTAB_TEXT.
inline constexpr std::uint32_t kAudio = 1;
inline constexpr std::uint32_t kText = 2;

// One ONNX graph of a part of the model.
struct GraphEntry {
  std::string part;
  std::string precision;
  std::string file;
  std::optional<bool> reduce_range;
  std::optional<MemoryNeed> memory;
};

// preprocessor_config.json: how inputs are prepared.
struct PreprocessorConfig {
  bool do_normalize = true;
  bool audio = true;
  bool text = true;
  std::size_t min_samples = 400;
  std::size_t max_tokens = 512;
  std::int64_t pad_token_id = 1;
};

struct Bundle {
  Path folder;
  // The classes in the order of the logits.
  std::vector<std::string> labels;
  // As bits: what the model takes, and the combinations that it answers from.
  std::uint32_t modalities = 0;
  std::vector<std::uint32_t> supported;
  std::size_t embedding_size = 0;
  // What the model answers beside the classes, in the order of the output; often nothing.
  std::vector<std::string> dimensions;
  std::size_t hidden_size = 0;
  PreprocessorConfig preprocessing;
  std::vector<GraphEntry> graphs;
  // Whether the hashes were checked, and a hash of what the files hold.
  bool verified = false;
  std::string content;

  // The path of the tokenizer, which is there where text is a modality.
  [[nodiscard]] Path tokenizer() const;
  // The whole model's graph in a precision, or in the most exact one for "auto". Throws BundleError if there
  // is none.
  [[nodiscard]] const GraphEntry& whole(const std::string& precision) const;
};

// Read a bundle's description and check that its files are those that it was written with.
//
// Throws BundleError if the folder is no bundle, was made by a newer mtab, lacks a file, leads out of itself,
// or holds a file whose SHA-256 differs (not checked unless `verify`); ConfigError for a field that is
// missing, unknown or wrong-typed. A file that was found right before, as `cache` remembers, and has not been
// touched since is not read again; with an empty `cache` every one is.
Bundle open_bundle(const Path& folder, bool verify, const Path& cache);

// "audio and text", "audio", "text"
std::string modality_names(std::uint32_t modalities, const std::string& between);

}  // namespace mtab_core
