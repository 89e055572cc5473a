#include "graph_file.hpp"

#include "error.hpp"
#include "support.hpp"

namespace mtab_core {
namespace {

// A field of a message: its number, and what it holds.
std::string field(int number, const std::string& content) {
  std::string size;
  for (std::size_t left = content.size(); true; left >>= 7U) {
    size += static_cast<char>((left & 127U) | (left > 127 ? 128U : 0U));
    if (left <= 127) break;
  }
  return std::string(1, static_cast<char>(number << 3 | 2)) + size + content;
}

std::string entry(const std::string& key, const std::string& value) {
  return field(13, field(1, key) + field(2, value));
}

// ModelProto { graph: GraphProto { initializer: TensorProto { external_data } } }
std::string model_with(const std::string& location) {
  return field(7, field(5, field(8, "weight") + entry("location", location) + entry("offset", "0")));
}

std::string message_of(const Path& path) {
  try {
    require_own_weights(path);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), MTAB_ENGINE_ERROR);
    return error.message();
  }
  return "none";
}

TEST(GraphFile, NamesTheFilesOfItsWeights) {
  EXPECT_EQ(weight_files(model_with("model.onnx.data"), "m"), std::vector<std::string>{"model.onnx.data"});
  // Of a graph within an attribute of a node too.
  const std::string inner = field(7, field(1, field(5, field(6, field(5, entry("location", "a"))))));
  EXPECT_EQ(weight_files(model_with("b") + inner, "m"), (std::vector<std::string>{"b", "a"}));
  EXPECT_TRUE(weight_files("", "m").empty());
}

TEST(GraphFile, WithWeightsElsewhereIsRefused) {
  const mtab_test::TemporaryFolder folder;
  for (const char* name : {"../a.data", "/etc/passwd", "b/../../a", ""}) {
    const Path path = folder.write("m.onnx", model_with(name));
    EXPECT_EQ(message_of(path),
              path.string() + ": takes weights from '" + name + "', expected a file in its folder");
  }
  folder.write("m.onnx.data", "");
  EXPECT_EQ(message_of(folder.write("m.onnx", model_with("m.onnx.data"))), "none");
  std::filesystem::create_symlink("/etc/passwd", folder.path() / "link");
  EXPECT_NE(message_of(folder.write("m.onnx", model_with("link"))), "none");
}

TEST(GraphFile, ThatIsNoneIsRefused) {
  const mtab_test::TemporaryFolder folder;
  for (const std::string text : {"\x3f", "\x0a\x7f", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"}) {
    const Path path = folder.write("m.onnx", text);
    EXPECT_EQ(message_of(path), path.string() + ": is no ONNX graph");
  }
  std::string deep = "x";
  for (int i = 0; i < 3000; ++i) deep = field(1, field(5, field(6, deep)));
  EXPECT_NE(message_of(folder.write("m.onnx", field(7, deep))), "none");
  EXPECT_NE(message_of(folder.write("m.onnx", "")), "none");
  EXPECT_NE(message_of(folder.path() / "gone.onnx"), "none");
}

TEST(GraphFile, OfABundleIsItsOwn) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for (const auto& each : mtab_test::json_of(golden / "answers.json")) {
    const Path path = Path(each.at("bundle").get<std::string>()) / "model.onnx";
    EXPECT_EQ(message_of(path), "none");
    EXPECT_EQ(weight_files(read_file(path), path), std::vector<std::string>{"model.onnx.data"});
  }
}

}  // namespace
}  // namespace mtab_core
