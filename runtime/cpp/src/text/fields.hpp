// Reading the fields of a tokenizer.json.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "json.hpp"
#include "json.hpp"

namespace mtab_core {

// A part of a tokenizer.json, and what messages call the file and the part. It refers to the JSON.
class Fields {
 public:
  // Throws unless `json` is an object. `part` is empty for the whole file.
  Fields(const Json& json, std::string file, std::string part);

  [[nodiscard]] const std::string& file() const { return file_; }
  // "" unless the part says of which type it is.
  [[nodiscard]] std::string type() const;

  // A field, or nullptr if it is missing or null.
  [[nodiscard]] const Json* find(const char* name) const;
  [[nodiscard]] const Json& at(const char* name) const;
  // Throws if the field is null too.
  [[nodiscard]] const Json& list(const char* name) const;
  [[nodiscard]] const std::string& text(const char* name) const;
  [[nodiscard]] std::string text_or_empty(const char* name) const;
  [[nodiscard]] bool flag(const char* name) const;
  [[nodiscard]] bool flag(const char* name, bool missing) const;
  [[nodiscard]] std::uint32_t id(const char* name) const;
  // ["[SEP]", 102]
  [[nodiscard]] std::uint32_t named_id(const char* name) const;
  [[nodiscard]] Fields part(const char* name) const;

  // "<file>: is no tokenizer.json (<part>: <what>)"
  [[noreturn]] void broken(const std::string& what) const;
  // "<file>: is a tokenizer of kind <kind>, expected byte-level BPE or WordPiece"
  [[noreturn]] void refuse(const std::string& kind) const;

 private:
  [[noreturn]] void wrong(const char* name, const char* expected) const;

  const Json* json_;
  std::string file_;
  std::string part_;
};

// Refers to the JSON.
using Vocabulary = std::unordered_map<std::string_view, std::uint32_t>;
Vocabulary vocabulary_of(const Fields& model);

std::optional<std::uint32_t> as_id(const Json& json);
std::optional<std::uint32_t> id_of(const Vocabulary& vocabulary, std::string_view token);
// A text of the file, cut to what a message can take; in quotes.
std::string clipped(std::string_view text);
std::string in_quotes(std::string_view text);

}  // namespace mtab_core
