// The JSON files of a bundle against the fields that Python's dataclasses declare, as `mtab.config`.
#pragma once

#include <string>

#include "files.hpp"
#include "json.hpp"

namespace mtab_core {

// Throws ConfigError, naming `source` and the field, unless `value` is what `mtab.config.from_dict` takes for
// the dataclass `type`: for a missing, an unknown and a wrong-typed field, and for a number that is not
// finite.
void require_type(const Json& value, const std::string& type, const std::string& source);

}  // namespace mtab_core
