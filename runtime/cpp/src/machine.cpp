#include "machine.hpp"

#include <dlfcn.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

#include "control_groups.hpp"

namespace mtab_core {
namespace {

using Fields = std::map<std::string, std::string>;

// The fields of each processor that /proc/cpuinfo lists.
std::vector<Fields> processors(const Path& root) {
  std::vector<Fields> found;
  bool begun = false;
  for (const std::string& line : lines_of(text_of(root / "proc/cpuinfo"))) {
    const std::size_t colon = line.find(':');
    if (one_line(line).empty()) {
      begun = false;
      continue;
    }
    if (!begun) found.emplace_back();
    begun = true;
    if (colon == std::string::npos) continue;
    const std::string value = line.substr(colon + 1);
    const std::size_t first = value.find_first_not_of(" \t");
    const std::size_t last = value.find_last_not_of(" \t");
    found.back()[one_line(line.substr(0, colon))] =
        first == std::string::npos ? "" : value.substr(first, last - first + 1);
  }
  return found;
}

std::set<std::string> flags_of(const std::vector<Fields>& all) {
  std::set<std::string> flags;
  if (all.empty()) return flags;
  for (const char* name : {"flags", "Features"}) {
    const auto found = all.front().find(name);
    if (found == all.front().end() || found->second.empty()) continue;
    std::istringstream words(found->second);
    for (std::string word; words >> word;) flags.insert(word);
    break;
  }
  return flags;
}

std::string architecture() {
  struct utsname name {};
  return ::uname(&name) == 0 ? name.machine : "";
}

// The machine's cores without their second threads, 0 where the system does not tell.
int physical_cores(const Path& root) {
  std::set<std::pair<std::string, std::string>> cores;
  for (Fields& each : processors(root)) {
    if (each.count("core id") > 0) cores.emplace(each["physical id"], each["core id"]);
  }
  return static_cast<int>(cores.size());
}

int allowed_cores() {
#ifdef __linux__
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  return static_cast<int>(std::max(1U, std::thread::hardware_concurrency()));
}

std::optional<double> quota_of(const Path& group) {
  std::error_code ignored;
  std::string quota;
  std::string period;
  if (std::filesystem::is_regular_file(group / "cpu.max", ignored)) {
    std::istringstream(text_of(group / "cpu.max")) >> quota >> period;
  } else {
    quota = one_line(text_of(group / "cpu.cfs_quota_us"));
    period = one_line(text_of(group / "cpu.cfs_period_us"));
  }
  const double most = std::strtod(quota.c_str(), nullptr);
  const double of = std::strtod(period.c_str(), nullptr);
  return most > 0 && of > 0 ? std::optional<double>(most / of) : std::nullopt;
}

// A path as the kernel lists it, with its blanks.
std::string unescaped(const std::string& text) {
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() &&
                       std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                   text.begin() + static_cast<std::ptrdiff_t>(i) + 4,
                                   [](char c) { return c >= '0' && c <= '7'; });
    path += octal ? static_cast<char>(std::strtol(text.substr(i + 1, 3).c_str(), nullptr, 8)) : text[i];
    if (octal) i += 3;
  }
  return path;
}

// The paths of this process's control groups by controller; version 2 has one group, without a controller's
// name.
std::map<std::string, std::string> group_paths(const Path& root) {
  std::map<std::string, std::string> paths;
  for (const ControlGroup& group : control_groups(root)) {
    if (group.controllers.empty()) paths[""] = group.path;
    if (group.has("cpu")) paths["cpu"] = group.path;
  }
  return paths;
}

// The cores that the smallest quota of CPU time of this process's control groups is worth; 0 without a quota.
int quota_cores(const Path& root) {
  const auto paths = group_paths(root);
  std::optional<double> least;
  for (const std::string& mount : lines_of(text_of(root / "proc/self/mountinfo"))) {
    const std::size_t dash = mount.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream fields(mount.substr(0, dash));
    std::istringstream kind(mount.substr(dash + 3));
    std::string skipped, inner_root, point, form, source, options;
    fields >> skipped >> skipped >> skipped >> inner_root >> point;
    kind >> form >> source >> options;
    if (form != "cgroup2" && (form != "cgroup" || ("," + options + ",").find(",cpu,") == std::string::npos)) {
      continue;
    }
    const auto path = paths.find(form == "cgroup2" ? "" : "cpu");
    if (path == paths.end()) continue;
    const Path top = root / Path(unescaped(point)).relative_path();
    // A container may see its own group as the root.
    const Path inner = Path(path->second).lexically_relative(inner_root);
    const bool outside = inner.empty() || *inner.begin() == "..";
    std::vector<Path> groups = {top};
    for (const Path& part : outside ? Path() : inner) {
      if (part != ".") groups.push_back(groups.back() / part);
    }
    for (const Path& group : groups) {
      if (const auto cores = quota_of(group)) least = std::min(least.value_or(*cores), *cores);
    }
  }
  return least ? std::max(1, static_cast<int>(std::ceil(*least))) : 0;
}

}  // namespace

bool saturates_int8(const Path& root) {
  const std::set<std::string> x86 = {"x86_64", "amd64", "i386", "i686", "x86"};
  if (x86.count(architecture()) == 0) return false;
  const auto flags = flags_of(processors(root));
  return flags.count("avx512_vnni") == 0 && flags.count("avx_vnni") == 0;
}

std::string processor_key(const Path& root) {
  auto all = processors(root);
  std::string parts = architecture() + "\n" + (all.empty() ? "" : all.front()["model name"]);
  for (const std::string& flag : flags_of(all)) parts += "\n" + flag;
  return sha256(parts);
}

int limited_cores(const Path& root) {
  int cores = allowed_cores();
  if (const int quota = quota_cores(root); quota > 0) cores = std::min(cores, quota);
  int there = physical_cores(root);
  if (there == 0) there = static_cast<int>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
  return cores < there ? cores : 0;
}

int cuda_gpus() {
  void* driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) return 0;
  using Init = int (*)(unsigned);
  using Count = int (*)(int*);
  const auto init = reinterpret_cast<Init>(::dlsym(driver, "cuInit"));
  const auto count = reinterpret_cast<Count>(::dlsym(driver, "cuDeviceGetCount"));
  int gpus = 0;
  // The driver stays loaded: what it began does not end well.
  return init != nullptr && count != nullptr && init(0) == 0 && count(&gpus) == 0 ? gpus : 0;
}

}  // namespace mtab_core
