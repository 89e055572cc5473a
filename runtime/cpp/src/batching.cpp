#include "batching.hpp"

#include <algorithm>
#include <numeric>

#include "tables.hpp"

namespace mtab_core {

double Length::cost() const { return seconds + tables::kTokenSeconds * tokens; }

std::vector<std::vector<std::size_t>> planned(const std::vector<Length>& lengths, const BatchLimits& limits) {
  std::vector<std::size_t> order(lengths.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return lengths[a].cost() < lengths[b].cost(); });
  // For the first n of them: what their batches cost, and where the last of these starts.
  struct Best {
    double cost;
    std::size_t start;
    bool operator<(const Best& other) const {
      return cost < other.cost || (cost == other.cost && start < other.start);
    }
  };
  std::vector<Best> best = {{0.0, 0}};
  for (std::size_t end = 1; end <= order.size(); ++end) {
    Length longest;
    Best chosen{0.0, end};
    for (std::size_t start = end; start-- > 0 && end - start <= limits.utterances;) {
      const Length& added = lengths[order[start]];
      longest = {std::max(longest.seconds, added.seconds), std::max(longest.tokens, added.tokens)};
      const double cost = static_cast<double>(end - start) * longest.cost();
      const bool first = chosen.start == end;
      if (!first && cost > limits.seconds) break;
      const Best option{best[start].cost + cost + tables::kCallSeconds, start};
      if (first || option < chosen) chosen = option;
    }
    best.push_back(chosen);
  }
  std::vector<std::vector<std::size_t>> batches;
  for (std::size_t end = order.size(); end > 0; end = best[end].start) {
    const auto begin = order.begin();
    batches.emplace_back(begin + static_cast<std::ptrdiff_t>(best[end].start),
                         begin + static_cast<std::ptrdiff_t>(end));
  }
  return batches;
}

}  // namespace mtab_core
