// mtab.hpp: objects that free themselves, and exceptions.
#include <mutex>

#include "answers.hpp"

namespace mtab_test {
namespace {

TEST(Wrapper, ThrowsWhatTheLibraryReports) {
  try {
    mtab::Model("/no/such/bundle", load_options());
    FAIL();
  } catch (const mtab::Error& error) {
    EXPECT_EQ(error.code(), MTAB_BUNDLE_ERROR);
    EXPECT_STREQ(error.name(), "BundleError");
    EXPECT_STREQ(error.what(), "/no/such/bundle: not found, expected a bundle made by mtab-export");
  }
}

TEST(Wrapper, HandsOutWhatTheModelSays) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const Json all = json_of(golden / "answers.json").at(0);
  const TemporaryFolder cache;
  std::mutex held;
  std::vector<std::string> lines;
  std::optional<mtab::Result> kept;
  std::vector<mtab::Outcome> outcomes;
  {
    mtab::LoadOptions options = load_options(all.at("precision"));
    // A file in the place of the cache's folder: what cannot be kept is said.
    options.cache_dir = cache.write("file", "").string();
    options.log = [&](mtab_log_level level, const char* message) {
      const std::lock_guard<std::mutex> lock(held);
      EXPECT_EQ(level, MTAB_LOG_WARNING);
      lines.emplace_back(message);
      throw 3;
    };
    const mtab::Model model(all.at("bundle"), options);
    const mtab::Model copy = model;
    EXPECT_EQ(copy.engine(), "onnxruntime");
    EXPECT_EQ(copy.device(), "cpu");
    EXPECT_EQ(Json(copy.labels()), all.at("labels"));
    EXPECT_TRUE(copy.supports(copy.modalities()));
    EXPECT_FALSE(copy.supports(8));
    EXPECT_FALSE(copy.onnxruntime_version().empty());
    const std::string clip = all.at("cases").at(0).at("path");
    kept = copy.predict(mtab::Input::file(clip).with_text("yes").with_span(0.1, 0.3));
    std::vector<mtab::Input> inputs;
    inputs.push_back(mtab::Input::file(clip).with_text("yes"));
    inputs.push_back(mtab::Input::file("gone.wav").with_text("yes").with_name("call 7"));
    outcomes = copy.predict(inputs);
    EXPECT_TRUE(copy.predict(std::vector<mtab::Input>()).empty());
  }
  // Answers outlive their model.
  EXPECT_NEAR(*kept->duration(), 0.2, 1e-9);
  EXPECT_EQ(kept->modalities(), static_cast<std::uint32_t>(MTAB_AUDIO | MTAB_TEXT));
  EXPECT_FALSE(kept->text_truncated());
  EXPECT_GE(kept->score(), 1.0F / static_cast<float>(kept->probabilities().size()));
  EXPECT_FALSE(std::get<mtab::Result>(outcomes.at(0)).label().empty());
  EXPECT_NE(std::get<mtab::Result>(outcomes.at(0)).embedding(), nullptr);
  EXPECT_STREQ(std::get<mtab::Error>(outcomes.at(1)).what(), "call 7: gone.wav: not found, expected a clip");
  ASSERT_FALSE(lines.empty());
  EXPECT_EQ(lines.front().rfind("the optimised graph is not kept: ", 0), 0U) << lines.front();
}

}  // namespace
}  // namespace mtab_test
