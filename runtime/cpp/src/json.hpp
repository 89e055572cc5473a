// JSON, read strictly.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "files.hpp"

// Compiled once, in json.cpp.
extern template class nlohmann::basic_json<>;

namespace mtab_core {

using Json = nlohmann::json;

// Parse a JSON file; ConfigError, naming it, if it is missing or is not JSON.
Json read_json(const Path& path);
// Parse JSON; ConfigError with `blame` and the reason if it is none.
Json parse_json(std::string_view content, const std::string& blame);
// Of a text of our own.
Json parse_json(const char* content);

}  // namespace mtab_core
