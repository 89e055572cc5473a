#include "memory.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <sstream>
#include <vector>

#include "control_groups.hpp"
#include "error.hpp"
#include "python_text.hpp"
#include "tables.hpp"

namespace mtab_core {
namespace {

using Left = std::pair<double, std::string>;

constexpr double kUnlimited = 1152921504606846976.0;  // 2**60

// What a file of one number says; nothing for `max`, another text or no file.
std::optional<double> number(const Path& path) {
  const std::string text = one_line(text_of(path));
  if (text.empty() || text.find_first_not_of("0123456789") != std::string::npos) return std::nullopt;
  return std::strtod(text.c_str(), nullptr);
}

// The numbers of a file with a name and a number on each line, kB as bytes.
std::map<std::string, double> fields(const Path& path) {
  std::map<std::string, double> found;
  for (std::string line : lines_of(text_of(path))) {
    std::replace(line.begin(), line.end(), ':', ' ');
    std::istringstream words(line);
    std::string name;
    std::string value;
    std::string unit;
    words >> name >> value >> unit;
    if (value.empty() || value.find_first_not_of("0123456789") != std::string::npos) continue;
    found[name] = std::strtod(value.c_str(), nullptr) * (unit == "kB" ? 1024.0 : 1.0);
  }
  return found;
}

void add_address_space(const Path& root, std::vector<Left>& left) {
  struct rlimit limit {};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  const auto status = fields(root / "proc/self/status");
  const auto used = status.find("VmSize");
  if (used == status.end()) return;
  left.emplace_back(std::max(0.0, static_cast<double>(limit.rlim_cur) - used->second),
                    "this process's address space");
}

// A control group and those that it lies in, each with its files' names.
struct Groups {
  Path top;
  std::string path;
  std::string limit;
  std::string usage;
  std::string cache;
};

std::optional<Groups> groups_of(const ControlGroup& group, const Path& root) {
  if (group.number == "0" && group.controllers.empty()) {
    return Groups{root / "sys/fs/cgroup", group.path, "memory.max", "memory.current", "inactive_file"};
  }
  if (!group.has("memory")) return std::nullopt;
  return Groups{root / "sys/fs/cgroup/memory", group.path, "memory.limit_in_bytes", "memory.usage_in_bytes",
                "total_inactive_file"};
}

void add_control_groups(const Path& root, std::vector<Left>& left) {
  for (const ControlGroup& own : control_groups(root)) {
    const auto groups = groups_of(own, root);
    if (!groups) continue;
    // In a container the path may be the host's, and the group itself is at the top.
    std::vector<Path> places = {groups->top};
    std::istringstream parts(groups->path);
    for (std::string part; std::getline(parts, part, '/');) {
      if (!part.empty() && part != "..") places.push_back(places.back() / part);
    }
    for (const Path& group : places) {
      const auto most = number(group / groups->limit);
      const auto used = number(group / groups->usage);
      if (!most || !used || *most >= kUnlimited) continue;
      // What files have cached goes when it is needed.
      const auto statistics = fields(group / "memory.stat");
      const auto cached = statistics.find(groups->cache);
      const double kept = *used - (cached == statistics.end() ? 0.0 : cached->second);
      left.emplace_back(std::max(0.0, *most - kept), "its control group's memory");
    }
  }
}

}  // namespace

double MemoryNeed::size(std::size_t utterances, double seconds) const {
  const auto count = static_cast<double>(utterances);
  const double samples = seconds * tables::kSampleRate;
  const double frames = samples / tables::kFrameSamples;
  double scores = count * frames * frames;
  double convolved = count * frames;
  // A block is one query at least.
  if (scores_at_once) scores = std::min(scores, std::max(*scores_at_once, count * frames));
  if (frames_at_once) convolved = std::min(convolved, std::max(*frames_at_once, count));
  const double whole = count * (per_sample * samples + per_frame * frames);
  const double passing = std::max(per_score * scores, per_convolved * convolved);
  return tables::kNumberBytes * (whole + tables::kLiveNumbers * passing);
}

MemoryNeed assumed_need(std::size_t hidden_size) {
  const auto width = static_cast<double>(hidden_size);
  MemoryNeed need;
  need.per_sample = 4;
  need.per_frame = 24 * width;
  need.per_score = static_cast<double>(std::max<std::size_t>(8, hidden_size / 64));
  need.per_convolved = tables::kFrameSamples / 5 * (hidden_size >= 256 ? 512 : 64);
  return need;
}

void require_memory(const MemoryNeed& need, std::size_t utterances, double seconds, const Path& root) {
  const double needed = need.size(utterances, seconds);
  // Nothing small is worth a look at the system.
  if (needed < 67108864.0) return;
  const auto there = available_memory(root);
  if (!there || needed <= there->first) return;
  const std::string what = utterances == 1
                               ? "a clip of " + fixed(seconds, 1) + " s"
                               : std::to_string(utterances) + " clips of up to " + fixed(seconds, 1) + " s";
  throw Error(MTAB_MEMORY_LIMIT_ERROR,
              what + ": needs about " + fixed(needed / 1e9, 1) + " GB of memory, expected at most the " +
                  fixed(there->first / 1e9, 1) + " GB that are left of " + there->second +
                  "; take less of it at once with start and end, or raise that limit");
}

std::optional<std::pair<double, std::string>> available_memory(const Path& root) {
  std::vector<Left> left;
  const auto machine = fields(root / "proc/meminfo");
  if (const auto free = machine.find("MemAvailable"); free != machine.end()) {
    left.emplace_back(free->second, "this machine's memory");
  }
  add_control_groups(root, left);
  add_address_space(root, left);
  const auto least = std::min_element(left.begin(), left.end());
  return least == left.end() ? std::nullopt : std::optional<Left>(*least);
}

}  // namespace mtab_core
