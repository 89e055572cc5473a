#include "engine.hpp"

#include "error.hpp"
#include "graph_cache.hpp"
#include "machine.hpp"
#include "support.hpp"

namespace mtab_core {
namespace {

using mtab_test::TemporaryFolder;

std::string message_of(const std::function<void()>& action, mtab_code code = MTAB_ENGINE_ERROR) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code);
    return error.message();
  }
  return "no error";
}

TEST(OnnxRuntime, ThatIsAbsentIsAnError) {
  const std::string message = message_of([] { OnnxRuntime("/no/such/libonnxruntime.so"); });
  EXPECT_EQ(message.rfind("ONNX Runtime: /no/such/libonnxruntime.so cannot be loaded (", 0), 0U) << message;
  EXPECT_NE(message.find("), expected its shared library, 1.21 or newer"), std::string::npos) << message;
}

TEST(OnnxRuntime, ThatIsAnotherLibraryIsAnError) {
  EXPECT_EQ(message_of([] { OnnxRuntime("libsndfile.so.1"); }),
            "libsndfile.so.1: has no OrtGetApiBase, expected ONNX Runtime's shared library");
}

TEST(OnnxRuntime, ThatIsTooOldIsAnError) {
  EXPECT_EQ(message_of([] { OnnxRuntime(MTAB_OLD_ONNXRUNTIME); }),
            "ONNX Runtime 1.20.1 is too old, expected 1.21 or newer");
}

class EngineOfABundle : public testing::Test {
 protected:
  void SetUp() override {
    MTAB_GOLDEN_OR_SKIP(golden, "model");
    const auto answers = mtab_test::json_of(golden / "answers.json");
    folder_ = answers.at(0).at("bundle").get<std::string>();
    graph_folder_ = answers.at(0).at("graph_folder").get<std::string>();
    options_.library = mtab_test::library();
    options_.device = "cpu";
    options_.engine = "onnxruntime";
    options_.precision = answers.at(0).at("precision").get<std::string>();
    bundle_ = open_bundle(folder_, true, "");
  }

  Batch silence() const {
    Batch batch;
    batch.utterances = 1;
    batch.samples = 16000;
    batch.input_values.assign(16000, 0.0F);
    batch.audio_lengths = {16000};
    batch.tokens = 3;
    batch.input_ids = {0, 4, 2};
    batch.text_lengths = {3};
    return batch;
  }

  Path folder_;
  std::string graph_folder_;
  EngineOptions options_;
  Bundle bundle_;
};

TEST_F(EngineOfABundle, RefusesWhatCannotBeHad) {
  const auto with = [&](auto change) {
    EngineOptions options = options_;
    change(options);
    return message_of([&] { Engine(bundle_, options); });
  };
  EXPECT_EQ(with([](EngineOptions& o) { o.engine = "torch"; }),
            "engine 'torch', expected auto, onnxruntime, onnxruntime-tensorrt, onnxruntime-tensorrt-rtx");
  EXPECT_EQ(with([](EngineOptions& o) { o.device = "gpu"; }),
            "device 'gpu', expected cpu, cuda or cuda:N with engine onnxruntime");
  EXPECT_EQ(with([](EngineOptions& o) { o.device = "cpu:1"; }),
            "device 'cpu:1', expected cpu, cuda or cuda:N with engine onnxruntime");
  EXPECT_EQ(with([](EngineOptions& o) { o.device = "cuda:-1"; }),
            "device 'cuda:-1', expected cpu, cuda or cuda:N with engine onnxruntime");
  EXPECT_EQ(with([](EngineOptions& o) { o.engine = "onnxruntime-tensorrt", o.device = "cpu"; }),
            "device 'cpu', expected cuda or cuda:N with engine onnxruntime-tensorrt");
  EXPECT_EQ(with([](EngineOptions& o) { o.threads = -2; }), "-2 threads, expected 1 or more");
  EXPECT_EQ(
      with([](EngineOptions& o) { o.engine = "onnxruntime-tensorrt-rtx", o.device = "cuda"; }),
      "device cuda: no provider_library, expected the path of TensorRT-RTX's provider for ONNX Runtime");
  EngineOptions missing = options_;
  missing.precision = "bf16";
  EXPECT_NE(message_of([&] { Engine(bundle_, missing); }, MTAB_BUNDLE_ERROR).find("expected fused bf16"),
            std::string::npos);
}

TEST_F(EngineOfABundle, NeverGoesOnOnTheCpu) {
  EngineOptions options = options_;
  options.device = "cuda";
  if (cuda_gpus() > 0) GTEST_SKIP() << "there is a GPU";
  EXPECT_EQ(message_of([&] { Engine(bundle_, options); }),
            "device cuda: this ONNX Runtime has no CUDAExecutionProvider, expected one that has");
  options.engine = "onnxruntime-tensorrt-rtx";
  options.provider_library = "/no/such/plugin.so";
  const std::string message = message_of([&] { Engine(bundle_, options); });
  EXPECT_EQ(message.rfind("device cuda: NvTensorRTRTXExecutionProvider cannot be loaded (", 0), 0U)
      << message;
}

TEST_F(EngineOfABundle, RefusesAGraphOfAnotherModel) {
  bundle_.labels.emplace_back("one too many");
  const std::string message = message_of([&] { Engine(bundle_, options_); });
  EXPECT_NE(message.find(": answers logits float32 [batch, "), std::string::npos) << message;
  EXPECT_NE(message.find(", expected logits float32 [batch, "), std::string::npos) << message;
}

TEST_F(EngineOfABundle, BeginsFromTheOptimisedGraph) {
  const TemporaryFolder cache;
  options_.cache = cache.path();
  const Answers plain = Engine(bundle_, options_).run(silence());
  const Path kept = cache.path() / "graphs" / graph_folder_;
  ASSERT_TRUE(std::filesystem::is_regular_file(kept / "graph.onnx"));
  EXPECT_TRUE(unstamped(kept, "").empty());
  EXPECT_EQ(Engine(bundle_, options_).run(silence()).logits, plain.logits);
  // What was changed is made anew.
  std::ofstream(kept / "graph.onnx", std::ios::app) << "x";
  EXPECT_EQ(unstamped(kept, "").size(), 1U);
  EXPECT_EQ(Engine(bundle_, options_).run(silence()).logits, plain.logits);
  EXPECT_TRUE(unstamped(kept, "").empty());
  // And what nobody can write keeps no model from being loaded.
  options_.cache = "/proc/no/such/place";
  EXPECT_EQ(Engine(bundle_, options_).run(silence()).logits, plain.logits);
}

TEST_F(EngineOfABundle, SaysWhyItFails) {
  const Engine engine(bundle_, options_);
  Batch batch = silence();
  batch.input_ids = {0, 1 << 30, 2};
  const std::string message = message_of([&] { static_cast<void>(engine.run(batch)); });
  EXPECT_NE(message.find(
                ": ONNX Runtime fails on cpu with input_values [1, 16000], audio_lengths [1], input_ids [1, "
                "3], text_lengths [1] ("),
            std::string::npos)
      << message;
}

TEST_F(EngineOfABundle, RefusesABatchThatDoesNotFit) {
  bundle_.graphs.front().memory = MemoryNeed{};
  for (auto& graph : bundle_.graphs) graph.memory->per_sample = 1e15;
  const Engine engine(bundle_, options_);
  const std::string message =
      message_of([&] { static_cast<void>(engine.run(silence())); }, MTAB_MEMORY_LIMIT_ERROR);
  EXPECT_EQ(message.rfind("a clip of 1.0 s: needs about ", 0), 0U) << message;
}

TEST(Strictness, CountsWhatAProviderLeft) {
  const Json profile = Json::parse(R"([
    {"name": "session", "args": {}},
    {"name": "a", "args": {"op_name": "MatMul", "provider": "CPUExecutionProvider"}},
    {"name": "b", "args": {"op_name": "MatMul", "provider": "CUDAExecutionProvider"}},
    {"name": "c", "args": {"op_name": "Shape", "provider": "CPUExecutionProvider"}}, 3, {"args": 4}])");
  const auto left = operators_on(profile, "CPUExecutionProvider");
  EXPECT_EQ(left, (std::map<std::string, int>{{"MatMul", 1}, {"Shape", 1}}));
  EXPECT_EQ(message_of([&] { require_no_compute_on_cpu(left, "m.onnx", "CUDAExecutionProvider", "cuda"); }),
            "m.onnx: CUDAExecutionProvider leaves 1 MatMul to the CPU, expected all on cuda; another "
            "precision may be");
  require_no_compute_on_cpu({{"Shape", 4}, {"Gather", 2}}, "m.onnx", "CUDAExecutionProvider", "cuda");
}

}  // namespace
}  // namespace mtab_core
