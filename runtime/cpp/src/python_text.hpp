// Numbers, texts and paths as Python writes them.
#pragma once

#include <string>
#include <vector>

namespace mtab_core {

// repr(value): the shortest digits that read back as the same double.
std::string repr(double value);
// f"{value:.{digits}f}"
std::string fixed(double value, int digits);
// f"{value:g}"
std::string general(double value);

// A path as pathlib writes it: without "./", doubled and trailing separators.
std::string plain_path(const std::string& path);

// A text with U+FFFD for every byte that is no UTF-8, as click shows the names of files.
std::string printable(const std::string& text);

// A list as Python prints it: ['audio', 'text'].
std::string listed(const std::vector<std::string>& items);
// A text as Python's repr writes it.
std::string in_quotes(const std::string& text);
// Texts with ", " between them.
std::string joined(const std::vector<std::string>& items, const std::string& between = ", ");

}  // namespace mtab_core
