#include "json.hpp"

#include <cstring>
#include <system_error>

#include "error.hpp"

template class nlohmann::basic_json<>;

namespace mtab_core {

Json read_json(const Path& path) {
  std::string content;
  try {
    content = read_file(path);
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::no_such_file_or_directory) {
      throw Error(MTAB_CONFIG_ERROR, path.string() + ": not found, expected a JSON file");
    }
    throw Error(MTAB_CONFIG_ERROR,
                path.string() + ": " + std::strerror(error.code().value()) + ", expected a JSON file");
  }
  return parse_json(content, path.string() + ": is not JSON");
}

Json parse_json(std::string_view content, const std::string& blame) {
  // nlohmann-json would skip it, and Python refuses it.
  if (content.substr(0, 3) == "\xEF\xBB\xBF") {
    throw Error(MTAB_CONFIG_ERROR, blame + " (begins with a byte order mark)");
  }
  try {
    return Json::parse(content);
  } catch (const Json::parse_error& error) {
    // What else it says quotes the file, at any length.
    throw Error(MTAB_CONFIG_ERROR, blame + " (at byte " + std::to_string(error.byte) + ")");
  } catch (const Json::exception&) {
    throw Error(MTAB_CONFIG_ERROR, blame + " (a number is out of range)");
  }
}

Json parse_json(const char* content) { return Json::parse(std::string_view(content)); }

}  // namespace mtab_core
