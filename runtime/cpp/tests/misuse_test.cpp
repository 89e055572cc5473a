// What a program gets wrong is an error, and never a crash.
#include <cstring>
#include <limits>
#include <thread>

#include "answers.hpp"

namespace mtab_test {
namespace {

class Misuse : public testing::Test {
 protected:
  void SetUp() override {
    MTAB_GOLDEN_OR_SKIP(golden, "model");
    const Json all = json_of(golden / "answers.json").at(0);
    bundle_ = all.at("bundle");
    model_.emplace(bundle_, load_options(all.at("precision")));
    clip_ = all.at("cases").at(0).at("path");
    input_.path = clip_.c_str();
    input_.text = "yes";
  }

  // The message of a call that fails with `code`.
  template <typename Call>
  std::string message(const Call& call, mtab_code code = MTAB_INVALID_ARGUMENT) {
    mtab_error* error = nullptr;
    EXPECT_EQ(call(&error), code);
    EXPECT_EQ(mtab_error_code(error), code);
    std::string text = mtab_error_message(error);
    mtab_error_free(error);
    // Nobody has to take the error.
    EXPECT_EQ(call(nullptr), code);
    return text;
  }

  std::string predicting(const mtab_input& input, mtab_code code = MTAB_INVALID_ARGUMENT) {
    mtab_result* result = nullptr;
    return message(
        [&](mtab_error** error) { return mtab_predict(model_->get(), &input, nullptr, &result, error); },
        code);
  }

  std::string bundle_;
  std::string clip_;
  std::optional<mtab::Model> model_;
  mtab_input input_ = MTAB_INPUT_INIT;
};

TEST_F(Misuse, OfNull) {
  mtab_result* result = nullptr;
  mtab_results* results = nullptr;
  mtab_stream* stream = nullptr;
  mtab_model* model = nullptr;
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_load(nullptr, nullptr, &model, e); }),
            "bundle is NULL, expected the path of a folder");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_load(bundle_.c_str(), nullptr, nullptr, e); }),
            "model is NULL, expected where to put it");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_predict(nullptr, &input_, nullptr, &result, e); }),
            "model is NULL, expected a handle");
  EXPECT_EQ(
      message([&](mtab_error** e) { return mtab_predict(model_->get(), nullptr, nullptr, &result, e); }),
      "input is NULL, expected an utterance");
  EXPECT_EQ(
      message([&](mtab_error** e) { return mtab_predict(model_->get(), &input_, nullptr, nullptr, e); }),
      "result is NULL, expected where to put it");
  EXPECT_EQ(message([&](mtab_error** e) {
              return mtab_predict_batch(model_->get(), nullptr, 3, nullptr, &results, e);
            }),
            "inputs is NULL, expected 3");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_stream_create(nullptr, 16000, 1, &stream, e); }),
            "model is NULL, expected a handle");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_stream_accept(nullptr, nullptr, 0, e); }),
            "stream is NULL, expected a handle");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_stream_set_text(nullptr, "a", 1, e); }),
            "stream is NULL, expected a handle");
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_stream_finish(nullptr, nullptr, &result, e); }),
            "stream is NULL, expected a handle");
  mtab_error_free(nullptr);
  mtab_model_free(nullptr);
  mtab_result_free(nullptr);
  mtab_results_free(nullptr);
  mtab_stream_free(nullptr);
  mtab_stream_reset(nullptr);
  EXPECT_EQ(mtab_model_label_count(nullptr), 0U);
  EXPECT_EQ(mtab_model_label(nullptr, 0), nullptr);
  EXPECT_EQ(mtab_model_engine(nullptr), nullptr);
  EXPECT_EQ(mtab_model_device(nullptr), nullptr);
  EXPECT_EQ(mtab_model_precision(nullptr), nullptr);
  EXPECT_EQ(mtab_model_onnxruntime_version(nullptr), nullptr);
  EXPECT_EQ(mtab_model_embedding_size(nullptr), 0U);
  EXPECT_EQ(mtab_model_dimension_count(nullptr), 0U);
  EXPECT_EQ(mtab_model_dimension(nullptr, 0), nullptr);
  EXPECT_EQ(mtab_model_modalities(nullptr), 0U);
  EXPECT_EQ(mtab_model_supports(nullptr, MTAB_AUDIO), 0);
  EXPECT_EQ(mtab_result_label(nullptr), nullptr);
  EXPECT_TRUE(std::isnan(mtab_result_score(nullptr)));
  EXPECT_EQ(mtab_result_count(nullptr), 0U);
  EXPECT_EQ(mtab_result_class(nullptr, 0), nullptr);
  EXPECT_TRUE(std::isnan(mtab_result_probability(nullptr, 0)));
  EXPECT_EQ(mtab_result_logits(nullptr), nullptr);
  EXPECT_EQ(mtab_result_embedding(nullptr), nullptr);
  EXPECT_EQ(mtab_result_dimensions(nullptr), nullptr);
  EXPECT_TRUE(std::isnan(mtab_result_duration(nullptr)));
  EXPECT_EQ(mtab_result_modalities(nullptr), 0U);
  EXPECT_EQ(mtab_result_text_truncated(nullptr), 0);
  EXPECT_EQ(mtab_results_count(nullptr), 0U);
  EXPECT_EQ(mtab_results_get(nullptr, 0), nullptr);
  EXPECT_EQ(mtab_results_error(nullptr, 0), nullptr);
  EXPECT_EQ(mtab_error_code(nullptr), MTAB_OK);
  EXPECT_STREQ(mtab_error_message(nullptr), "");
  EXPECT_EQ(mtab_stream_seconds(nullptr), 0.0);
  EXPECT_EQ(result, nullptr);
  EXPECT_EQ(results, nullptr);
  EXPECT_EQ(stream, nullptr);
}

TEST_F(Misuse, OfAnotherKindOfHandle) {
  mtab_result* result = nullptr;
  ASSERT_EQ(mtab_predict(model_->get(), &input_, nullptr, &result, nullptr), MTAB_OK);
  auto* wrong = reinterpret_cast<mtab_model*>(result);
  mtab_result* other = nullptr;
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_predict(wrong, &input_, nullptr, &other, e); }),
            "model is freed or another handle, expected a live one of its kind");
  EXPECT_EQ(mtab_model_label(wrong, 0), nullptr);
  mtab_model_free(wrong);  // does nothing
  EXPECT_NE(mtab_result_label(result), nullptr);
  EXPECT_EQ(mtab_result_class(result, 999), nullptr);
  mtab_result_free(result);
}

TEST_F(Misuse, OfStructures) {
  mtab_input input = input_;
  input.struct_size = 0;
  EXPECT_EQ(predicting(input), "input.struct_size is 0, expected " + std::to_string(sizeof(mtab_input)) +
                                   ": initialise it with its _INIT");
  input.struct_size = std::numeric_limits<std::size_t>::max();
  EXPECT_NE(predicting(input).find("input.struct_size is "), std::string::npos);
  // No header's, and where the next one of a batch would lie askew.
  input.struct_size = sizeof(mtab_input) + 1;
  EXPECT_NE(predicting(input).find("input.struct_size is "), std::string::npos);
  // Of an older header, which ended before the text.
  input = input_;
  input.struct_size = offsetof(mtab_input, text);
  EXPECT_NE(predicting(input, MTAB_TEXT_ERROR).find("no transcript"), std::string::npos);
  // Of a newer one, with a field that is not set, and one that is.
  struct Newer {
    mtab_input known;
    double added;
  } newer{input_, 0.0};
  newer.known.struct_size = sizeof(Newer);
  mtab_result* result = nullptr;
  ASSERT_EQ(mtab_predict(model_->get(), &newer.known, nullptr, &result, nullptr), MTAB_OK);
  mtab_result_free(result);
  newer.added = 1.0;
  EXPECT_NE(predicting(newer.known).find("sets a field that this mtab does not know"), std::string::npos);
  // In an array each is as long as the first.
  std::vector<mtab_input> inputs = {input_, input_};
  inputs[1].struct_size = 8;
  mtab_results* results = nullptr;
  EXPECT_EQ(
      message([&](mtab_error** e) {
        return mtab_predict_batch(model_->get(), inputs.data(), 2, nullptr, &results, e);
      }),
      "inputs[1].struct_size is 8, expected " + std::to_string(sizeof(mtab_input)) + " as in the first");
}

TEST_F(Misuse, OfInputs) {
  const float sample = 0.0F;
  mtab_input input = input_;
  input.samples = &sample;
  EXPECT_EQ(predicting(input), "input has 2 of path, content and samples, expected one");
  input.path = nullptr;
  input.sample_type = 17;
  EXPECT_EQ(predicting(input),
            "sample_type is 17, expected MTAB_FLOAT32, MTAB_FLOAT64, MTAB_INT16 or MTAB_INT32");
  input.sample_type = MTAB_FLOAT64;
  input.frames = std::numeric_limits<std::size_t>::max() / 2;
  EXPECT_NE(predicting(input).find("expected samples that fit memory"), std::string::npos);
  input.frames = 0;
  EXPECT_EQ(predicting(input, MTAB_AUDIO_ERROR),
            "utterance 0: audio array: holds no sample, expected a clip");
  input.samples = nullptr;
  input.frames = 3;
  EXPECT_EQ(predicting(input), "samples is NULL, expected frames 3");
  input.frames = 0;
  input.content_size = 3;
  EXPECT_EQ(predicting(input), "content is NULL, expected content_size 3 bytes");
  input.content = &sample;
  input.content_size = 0;
  EXPECT_EQ(predicting(input, MTAB_AUDIO_ERROR),
            "utterance 0: audio bytes: unreadable (0 bytes), expected a clip");
  input = input_;
  input.text_size = std::numeric_limits<std::size_t>::max() - 7;
  EXPECT_NE(predicting(input).find("text_size is "), std::string::npos);
  input.text = "caf\xc3";
  input.text_size = 4;
  EXPECT_NE(predicting(input, MTAB_TEXT_ERROR).find("expected valid UTF-8"), std::string::npos);
  input = input_;
  input.start = std::nan("");
  EXPECT_EQ(mtab_error_code(nullptr), MTAB_OK);
  predicting(input, MTAB_AUDIO_ERROR);
  input.path = "";
  input.start = 0;
  EXPECT_EQ(predicting(input, MTAB_AUDIO_ERROR), "utterance 0: '': not found, expected a clip");
}

TEST_F(Misuse, OfOptions) {
  mtab_result* result = nullptr;
  mtab_predict_options options = MTAB_PREDICT_OPTIONS_INIT;
  const auto with = [&](mtab_code code) {
    return message([&](mtab_error** e) { return mtab_predict(model_->get(), &input_, &options, &result, e); },
                   code);
  };
  options.abstain = std::nan("");
  EXPECT_EQ(with(MTAB_ERROR), "abstain is nan, expected a probability from 0 to 1");
  options.abstain = 0;
  options.batch_seconds = -1;
  EXPECT_EQ(with(MTAB_ERROR), "batches of -1.0 seconds, expected more than 0");
  mtab_load_options load = MTAB_LOAD_OPTIONS_INIT;
  const std::string path = library();
  load.onnxruntime_library = path.c_str();
  load.cache_dir = "";
  load.max_seconds = -3;
  mtab_model* model = nullptr;
  EXPECT_EQ(message([&](mtab_error** e) { return mtab_load(bundle_.c_str(), &load, &model, e); }, MTAB_ERROR),
            "at most -3.0 seconds, expected more than 0");
  load.max_seconds = 0;
  load.precision = "fp8";
  // No level of the header's, as a program in C may give.
  const int level = 40;
  std::memcpy(&load.log_level, &level, sizeof level);
  load.log = [](void*, mtab_log_level, const char*) { ADD_FAILURE(); };
  EXPECT_NE(
      message([&](mtab_error** e) { return mtab_load(bundle_.c_str(), &load, &model, e); }, MTAB_BUNDLE_ERROR)
          .find("expected fused fp8"),
      std::string::npos);
}

TEST_F(Misuse, LargeAndEmptyInputsAreAnswered) {
  mtab_results* results = nullptr;
  ASSERT_EQ(mtab_predict_batch(model_->get(), nullptr, 0, nullptr, &results, nullptr), MTAB_OK);
  EXPECT_EQ(mtab_results_count(results), 0U);
  mtab_results_free(results);
  mtab_predict_options options = MTAB_PREDICT_OPTIONS_INIT;
  options.top_k = std::numeric_limits<std::size_t>::max();
  options.batch_size = std::numeric_limits<std::size_t>::max();
  options.batch_seconds = std::numeric_limits<double>::infinity();
  ASSERT_EQ(mtab_predict_batch(model_->get(), &input_, 1, &options, &results, nullptr), MTAB_OK);
  EXPECT_EQ(mtab_result_count(mtab_results_get(results, 0)), model_->labels().size());
  mtab_results_free(results);
  // Of which 32 batches, as many as are read ahead, are more than a size holds.
  options.batch_size = std::size_t{1} << (std::numeric_limits<std::size_t>::digits - 1);
  ASSERT_EQ(mtab_predict_batch(model_->get(), &input_, 1, &options, &results, nullptr), MTAB_OK);
  EXPECT_EQ(mtab_results_count(results), 1U);
  mtab_results_free(results);
  const std::string huge(200000, 'a');
  mtab_input input = input_;
  input.text = huge.c_str();
  EXPECT_EQ(predicting(input, MTAB_TEXT_ERROR),
            clip_ + ": text of 200000 characters, expected at most 100000");
}

// A bundle that would have a transcript alone padded with more than there is.
TEST_F(Misuse, OfALeastLengthThatNoMemoryHolds) {
  const TemporaryFolder copy;
  std::filesystem::copy(bundle_, copy.path());
  Json config = json_of(copy.path() / "config.json");
  Json preprocessor = json_of(copy.path() / "preprocessor_config.json");
  if (config.at("modalities").size() < 2) GTEST_SKIP() << "a bundle of one modality";
  config["supported_modalities"] = {{"text"}, {"audio", "text"}};
  preprocessor["min_samples"] = std::int64_t{1} << 48;
  Json manifest = json_of(copy.path() / "manifest.json");
  for (const auto& [name, json] :
       {std::pair{"config.json", config}, {"preprocessor_config.json", preprocessor}}) {
    const std::string text = json.dump();
    copy.write(name, text);
    manifest["files"][name]["size"] = text.size();
  }
  // Which the bundle says, too.
  for (Json& graph : manifest["graphs"]) {
    graph["memory"] = {{"per_sample", 0}, {"per_frame", 0}, {"per_score", 0}, {"per_convolved", 0}};
  }
  copy.write("manifest.json", manifest.dump());
  mtab::LoadOptions options = load_options();
  options.verify = false;
  const mtab::Model model(copy.path().string(), options);
  mtab_input input = input_;
  input.path = nullptr;
  mtab_result* result = nullptr;
  EXPECT_NE(message([&](mtab_error** e) { return mtab_predict(model.get(), &input, nullptr, &result, e); },
                    MTAB_MEMORY_LIMIT_ERROR)
                .find("GB of memory, expected at most"),
            std::string::npos);
}

TEST_F(Misuse, SaysWhichInputOfABatchItIs) {
  std::vector<mtab_input> inputs = {input_, input_};
  inputs[1].sample_type = 9;
  inputs[1].path = nullptr;
  const float sample = 0.0F;
  inputs[1].samples = &sample;
  mtab_results* results = nullptr;
  EXPECT_EQ(message([&](mtab_error** e) {
              return mtab_predict_batch(model_->get(), inputs.data(), 2, nullptr, &results, e);
            }),
            "inputs[1]: sample_type is 9, expected MTAB_FLOAT32, MTAB_FLOAT64, MTAB_INT16 or MTAB_INT32");
}

TEST_F(Misuse, NothingMakesAMessageTwoLines) {
  mtab_input input = input_;
  input.path = "a\nb\r\n.wav";
  EXPECT_EQ(predicting(input, MTAB_AUDIO_ERROR), "a b .wav: not found, expected a clip");
}

TEST_F(Misuse, OfAPathWithANul) {
  try {
    mtab::Input::file(std::string("a.wav\0b", 7));
    FAIL();
  } catch (const mtab::Error& error) {
    EXPECT_EQ(error.code(), MTAB_INVALID_ARGUMENT);
  }
}

TEST_F(Misuse, AnInputThatIsZeroButForItsSizeIsTheDefault) {
  mtab_input input;
  std::memset(&input, 0, sizeof input);
  input.struct_size = sizeof input;
  input.path = clip_.c_str();
  input.text = "yes";
  mtab_result* result = nullptr;
  ASSERT_EQ(mtab_predict(model_->get(), &input, nullptr, &result, nullptr), MTAB_OK);
  EXPECT_EQ(mtab_result_modalities(result), static_cast<std::uint32_t>(MTAB_AUDIO | MTAB_TEXT));
  mtab_result_free(result);
}

TEST(Codes, HaveNames) {
  EXPECT_STREQ(mtab_code_name(MTAB_OK), "OK");
  EXPECT_STREQ(mtab_code_name(MTAB_MEMORY_LIMIT_ERROR), "MemoryLimitError");
  EXPECT_STREQ(mtab_code_name(99), "UnknownError");
  EXPECT_EQ(mtab_abi_version(), static_cast<std::uint32_t>(MTAB_ABI_VERSION));
}

}  // namespace
}  // namespace mtab_test
