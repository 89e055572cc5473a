// What the tests share: golden files of the Python runtime, and temporary folders.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

// Compiled once: in the library's own json.cpp, or in json_test_support.cpp.
extern template class nlohmann::basic_json<>;

namespace mtab_test {

// The value of an environment variable, nothing where it is not set.
inline std::optional<std::string> environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? std::optional<std::string>(value) : std::nullopt;
}

// ONNX Runtime's library, or what the system finds.
inline std::string library() { return environment("MTAB_ONNXRUNTIME").value_or(""); }

inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline nlohmann::json json_of(const std::filesystem::path& path) {
  const std::string text = content_of(path);
  if (text.empty()) throw std::runtime_error(path.string() + ": not found, expected golden files");
  return nlohmann::json::parse(text);
}

// A folder that is empty, and gone at the end.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "mtab-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  // A file in it, with folders around it where its name has them.
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

}  // namespace mtab_test

// The folder of golden files of one kind; the test is skipped where there are none.
#define MTAB_GOLDEN_OR_SKIP(variable, kind)                                        \
  const auto variable##_root = mtab_test::environment("MTAB_GOLDEN");              \
  if (!variable##_root) GTEST_SKIP() << "no golden files: MTAB_GOLDEN is not set"; \
  const std::filesystem::path variable = std::filesystem::path(*variable##_root) / kind
