// Utterances of the golden files as the C interface takes them.
#pragma once

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "mtab.hpp"
#include "support.hpp"

namespace mtab_test {

using Json = nlohmann::json;

// An mtab_input with what it refers to.
class Case {
 public:
  explicit Case(const Json& values) {
    text_of(values, "path", path_, input_.path);
    text_of(values, "name", name_, input_.name);
    if (values.contains("text")) {
      text_ = values.at("text");
      input_.text = text_.data();
      input_.text_size = text_.size();
    }
    input_.start = values.value("start", 0.0);
    input_.end = values.value("end", 0.0);
    options_.top_k = values.value("top_k", std::size_t{0});
    options_.abstain = values.value("abstain", 0.0);
    if (values.contains("content")) {
      bytes_ = content_of(values.at("content").get<std::string>());
      input_.content = bytes_.data();
      input_.content_size = bytes_.size();
    }
    if (values.contains("samples")) read_samples(values);
  }
  Case(const Case&) = delete;
  Case& operator=(const Case&) = delete;

  [[nodiscard]] const mtab_input& input() const { return input_; }
  [[nodiscard]] const mtab_predict_options& options() const { return options_; }

 private:
  static void text_of(const Json& values, const char* key, std::string& kept, const char*& field) {
    if (!values.contains(key)) return;
    kept = values.at(key);
    field = kept.c_str();
  }

  void read_samples(const Json& values) {
    // Of the golden clips: 16 bits, mono, 44 bytes of head.
    const std::string wav = content_of(values.at("samples").get<std::string>());
    std::vector<std::int16_t> pcm((wav.size() - 44) / 2);
    std::memcpy(pcm.data(), wav.data() + 44, 2 * pcm.size());
    const std::string type = values.at("type");
    input_.channels = values.value("channels", 1);
    pcm.resize(pcm.size() / static_cast<std::size_t>(input_.channels) *
               static_cast<std::size_t>(input_.channels));
    input_.frames = pcm.size() / static_cast<std::size_t>(input_.channels);
    input_.sample_rate = values.at("sample_rate");
    const auto fill = [&](auto kind, auto convert) {
      using Value = decltype(kind);
      bytes_.resize(pcm.size() * sizeof(Value));
      for (std::size_t i = 0; i < pcm.size(); ++i) {
        Value value = convert(pcm[i]);
        if (values.contains("nan_at") && values.at("nan_at") == i) value = static_cast<Value>(std::nan(""));
        std::memcpy(bytes_.data() + i * sizeof(Value), &value, sizeof(Value));
      }
    };
    if (type == "int16") {
      input_.sample_type = MTAB_INT16;
      fill(std::int16_t{}, [](std::int16_t v) { return v; });
    } else if (type == "int32") {
      input_.sample_type = MTAB_INT32;
      const bool small = values.value("as_int16", false);
      fill(std::int32_t{},
           [small](std::int16_t v) { return small ? std::int32_t{v} : std::int32_t{v} * 65536; });
    } else if (type == "float32") {
      input_.sample_type = MTAB_FLOAT32;
      fill(float{}, [](std::int16_t v) { return static_cast<float>(v / 32768.0); });
    } else {
      input_.sample_type = MTAB_FLOAT64;
      fill(double{}, [](std::int16_t v) { return v / 32768.0; });
    }
    input_.samples = bytes_.data();
  }

  mtab_input input_ = MTAB_INPUT_INIT;
  mtab_predict_options options_ = MTAB_PREDICT_OPTIONS_INIT;
  std::string path_;
  std::string name_;
  std::string text_;
  std::string bytes_;
};

// How the tests open a bundle, without a trace in the user's cache.
inline mtab::LoadOptions load_options(const std::string& precision = "") {
  mtab::LoadOptions options;
  options.onnxruntime_library = library();
  options.engine = "onnxruntime";
  options.device = "cpu";
  options.precision = precision;
  options.cache_dir = environment("MTAB_TEST_CACHE").value_or("");
  return options;
}

// Hold an answer against Python's.
inline void expect_answer(const mtab_result* result, const Json& expected, std::size_t width) {
  ASSERT_FALSE(expected.contains("error")) << "answered, expected " << expected.at("message");
  EXPECT_EQ(mtab_result_label(result), expected.at("label").get<std::string>());
  ASSERT_EQ(mtab_result_count(result), expected.at("probabilities").size());
  for (std::size_t i = 0; i < mtab_result_count(result); ++i) {
    EXPECT_EQ(mtab_result_class(result, i), expected.at("probabilities")[i][0].get<std::string>());
    EXPECT_NEAR(mtab_result_probability(result, i), expected.at("probabilities")[i][1].get<double>(), 1e-5);
  }
  for (std::size_t i = 0; i < width; ++i) {
    const double value = expected.at("embedding")[i];
    EXPECT_NEAR(mtab_result_embedding(result)[i], value, 1e-4 + 1e-4 * std::fabs(value));
  }
  const Json& dimensions = expected.at("dimensions");
  EXPECT_EQ(mtab_result_dimensions(result) == nullptr, dimensions.empty());
  for (std::size_t i = 0; i < dimensions.size(); ++i) {
    const double value = dimensions[i];
    EXPECT_NEAR(mtab_result_dimensions(result)[i], value, 1e-4 + 1e-4 * std::fabs(value));
  }
  const Json& duration = expected.at("duration");
  if (duration.is_null()) {
    EXPECT_TRUE(std::isnan(mtab_result_duration(result)));
  } else {
    EXPECT_DOUBLE_EQ(mtab_result_duration(result), duration.get<double>());
  }
  std::string modalities = (mtab_result_modalities(result) & MTAB_AUDIO) != 0 ? "audio" : "";
  if ((mtab_result_modalities(result) & MTAB_TEXT) != 0) modalities += modalities.empty() ? "text" : "+text";
  EXPECT_EQ(modalities, expected.at("modalities").get<std::string>());
  EXPECT_EQ(mtab_result_text_truncated(result) != 0, expected.at("text_truncated").get<bool>());
}

inline void expect_error(mtab_code code, const std::string& message, const Json& expected) {
  ASSERT_TRUE(expected.contains("error")) << message << ", expected an answer";
  EXPECT_EQ(mtab_code_name(code), expected.at("error").get<std::string>());
  EXPECT_EQ(message, expected.at("message").get<std::string>());
}

}  // namespace mtab_test
