#include "batching.hpp"

#include <algorithm>

#include "support.hpp"

namespace mtab_core {
namespace {

TEST(Batching, IsPythons) {
  MTAB_GOLDEN_OR_SKIP(golden, "model");
  for (const auto& plan : mtab_test::json_of(golden / "plans.json")) {
    std::vector<Length> lengths;
    for (const auto& each : plan.at("lengths")) lengths.push_back({each[0], each[1]});
    const BatchLimits limits{plan.at("limits")[0], plan.at("limits")[1]};
    EXPECT_EQ(nlohmann::json(planned(lengths, limits)), plan.at("plan"));
  }
}

TEST(Batching, TakesEveryUtteranceOnceWithinTheLimits) {
  std::vector<Length> lengths;
  for (int i = 0; i < 50; ++i) lengths.push_back({static_cast<double>((i * 37) % 23), 0});
  lengths.push_back({1000, 0});
  std::vector<std::size_t> seen;
  for (const auto& batch : planned(lengths, {4, 60.0})) {
    EXPECT_LE(batch.size(), 4U);
    double longest = 0;
    for (const std::size_t each : batch) longest = std::max(longest, lengths[each].seconds);
    EXPECT_TRUE(batch.size() == 1 || static_cast<double>(batch.size()) * longest <= 60.0);
    seen.insert(seen.end(), batch.begin(), batch.end());
  }
  std::sort(seen.begin(), seen.end());
  for (std::size_t i = 0; i < lengths.size(); ++i) EXPECT_EQ(seen[i], i);
  EXPECT_EQ(seen.size(), lengths.size());
}

}  // namespace
}  // namespace mtab_core
