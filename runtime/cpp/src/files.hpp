// Reading and writing files, as `mtab.files` does.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace mtab_core {

using Path = std::filesystem::path;

// The whole content. Throws std::system_error.
std::string read_file(const Path& path);

// The same, or nothing where it cannot be read; and its lines.
std::string text_of(const Path& path);
std::vector<std::string> lines_of(const std::string& text);

// The SHA-256 of a text or of a file's content, in hexadecimal. The second throws std::system_error.
std::string sha256(std::string_view content);
std::string sha256_of_file(const Path& path);

// Write a file under a temporary name and rename it. Throws std::system_error.
void write_whole(const Path& path, std::string_view content);

// The user's cache folder: $MTAB_CACHE, else $XDG_CACHE_HOME/mtab, else ~/.cache/mtab; empty where there is
// none.
Path default_cache_dir();

// A text with every run of white space as one blank.
std::string one_line(std::string_view text);

}  // namespace mtab_core
