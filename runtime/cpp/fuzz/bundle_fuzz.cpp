// A bundle one of whose files is the input: it opens, or only an Error of one line in UTF-8 comes out.
//
// The first byte chooses the file, and whether hashes are checked; the rest is its content. The other files
// are a small bundle's. In a manifest @0 to @3 stand for the sizes of config.json, preprocessor_config.json,
// tokenizer.json and model.onnx, and #0 to #3 for their hashes, so that a changed file is still the expected
// one.
#include <unistd.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "bundle.hpp"
#include "error.hpp"
#include "files.hpp"
#include "graph_file.hpp"
#include "text/tokenizer.hpp"

namespace {

namespace core = mtab_core;

constexpr const char* kNames[] = {"config.json", "preprocessor_config.json", "tokenizer.json", "model.onnx"};
constexpr std::size_t kFiles = std::size(kNames);

constexpr std::string_view kManifest = R"({"format_version": 2, "created": "", "files": {
"config.json": {"sha256": "#0", "size": @0}, "preprocessor_config.json": {"sha256": "#1", "size": @1},
"tokenizer.json": {"sha256": "#2", "size": @2}, "model.onnx": {"sha256": "#3", "size": @3}},
"checkpoint": {"sha256": "", "temperature": 1.0}, "graphs": [], "versions": {},
"training": {"title": "", "synthetic": true, "preset": "", "protocol": "honest", "seed": 0}})";
constexpr std::string_view kContents[kFiles] = {
    R"({"id2label": {"0": "anger", "1": "sadness"}, "modalities": ["audio", "text"],
"supported_modalities": [["audio", "text"], ["text"]], "embedding_size": 4,
"hidden_sizes": {"audio": 2, "text": 2}, "model_type": "mul-tab"})",
    "{}",
    "{}",
    {"\x08\x0a", 2}};

// What the first byte says: the file that the input is, 4 for the manifest, 5 for what is remembered of
// hashes.
struct Choice {
  explicit Choice(std::uint8_t byte)
      : file((byte & 15U) % 6U), verify((byte & 16U) != 0), remember((byte & 32U) != 0) {}
  std::size_t file;
  bool verify;
  bool remember;
};

void require(bool condition) {
  if (!condition) std::abort();
}

// A bundle in memory, gone at the end.
class Folder {
 public:
  Folder() {
    const core::Path memory = "/dev/shm";
    const bool there = std::filesystem::is_directory(memory) && ::access(memory.c_str(), W_OK) == 0;
    path_ = (there ? memory : std::filesystem::temp_directory_path()) /
            ("mtab-bundle-fuzz-" + std::to_string(::getpid()));
    std::filesystem::create_directories(path_ / "bundle");
    path_ = std::filesystem::canonical(path_);
    for (std::size_t i = 0; i < kFiles; ++i) write(i, kContents[i]);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] core::Path bundle() const { return path_ / "bundle"; }
  [[nodiscard]] core::Path cache() const { return path_ / "cache"; }

  void write(std::size_t file, std::string_view content) {
    write(bundle() / kNames[file], content);
    sizes_[file] = std::to_string(content.size());
    hashes_[file] = core::sha256(content);
  }

  void write_manifest(std::string_view pattern) const {
    std::string text;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      const bool stands = (pattern[i] == '@' || pattern[i] == '#') && i + 1 < pattern.size() &&
                          pattern[i + 1] >= '0' && pattern[i + 1] < '0' + static_cast<int>(kFiles);
      if (!stands) {
        text += pattern[i];
        continue;
      }
      const auto file = static_cast<std::size_t>(pattern[i + 1] - '0');
      text += pattern[i] == '@' ? sizes_[file] : hashes_[file];
      ++i;
    }
    write(bundle() / "manifest.json", text);
  }

  void remember(std::string_view content) const {
    const std::string name = core::sha256(bundle().native()).substr(0, 32) + ".json";
    std::filesystem::create_directories(cache() / "verified");
    write(cache() / "verified" / name, content);
  }

 private:
  static void write(const core::Path& path, std::string_view content) {
    std::ofstream(path, std::ios::binary) << content;
  }

  core::Path path_;
  std::array<std::string, kFiles> sizes_;
  std::array<std::string, kFiles> hashes_;
};

void look_into(const core::Bundle& bundle) {
  require(!bundle.labels.empty() && bundle.modalities != 0 && !bundle.supported.empty());
  require(bundle.preprocessing.min_samples > 0 && bundle.preprocessing.max_tokens > 0);
  require(bundle.content.size() == 64);
  require(core::assumed_need(bundle.hidden_size).size(1, 1.0) > 0);
  for (const char* precision : {"auto", "fp32", "int8", ""}) {
    try {
      const core::GraphEntry& graph = bundle.whole(precision);
      require(!graph.file.empty());
      if (graph.memory) require(std::isfinite(graph.memory->size(8, 60.0)));
    } catch (const core::Error& error) {
      require(error.code() == MTAB_BUNDLE_ERROR);
    }
  }
}

void require_readable(const core::Error& error) {
  require(error.code() == MTAB_BUNDLE_ERROR || error.code() == MTAB_CONFIG_ERROR ||
          error.code() == MTAB_ENGINE_ERROR);
  require(!error.message().empty() && error.message().find('\n') == std::string::npos);
  core::require_utf8(error.message());
}

template <typename Body>
void guarded(const Body& body) {
  try {
    body();
  } catch (const core::Error& error) {
    require_readable(error);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Folder folder;
  if (size == 0) return 0;
  const Choice choice(data[0]);
  const std::string_view content(reinterpret_cast<const char*>(data + 1), size - 1);
  if (choice.file < kFiles) folder.write(choice.file, content);
  folder.write_manifest(choice.file == kFiles ? content : kManifest);
  if (choice.file > kFiles) folder.remember(content);
  const bool remember = choice.remember || choice.file > kFiles;

  guarded(
      [&] { look_into(core::open_bundle(folder.bundle(), choice.verify, remember ? folder.cache() : "")); });
  if (choice.file == 3) {
    guarded([&] { core::weight_files(content, "model.onnx"); });
    guarded([&] { core::require_own_weights(folder.bundle() / "model.onnx"); });
  }

  if (choice.file < kFiles) folder.write(choice.file, kContents[choice.file]);
  return 0;
}
