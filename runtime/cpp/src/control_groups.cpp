#include "control_groups.hpp"

namespace mtab_core {

bool ControlGroup::has(const std::string& controller) const {
  return ("," + controllers + ",").find("," + controller + ",") != std::string::npos;
}

std::vector<ControlGroup> control_groups(const Path& root) {
  std::vector<ControlGroup> groups;
  for (const std::string& line : lines_of(text_of(root / "proc/self/cgroup"))) {
    const std::size_t first = line.find(':');
    const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    groups.push_back(
        {line.substr(0, first), line.substr(first + 1, second - first - 1), line.substr(second + 1)});
  }
  return groups;
}

}  // namespace mtab_core
