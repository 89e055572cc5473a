#include "bundle.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>
#include <system_error>

#include "error.hpp"
#include "hash_cache.hpp"
#include "json.hpp"
#include "python_text.hpp"
#include "schema.hpp"
#include "tables.hpp"

namespace mtab_core {
namespace {

constexpr char kConfig[] = "config.json";
constexpr char kManifest[] = "manifest.json";
constexpr char kPreprocessor[] = "preprocessor_config.json";
constexpr char kTokenizer[] = "tokenizer.json";
constexpr char kWhole[] = "fused";

Error bundle_error(const Path& path, const std::string& message) {
  return {MTAB_BUNDLE_ERROR, path.string() + ": " + message};
}

Error config_error(const Path& path, const std::string& message) {
  return {MTAB_CONFIG_ERROR, path.string() + ": " + message};
}

std::vector<std::string> names_in(const Json& list) { return list.get<std::vector<std::string>>(); }

std::uint32_t modality_bits(const Json& names) {
  std::uint32_t bits = 0;
  for (const Json& name : names) bits |= name == "audio" ? kAudio : kText;
  return bits;
}

// What a model can answer from, each in one order.
bool is_combination(const Json& names) {
  return names == Json::array({"audio", "text"}) || names == Json::array({"audio"}) ||
         names == Json::array({"text"});
}

bool is_inside(const std::string& name) {
  if (name.empty() || name.front() == '/' || name.back() == '/') return false;
  if (name.find('\\') != std::string::npos) return false;
  for (const char c : name) {
    if (static_cast<unsigned char>(c) < 32 || c == 127) return false;
  }
  for (std::size_t start = 0; start <= name.size();) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    start = end + 1;
  }
  return true;
}

void require_manifest(const Json& manifest, const Path& path) {
  require_type(manifest, "Manifest", path.string());
  if (const auto version = manifest.at("format_version").get<std::int64_t>();
      version != tables::kFormatVersion) {
    throw config_error(path, "format_version is " + std::to_string(version) + ", expected " +
                                 std::to_string(tables::kFormatVersion));
  }
  const Json& files = manifest.at("files");
  for (const auto& [name, entry] : files.items()) {
    if (!is_inside(name)) {
      throw config_error(path, "files names " + in_quotes(name) + ", expected a path inside the bundle");
    }
  }
  if (!files.contains(kConfig))
    throw config_error(path, std::string("files lack ") + kConfig + ", expected it");
  for (const char* field : {"graphs", "engines"}) {
    const Json entries = manifest.value(field, Json::array());
    for (std::size_t i = 0; i < entries.size(); ++i) {
      const std::string file = entries[i].at("file");
      if (files.contains(file)) continue;
      throw config_error(path, std::string(field) + "[" + std::to_string(i) + "].file is " + in_quotes(file) +
                                   ", expected one of files");
    }
  }
  if (const Json reasons = manifest.value("reasons", Json()); reasons.is_object()) {
    const std::string file = reasons.at("file");
    if (!files.contains(file)) {
      throw config_error(path, "reasons.file is " + in_quotes(file) + ", expected one of files");
    }
  }
  const Json calibration = manifest.at("training").value("calibration", Json());
  if (calibration.is_object()) {
    const auto temperature = calibration.at("temperature").get<double>();
    if (!(temperature >= tables::kTemperatures[0] && temperature <= tables::kTemperatures[1])) {
      throw config_error(path, "training.calibration: temperature is " + repr(temperature) + ", expected " +
                                   repr(tables::kTemperatures[0]) + " to " + repr(tables::kTemperatures[1]));
    }
  }
  std::set<std::pair<std::string, std::string>> seen;
  for (const Json& graph : manifest.at("graphs")) {
    if (!seen.emplace(graph.at("part"), graph.at("precision")).second) {
      throw config_error(path, "graphs hold a part twice in one precision, expected it once");
    }
  }
}

// The names of the dimensions that a model answers, each of which has a spread.
std::vector<std::string> dimensions_in(const Json& config, const Path& path) {
  std::vector<std::string> names;
  for (const Json& entry : config.value("dimensions", Json::array())) {
    const std::string name = entry.at("name");
    if (const auto std = entry.at("std").get<double>(); !(std > 0)) {
      throw config_error(path, "dimensions[" + std::to_string(names.size()) + "]: " + name + " has std " +
                                   repr(std) + ", expected more than 0");
    }
    names.push_back(name);
  }
  return names;
}

void require_config(const Json& config, const Path& path) {
  require_type(config, "BundleConfig", path.string());
  const std::vector<std::string> dimensions = dimensions_in(config, path);
  const Json& names = config.at("id2label");
  std::set<std::string> labels;
  std::vector<std::string> keys;
  std::vector<std::string> in_order;
  bool numbered = !names.empty();
  for (std::size_t i = 0; i < names.size(); ++i) numbered = numbered && names.contains(std::to_string(i));
  for (const auto& [key, label] : names.items()) keys.push_back(key);
  if (!numbered) {
    throw config_error(
        path, "id2label has the keys " + (keys.empty() ? "none" : joined(keys)) + ", expected 0, 1, ...");
  }
  for (std::size_t i = 0; i < names.size(); ++i) in_order.push_back(names.at(std::to_string(i)));
  labels.insert(in_order.begin(), in_order.end());
  if (labels.size() < in_order.size()) {
    throw config_error(path, "id2label names " + joined(in_order) + ", expected different labels");
  }
  const Json& modalities = config.at("modalities");
  if (!is_combination(modalities)) {
    throw config_error(path,
                       "modalities are " + listed(names_in(modalities)) + ", expected audio, text or both");
  }
  const std::uint32_t bits = modality_bits(modalities);
  bool whole = false;
  for (const Json& each : config.at("supported_modalities")) {
    if (!is_combination(each) || (modality_bits(each) & ~bits) != 0) {
      throw config_error(path, "supported_modalities hold " + listed(names_in(each)) + ", expected some of " +
                                   listed(names_in(modalities)));
    }
    whole = whole || each == modalities;
  }
  if (!whole) {
    throw config_error(path, "modalities " + listed(names_in(modalities)) +
                                 " are not in supported_modalities, expected them there");
  }
  std::vector<std::string> sized;
  for (const auto& [name, size] : config.at("hidden_sizes").items()) sized.push_back(name);
  if (sized != names_in(modalities)) {
    throw config_error(
        path, "hidden_sizes are those of " + listed(sized) + ", expected " + listed(names_in(modalities)));
  }
  if (std::set<std::string>(dimensions.begin(), dimensions.end()).size() < dimensions.size()) {
    throw config_error(path, "dimensions are " + joined(dimensions) + ", expected different ones");
  }
}

// A number of things of a JSON file; a negative or huge one is none.
std::size_t count_of(const Json& value) {
  if (value.is_number_unsigned()) return value.get<std::size_t>();
  const auto number = value.get<std::int64_t>();
  return number < 0 ? 0 : static_cast<std::size_t>(number);
}

PreprocessorConfig read_preprocessor(const Path& path) {
  const Json values = read_json(path);
  require_type(values, "PreprocessorConfig", path.string());
  if (const auto size = values.value("feature_size", Json(1)); size != 1) {
    throw config_error(path, "feature_size is " + size.dump() + ", expected 1");
  }
  if (const auto rate = values.value("sampling_rate", Json(tables::kSampleRate));
      rate != tables::kSampleRate) {
    throw config_error(path, "sampling_rate is " + rate.dump() + ", expected 16000");
  }
  if (const auto padding = values.value("padding_value", 0.0); padding != 0.0) {
    throw config_error(path, "padding_value is " + repr(padding) + ", expected 0.0");
  }
  for (const auto& [name, least] :
       {std::pair<const char*, int>{"min_samples", 1}, {"max_tokens", 1}, {"pad_token_id", 0}}) {
    if (const auto found = values.find(name); found != values.end() && *found < least) {
      throw config_error(path, std::string(name) + " is " + found->dump() + ", expected " +
                                   std::to_string(least) + " or more");
    }
  }
  const auto names = names_in(values.value("modalities", Json::array({"audio", "text"})));
  if (names.empty() || std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
    throw config_error(path, "modalities are " + listed(names) + ", expected audio, text or both, once each");
  }
  PreprocessorConfig config;
  config.do_normalize = values.value("do_normalize", config.do_normalize);
  config.audio = std::find(names.begin(), names.end(), "audio") != names.end();
  config.text = std::find(names.begin(), names.end(), "text") != names.end();
  if (values.contains("min_samples")) config.min_samples = count_of(values.at("min_samples"));
  if (values.contains("max_tokens")) config.max_tokens = count_of(values.at("max_tokens"));
  if (values.contains("pad_token_id")) config.pad_token_id = values.at("pad_token_id").get<std::int64_t>();
  return config;
}

std::optional<double> optional_number(const Json& values, const char* name) {
  const auto found = values.find(name);
  if (found == values.end() || found->is_null()) return std::nullopt;
  return found->get<double>();
}

GraphEntry read_graph(const Json& values) {
  GraphEntry graph{values.at("part"), values.at("precision"), values.at("file"), {}, {}};
  if (const auto found = values.find("reduce_range"); found != values.end() && !found->is_null()) {
    graph.reduce_range = found->get<bool>();
  }
  if (const auto found = values.find("memory"); found != values.end() && !found->is_null()) {
    MemoryNeed need;
    need.per_sample = found->at("per_sample").get<double>();
    need.per_frame = found->at("per_frame").get<double>();
    need.per_score = found->at("per_score").get<double>();
    need.per_convolved = found->at("per_convolved").get<double>();
    need.scores_at_once = optional_number(*found, "scores_at_once");
    need.frames_at_once = optional_number(*found, "frames_at_once");
    graph.memory = need;
  }
  return graph;
}

// The path without links, of one that is not there too.
Path real(const Path& path) {
  std::error_code failed;
  const Path found = std::filesystem::weakly_canonical(path, failed);
  return failed ? std::filesystem::absolute(path, failed).lexically_normal() : found;
}

bool is_below(const Path& path, const Path& root) {
  const auto end = std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first;
  return end == root.end();
}

// Throws BundleError unless a file is the one expected; its hash counts where there are `hashes`.
void require_file(const Path& folder, const std::string& name, const Json& entry, HashCache* hashes) {
  const Path path = folder / name;
  const Path root = real(folder);
  // A link may lead out of the bundle where the name does not. Of a file's own its hash, once it is checked,
  // proves the content; unproven it may lead to the blobs of a hub's cache alone.
  const bool in_hub = root.parent_path().filename() == "snapshots" &&
                      real(path).parent_path() == root.parent_path().parent_path() / "blobs";
  if (!is_below(real(hashes != nullptr || in_hub ? path.parent_path() : path), root)) {
    throw bundle_error(path, "leads out of the bundle, expected a file in it");
  }
  const std::string damaged = "; the bundle was damaged or changed";
  try {
    std::error_code missing;
    if (!std::filesystem::is_regular_file(path, missing)) {
      throw bundle_error(path, std::string("missing, expected as in ") + kManifest);
    }
    const auto size = std::filesystem::file_size(path);
    if (entry.at("size") != size) {
      throw bundle_error(path,
                         std::to_string(size) + " bytes, expected " + entry.at("size").dump() + damaged);
    }
    if (hashes == nullptr) return;
    const std::string expected = entry.at("sha256");
    if (const std::string found = hashes->sha256(name); found != expected) {
      throw bundle_error(
          path, "SHA-256 " + found.substr(0, 12) + "…, expected " + expected.substr(0, 12) + "…" + damaged);
    }
  } catch (const std::system_error& error) {
    throw bundle_error(
        path, std::string(std::strerror(error.code().value())) + ", expected a file as in " + kManifest);
  }
}

// A hash of what the files hold: the bundle's identity, wherever it lies; as `mtab.bundle.Bundle.content`.
std::string content_of(const Json& files) {
  std::string pairs;
  for (const auto& [name, entry] : files.items()) {
    pairs += (pairs.empty() ? "[" : ", [") + Json(name).dump(-1, ' ', true) + ", " +
             entry.at("sha256").dump() + "]";
  }
  return sha256("[" + pairs + "]");
}

Json read_manifest(const Path& folder) {
  const Path path = folder / kManifest;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    const std::string found = std::filesystem::is_directory(folder, ignored)
                                  ? std::string("holds no ") + kManifest
                              : std::filesystem::exists(folder, ignored) ? "is a file"
                                                                         : "not found";
    throw bundle_error(folder, found + ", expected a bundle made by mtab-export");
  }
  Json manifest = read_json(path);
  if (manifest.is_object() && manifest.contains("format_version")) {
    const Json& version = manifest.at("format_version");
    const std::string expected = std::to_string(tables::kFormatVersion);
    if (version.is_number_integer() && version > tables::kFormatVersion) {
      throw bundle_error(folder, "bundle format " + version.dump() + " of a newer mtab, expected " +
                                     expected + "; upgrade mtab");
    }
    if (version.is_number_integer() && version > 0 && version < tables::kFormatVersion) {
      throw bundle_error(folder, "bundle format " + version.dump() + " of an older mtab, expected " +
                                     expected + "; export it again");
    }
  }
  require_manifest(manifest, path);
  return manifest;
}

}  // namespace

Path Bundle::tokenizer() const { return folder / kTokenizer; }

const GraphEntry& Bundle::whole(const std::string& precision) const {
  std::vector<std::string> wanted = {precision};
  if (precision == "auto") wanted.assign(std::begin(tables::kPrecisions), std::end(tables::kPrecisions));
  for (const std::string& each : wanted) {
    for (const GraphEntry& graph : graphs) {
      if (graph.part == kWhole && graph.precision == each) return graph;
    }
  }
  std::vector<std::string> found;
  for (const GraphEntry& graph : graphs) {
    if (graph.part == kWhole) found.push_back(graph.part + " " + graph.precision);
  }
  throw bundle_error(folder, "graphs are " + (found.empty() ? "none" : joined(found)) + ", expected " +
                                 kWhole + (precision == "auto" ? "" : " " + precision));
}

Bundle open_bundle(const Path& given, bool verify, const Path& cache) {
  const Path folder = given.empty() ? Path(".") : Path(plain_path(given.native()));
  const Json manifest = read_manifest(folder);
  const Json& files = manifest.at("files");
  {
    HashCache hashes(folder, cache);
    for (const auto& [name, entry] : files.items())
      require_file(folder, name, entry, verify ? &hashes : nullptr);
    if (verify) hashes.save();
  }
  const Json config = read_json(folder / kConfig);
  require_config(config, folder / kConfig);

  Bundle bundle;
  bundle.folder = folder;
  bundle.verified = verify;
  bundle.content = content_of(files);
  const Json& names = config.at("id2label");
  for (std::size_t i = 0; i < names.size(); ++i) bundle.labels.push_back(names.at(std::to_string(i)));
  bundle.modalities = modality_bits(config.at("modalities"));
  for (const Json& each : config.at("supported_modalities")) bundle.supported.push_back(modality_bits(each));
  bundle.embedding_size = count_of(config.at("embedding_size"));
  bundle.dimensions = dimensions_in(config, folder / kConfig);
  for (const auto& [name, size] : config.at("hidden_sizes").items()) {
    bundle.hidden_size = std::max(bundle.hidden_size, count_of(size));
  }
  for (const Json& graph : manifest.at("graphs")) bundle.graphs.push_back(read_graph(graph));

  std::vector<std::string> needed = {kPreprocessor};
  if ((bundle.modalities & kText) != 0) needed.emplace_back(kTokenizer);
  for (const std::string& name : needed) {
    if (!files.contains(name)) throw bundle_error(folder / kManifest, "files lack " + name + ", expected it");
  }
  bundle.preprocessing = read_preprocessor(folder / kPreprocessor);
  const std::uint32_t prepared =
      (bundle.preprocessing.audio ? kAudio : 0U) | (bundle.preprocessing.text ? kText : 0U);
  if (prepared != bundle.modalities) {
    const auto as_list = [](std::uint32_t bits) {
      std::vector<std::string> list;
      if ((bits & kAudio) != 0) list.emplace_back("audio");
      if ((bits & kText) != 0) list.emplace_back("text");
      return listed(list);
    };
    throw bundle_error(folder / kPreprocessor, "modalities are " + as_list(prepared) + ", expected " +
                                                   as_list(bundle.modalities) + " as in " + kConfig);
  }
  return bundle;
}

std::string modality_names(std::uint32_t modalities, const std::string& between) {
  std::vector<std::string> names;
  if ((modalities & kAudio) != 0) names.emplace_back("audio");
  if ((modalities & kText) != 0) names.emplace_back("text");
  return joined(names, between);
}

}  // namespace mtab_core
