// The answers and the errors of the Python runtime, from the same bundles.
#include "answers.hpp"

#include <atomic>
#include <random>
#include <thread>

namespace mtab_test {
namespace {

// What there is of golden answers, each with its open model.
void for_each_model(const std::function<void(const Json&, const mtab::Model&)>& body) {
  const auto root = environment("MTAB_GOLDEN");
  for (const Json& golden : json_of(std::filesystem::path(*root) / "model" / "answers.json")) {
    SCOPED_TRACE(golden.at("bundle").get<std::string>() + " " + golden.at("precision").get<std::string>());
    body(golden, mtab::Model(golden.at("bundle"), load_options(golden.at("precision"))));
  }
}

// Its limits are the model's, and not the utterance's.
bool has_own_limits(const Json& values) {
  return values.contains("max_seconds") || values.contains("max_characters");
}

TEST(Answers, ArePythons) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  double largest = 0;
  for_each_model([&](const Json& all, const mtab::Model& model) {
    EXPECT_EQ(Json(model.labels()), all.at("labels"));
    EXPECT_EQ(model.precision(), all.at("precision"));
    for (const Json& values : all.at("cases")) {
      if (has_own_limits(values)) continue;
      SCOPED_TRACE(Json(values).erase("expected") ? values.dump().substr(0, 200) : "");
      const Json& expected = values.at("expected");
      const Case given(values);
      mtab_result* result = nullptr;
      mtab_error* error = nullptr;
      if (mtab_predict(model.get(), &given.input(), &given.options(), &result, &error) == MTAB_OK) {
        EXPECT_EQ(error, nullptr);
        expect_answer(result, expected, model.embedding_size());
        for (std::size_t i = 0; !expected.contains("error") && i < mtab_result_count(result); ++i) {
          const double value = expected.at("probabilities")[i][1];
          largest = std::max(largest, std::fabs(mtab_result_probability(result, i) - value));
        }
      } else {
        EXPECT_EQ(result, nullptr);
        expect_error(mtab_error_code(error), mtab_error_message(error), expected);
      }
      mtab_result_free(result);
      mtab_error_free(error);
    }
  });
  std::cout << "largest difference of a probability from Python's: " << largest << "\n";
}

TEST(Answers, OfABatchAreTheSame) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for_each_model([](const Json& all, const mtab::Model& model) {
    // int8 ranges are those of the batch's own numbers, and its padding moves them within its budget.
    if (all.at("precision") != "fp32") return;
    std::vector<std::unique_ptr<Case>> cases;
    std::vector<Json> expected;
    for (const Json& values : all.at("cases")) {
      if (has_own_limits(values) || values.contains("top_k") || values.contains("abstain")) continue;
      cases.push_back(std::make_unique<Case>(values));
      expected.push_back(values.at("expected"));
    }
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) {
      std::vector<mtab_input> inputs;
      for (const auto& each : cases) inputs.push_back(each->input());
      mtab_predict_options options = MTAB_PREDICT_OPTIONS_INIT;
      options.batch_size = size;
      mtab_results* results = nullptr;
      ASSERT_EQ(mtab_predict_batch(model.get(), inputs.data(), inputs.size(), &options, &results, nullptr),
                MTAB_OK);
      ASSERT_EQ(mtab_results_count(results), inputs.size());
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        SCOPED_TRACE(i);
        const mtab_result* result = mtab_results_get(results, i);
        const mtab_error* error = mtab_results_error(results, i);
        ASSERT_NE(result == nullptr, error == nullptr);
        if (result != nullptr) {
          expect_answer(result, expected[i], model.embedding_size());
        } else {
          // Its number is its place in the batch.
          std::string message = mtab_error_message(error);
          const std::string number = "utterance " + std::to_string(i) + ":";
          if (message.rfind(number, 0) == 0) message = "utterance 0:" + message.substr(number.size());
          expect_error(mtab_error_code(error), message, expected[i]);
        }
      }
      EXPECT_EQ(mtab_results_get(results, inputs.size()), nullptr);
      mtab_results_free(results);
    }
  });
}

TEST(Answers, AreTheSameFromManyThreads) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const Json all = json_of(golden / "answers.json").at(0);
  const mtab::Model model(all.at("bundle"), load_options(all.at("precision")));
  std::vector<Json> cases;
  for (const Json& values : all.at("cases")) {
    if (!has_own_limits(values)) cases.push_back(values);
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&, seed] {
      std::mt19937 random(seed);
      for (int i = 0; i < 12; ++i) {
        const Json& values = cases[random() % cases.size()];
        const Json& expected = values.at("expected");
        const Case given(values);
        mtab_result* result = nullptr;
        mtab_error* error = nullptr;
        const mtab_code code = mtab_predict(model.get(), &given.input(), &given.options(), &result, &error);
        if (code == MTAB_OK) {
          const double value =
              expected.contains("error") ? -1.0 : expected.at("probabilities")[0][1].get<double>();
          if (!(std::fabs(mtab_result_probability(result, 0) - value) < 1e-5)) ++wrong;
        } else if (!expected.contains("error") || mtab_error_message(error) != expected.at("message")) {
          ++wrong;
        }
        mtab_result_free(result);
        mtab_error_free(error);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Limits, AreThoseOfTheModel) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const Json all = json_of(golden / "answers.json").at(0);
  for (const Json& values : all.at("cases")) {
    if (!has_own_limits(values)) continue;
    mtab::LoadOptions options = load_options(all.at("precision"));
    options.max_seconds = values.value("max_seconds", 0.0);
    options.max_characters = values.value("max_characters", std::size_t{0});
    const mtab::Model model(all.at("bundle"), options);
    const Case given(values);
    mtab_result* result = nullptr;
    mtab_error* error = nullptr;
    EXPECT_NE(mtab_predict(model.get(), &given.input(), nullptr, &result, &error), MTAB_OK);
    expect_error(mtab_error_code(error), mtab_error_message(error), values.at("expected"));
    mtab_error_free(error);
  }
}

TEST(Bundles, ThatAreBrokenHavePythonsError) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const auto without_reason = [](const std::string& message) {
    return message.substr(0, message.find(" ("));
  };
  for (const Json& fault : json_of(golden / "broken.json")) {
    SCOPED_TRACE(fault.at("what"));
    try {
      mtab::Model(fault.at("folder").get<std::string>(), load_options());
      ADD_FAILURE() << "opened";
    } catch (const mtab::Error& error) {
      EXPECT_EQ(error.name(), fault.at("error").get<std::string>());
      // Nothing that JSON allows is beyond Python's numbers.
      if (fault.at("what") == "an infinite number") continue;
      EXPECT_EQ(without_reason(error.what()), without_reason(fault.at("message")));
    }
  }
}

}  // namespace
}  // namespace mtab_test
