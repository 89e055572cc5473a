#include <random>

#include "answers.hpp"

namespace mtab_test {
namespace {

class StreamOfABundle : public testing::Test {
 protected:
  void SetUp() override {
    MTAB_GOLDEN_OR_SKIP(golden, "model");
    const Json all = json_of(golden / "answers.json").at(0);
    model_.emplace(all.at("bundle"), load_options(all.at("precision")));
    std::mt19937 random(3);
    std::normal_distribution<float> noise(0.0F, 0.1F);
    samples_.resize(2 * 70000);
    for (float& sample : samples_) sample = noise(random);
  }

  [[nodiscard]] std::vector<float> probabilities(const mtab::Result& result) const {
    std::vector<float> found;
    for (const auto& [label, probability] : result.probabilities()) found.push_back(probability);
    return found;
  }

  std::optional<mtab::Model> model_;
  std::vector<float> samples_;
};

TEST_F(StreamOfABundle, EndsWithTheAnswerOfPredict) {
  std::mt19937 random(11);
  for (const double rate : {16000.0, 44100.0, 8000.0, 22050.5}) {
    for (const std::int32_t channels : {1, 2}) {
      const std::size_t frames = 60001;
      const auto whole = model_->predict(
          mtab::Input::samples(samples_.data(), frames, rate, channels).with_text("so it is"));
      mtab::Stream stream = model_->stream(rate, channels);
      for (int round = 0; round < 2; ++round) {
        for (std::size_t start = 0; start < frames;) {
          const std::size_t count = std::min<std::size_t>(frames - start, random() % 9000);
          stream.accept(samples_.data() + start * static_cast<std::size_t>(channels), count);
          start += count;
        }
        EXPECT_DOUBLE_EQ(stream.seconds(), 60001 / rate);
        stream.set_text("so it is");
        const auto last = stream.finish();
        EXPECT_EQ(probabilities(last), probabilities(whole)) << rate << " " << channels;
        EXPECT_EQ(last.duration(), whole.duration());
        EXPECT_EQ(stream.seconds(), 0.0);
      }
    }
  }
}

TEST_F(StreamOfABundle, AnswersFromItsWindow) {
  mtab::Stream stream = model_->stream(16000);
  stream.set_text("well");
  stream.accept(samples_.data(), 50000);
  const auto expect = [&](double seconds, std::size_t count) {
    const auto part =
        model_->predict(mtab::Input::samples(samples_.data() + 50000 - count, count).with_text("well"));
    EXPECT_EQ(probabilities(stream.predict(seconds)), probabilities(part));
  };
  expect(1.0, 16000);
  expect(0.0, 50000);
  expect(1e300, 50000);
  // What comes later is heard too.
  stream.reset();
  EXPECT_EQ(stream.seconds(), 0.0);
}

TEST_F(StreamOfABundle, RefusesWhatItCannotHear) {
  const auto message = [](const auto& action) {
    try {
      action();
    } catch (const mtab::Error& error) {
      return std::string(error.name()) + " " + error.what();
    }
    return std::string("none");
  };
  EXPECT_NE(message([&] { static_cast<void>(model_->stream(std::nan(""))); }).find("AudioError"),
            std::string::npos);
  EXPECT_NE(message([&] { static_cast<void>(model_->stream(16000, 65)); }).find("AudioError"),
            std::string::npos);
  EXPECT_NE(message([&] { static_cast<void>(model_->stream(16000, 0)); }).find("AudioError"),
            std::string::npos);
  mtab::Stream stream = model_->stream(16000);
  stream.set_text("well");
  stream.accept(samples_.data(), 30000);
  const auto before = probabilities(stream.predict());
  std::vector<float> bad(100, 0.0F);
  bad[50] = std::nanf("");
  EXPECT_EQ(message([&] { stream.accept(bad.data(), bad.size()); }),
            "AudioError stream: holds a sample of nan, expected finite numbers up to 2.14748e+09");
  EXPECT_NE(message([&] { stream.set_text("\xff"); }).find("TextError stream: "), std::string::npos);
  EXPECT_EQ(message([&] { static_cast<void>(stream.predict(-1)); }),
            "MtabError stream: the last -1 seconds, expected 0 or more");
  EXPECT_EQ(message([&] { static_cast<void>(stream.predict(0.01)); }),
            "AudioError stream: 160 samples at 16 kHz (0.0100 s), expected at least 400 (0.0250 s)");
  // Nothing of that was kept.
  EXPECT_EQ(stream.seconds(), 30000 / 16000.0);
  EXPECT_EQ(probabilities(stream.predict()), before);
}

TEST_F(StreamOfABundle, IsBounded) {
  mtab::LoadOptions options = load_options();
  options.max_seconds = 2.0;
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const mtab::Model model(json_of(golden / "answers.json").at(0).at("bundle"), options);
  mtab::Stream stream = model.stream(16000);
  stream.set_text("well");
  stream.accept(samples_.data(), 32000);
  // The last would be none at all, were they added up as sizes.
  for (const std::size_t more : {std::size_t{1}, std::size_t{0} - 32000}) {
    try {
      stream.accept(samples_.data(), more);
      FAIL();
    } catch (const mtab::Error& error) {
      EXPECT_STREQ(error.what(), "stream: more than 2 s long, expected at most that");
    }
  }
  EXPECT_EQ(stream.finish().duration(), 2.0);
}

TEST_F(StreamOfABundle, OutlivesTheModelsHandle) {
  mtab::Stream stream = model_->stream(16000);
  model_.reset();
  stream.accept(samples_.data(), 16000);
  stream.set_text("still here");
  EXPECT_EQ(stream.finish().duration(), 1.0);
}

}  // namespace
}  // namespace mtab_test
