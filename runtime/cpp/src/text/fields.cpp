#include "text/fields.hpp"

#include <limits>
#include <utility>

#include "error.hpp"
#include "json.hpp"
#include "text/unicode.hpp"

namespace mtab_core {

Fields::Fields(const Json& json, std::string file, std::string part)
    : json_(&json), file_(std::move(file)), part_(std::move(part)) {
  if (!json.is_object()) broken(std::string("is ") + json.type_name() + ", expected an object");
}

std::string Fields::type() const {
  const Json* const type = find("type");
  if (type == nullptr) return "";
  if (!type->is_string()) wrong("type", "a string");
  return type->get_ref<const std::string&>();
}

const Json* Fields::find(const char* name) const {
  const auto found = json_->find(name);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

const Json& Fields::at(const char* name) const {
  const Json* const found = find(name);
  if (found == nullptr) broken(std::string("field '") + name + "' is missing");
  return *found;
}

const Json& Fields::list(const char* name) const {
  const Json& found = at(name);
  if (!found.is_array()) wrong(name, "a list");
  return found;
}

const std::string& Fields::text(const char* name) const {
  const Json& found = at(name);
  if (!found.is_string()) wrong(name, "a string");
  return found.get_ref<const std::string&>();
}

std::string Fields::text_or_empty(const char* name) const { return find(name) == nullptr ? "" : text(name); }

bool Fields::flag(const char* name) const {
  const Json& found = at(name);
  if (!found.is_boolean()) wrong(name, "true or false");
  return found.get<bool>();
}

bool Fields::flag(const char* name, bool missing) const {
  return find(name) == nullptr ? missing : flag(name);
}

std::uint32_t Fields::id(const char* name) const {
  const auto found = as_id(at(name));
  if (!found) wrong(name, "a token's id");
  return *found;
}

std::uint32_t Fields::named_id(const char* name) const {
  const Json& pair = list(name);
  const auto found = pair.size() == 2 && pair[0].is_string() ? as_id(pair[1]) : std::nullopt;
  if (!found) wrong(name, "a token and its id");
  return *found;
}

Fields Fields::part(const char* name) const {
  return Fields(at(name), file_, part_.empty() ? name : part_ + "." + name);
}

void Fields::broken(const std::string& what) const {
  const std::string where = part_.empty() ? "" : part_ + ": ";
  throw Error(MTAB_CONFIG_ERROR, file_ + ": is no tokenizer.json (" + where + what + ")");
}

void Fields::refuse(const std::string& kind) const {
  throw Error(MTAB_CONFIG_ERROR,
              file_ + ": is a tokenizer of kind " + kind + ", expected byte-level BPE or WordPiece");
}

void Fields::wrong(const char* name, const char* expected) const {
  broken(std::string("field '") + name + "' is " + at(name).type_name() + ", expected " + expected);
}

Vocabulary vocabulary_of(const Fields& model) {
  const Json& json = model.at("vocab");
  if (!json.is_object())
    model.broken("field 'vocab' is " + std::string(json.type_name()) + ", expected an object");
  Vocabulary vocabulary;
  vocabulary.reserve(json.size());
  for (const auto& [token, id] : json.get_ref<const Json::object_t&>()) {
    const auto number = as_id(id);
    if (!number) model.broken("token " + in_quotes(token) + " has no id");
    vocabulary.emplace(token, *number);
  }
  return vocabulary;
}

std::optional<std::uint32_t> as_id(const Json& json) {
  if (!json.is_number_unsigned()) return std::nullopt;
  const auto number = json.get<std::uint64_t>();
  if (number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(number);
}

std::optional<std::uint32_t> id_of(const Vocabulary& vocabulary, std::string_view token) {
  const auto found = vocabulary.find(token);
  if (found == vocabulary.end()) return std::nullopt;
  return found->second;
}

std::string clipped(std::string_view text) {
  constexpr std::size_t kMost = 60;
  if (text.size() <= kMost) return one_line(text);
  return one_line(text.substr(0, unicode::previous(text, kMost + 1))) + "…";
}

std::string in_quotes(std::string_view text) { return "'" + clipped(text) + "'"; }

}  // namespace mtab_core
