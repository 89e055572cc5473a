// Where memory runs out there is an error that says so, and nothing is lost: every allocation of the
// library's own fails once.
#include <cstdlib>
#include <new>

#include "answers.hpp"

// Where the linker put this program; what other libraries allocate is theirs.
extern "C" const char __executable_start;
extern "C" const char etext;

namespace {

struct Plan {
  bool armed = false;
  bool failed = false;
  long left = 0;
};
thread_local Plan plan;

bool fails(const void* caller) {
  if (!plan.armed || caller < &__executable_start || caller > &etext) return false;
  if (plan.left-- > 0) return false;
  plan.armed = false;
  plan.failed = true;
  return true;
}

void* allocated(std::size_t size, const void* caller) {
  return fails(caller) ? nullptr : std::malloc(size == 0 ? 1 : size);
}

void* allocated_or_throw(std::size_t size, const void* caller) {
  void* memory = allocated(size, caller);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Or the compiler takes the pairs for mismatched.
#define MTAB_APART __attribute__((noinline))

MTAB_APART void* operator new(std::size_t size) { return allocated_or_throw(size, __builtin_return_address(0)); }
MTAB_APART void* operator new[](std::size_t size) { return allocated_or_throw(size, __builtin_return_address(0)); }
MTAB_APART void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
  return allocated(size, __builtin_return_address(0));
}
MTAB_APART void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
  return allocated(size, __builtin_return_address(0));
}
MTAB_APART void operator delete(void* memory) noexcept { std::free(memory); }
MTAB_APART void operator delete[](void* memory) noexcept { std::free(memory); }
MTAB_APART void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
MTAB_APART void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

namespace mtab_test {
namespace {

// Call `body`, which frees what it gets, with one allocation failing after another; `step` of these are
// skipped the further it is.
void fail_each(const std::function<mtab_code(mtab_error**)>& body, mtab_code without, double growth) {
  int out_of_memory = 0;
  for (long n = 0;; n = std::max(n + 1, static_cast<long>(static_cast<double>(n) * growth))) {
    mtab_error* error = nullptr;
    plan = {true, false, n};
    const mtab_code code = body(&error);
    plan.armed = false;
    const std::string message = mtab_error_message(error);
    EXPECT_EQ(mtab_error_code(error), code);
    mtab_error_free(error);
    if (!plan.failed) {
      EXPECT_EQ(code, without) << message;
      break;
    }
    // What only saves time may fail without a word.
    ASSERT_TRUE(code == MTAB_OUT_OF_MEMORY || code == without) << n << ": " << message;
    if (code == MTAB_OUT_OF_MEMORY) {
      ++out_of_memory;
      EXPECT_EQ(message, "out of memory");
    }
  }
  EXPECT_GT(out_of_memory, 10);
}

TEST(Allocation, ThatFailsInLoadIsAnError) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  // All of loading, up to a graph that is none.
  std::string folder;
  for (const Json& fault : json_of(golden / "broken.json")) {
    if (fault.at("what") == "a graph that is none") folder = fault.at("folder");
  }
  const std::string path = library();
  mtab_load_options options = MTAB_LOAD_OPTIONS_INIT;
  options.onnxruntime_library = path.empty() ? nullptr : path.c_str();
  options.device = "cpu";
  options.cache_dir = "";
  fail_each(
      [&](mtab_error** error) {
        mtab_model* model = nullptr;
        const mtab_code code = mtab_load(folder.c_str(), &options, &model, error);
        EXPECT_EQ(model, nullptr);
        return code;
      },
      MTAB_ENGINE_ERROR, 1.3);
}

TEST(Allocation, ThatFailsInPredictIsAnError) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const Json all = json_of(golden / "answers.json").at(0);
  const mtab::Model model(all.at("bundle"), load_options(all.at("precision")));
  const std::string clip = all.at("cases").at(0).at("path");
  std::vector<mtab_input> inputs(3, mtab_input MTAB_INPUT_INIT);
  for (auto& input : inputs) {
    input.path = clip.c_str();
    input.text = "so it is";
  }
  inputs[1].sample_rate = 8000;
  fail_each(
      [&](mtab_error** error) {
        mtab_result* result = nullptr;
        const mtab_code code = mtab_predict(model.get(), inputs.data(), nullptr, &result, error);
        EXPECT_EQ(result == nullptr, code != MTAB_OK);
        mtab_result_free(result);
        return code;
      },
      MTAB_OK, 1.1);
  fail_each(
      [&](mtab_error** error) {
        mtab_results* results = nullptr;
        const mtab_code code =
            mtab_predict_batch(model.get(), inputs.data(), inputs.size(), nullptr, &results, error);
        EXPECT_EQ(results == nullptr, code != MTAB_OK);
        mtab_results_free(results);
        return code;
      },
      MTAB_OK, 1.1);
}

TEST(Allocation, ThatFailsInAStreamLeavesItUsable) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  const Json all = json_of(golden / "answers.json").at(0);
  const mtab::Model model(all.at("bundle"), load_options(all.at("precision")));
  const std::vector<float> samples(20000, 0.25F);
  mtab_stream* stream = nullptr;
  ASSERT_EQ(mtab_stream_create(model.get(), 8000, 1, &stream, nullptr), MTAB_OK);
  fail_each(
      [&](mtab_error** error) {
        mtab_stream_reset(stream);
        mtab_code code = mtab_stream_accept(stream, samples.data(), samples.size(), error);
        if (code != MTAB_OK) return code;
        code = mtab_stream_set_text(stream, "a transcript that is too long for a small string",
                                    0, error);
        if (code != MTAB_OK) return code;
        mtab_result* result = nullptr;
        code = mtab_stream_finish(stream, nullptr, &result, error);
        mtab_result_free(result);
        return code;
      },
      MTAB_OK, 1.1);
  mtab_stream_free(stream);
}

}  // namespace
}  // namespace mtab_test
