#include "schema.hpp"

#include <algorithm>
#include <cmath>

#include "error.hpp"
#include "python_text.hpp"
#include "tables.hpp"

namespace mtab_core {
namespace {

const char* python_type(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "NoneType";
    case Json::value_t::boolean:
      return "bool";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "int";
    case Json::value_t::number_float:
      return "float";
    case Json::value_t::string:
      return "str";
    case Json::value_t::array:
      return "list";
    default:
      return "dict";
  }
}

std::size_t length(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

// Characters of a text, not bytes: what is cut within one is no UTF-8.
std::string part_of(const std::string& text, std::size_t begin, std::size_t count) {
  std::string part;
  std::size_t begun = 0;
  for (const char c : text) {
    if ((c & 0xC0) != 0x80) ++begun;
    if (begun > begin && begun - begin <= count) part += c;
  }
  return part;
}

std::string shown(const std::string& text) {
  constexpr std::size_t kMost = 30;
  constexpr std::size_t kFirst = 13;
  constexpr std::size_t kLast = 14;
  std::string whole = in_quotes(part_of(text, 0, kMost));
  if (length(whole) <= kMost) return whole;
  const std::size_t size = length(text);
  const std::string cut =
      in_quotes(part_of(text, 0, kFirst) + part_of(text, std::max(size, kLast) - kLast, kLast));
  return part_of(cut, 0, kFirst) + "..." + part_of(cut, length(cut) - kLast, kLast);
}

// As Python's reprlib: what is long is cut.
std::string shown(const Json& value, int level = 6) {
  if (value.is_null()) return "None";
  if (value.is_boolean()) return value.get<bool>() ? "True" : "False";
  if (value.is_number_float()) return repr(value.get<double>());
  if (value.is_string()) return shown(value.get_ref<const std::string&>());
  if (!value.is_structured()) return value.dump();
  const bool object = value.is_object();
  if (level <= 0 && !value.empty()) return object ? "{...}" : "[...]";
  std::vector<std::string> items;
  for (auto item = value.begin(); item != value.end(); ++item) {
    if (items.size() == (object ? 4U : 6U)) {
      items.emplace_back("...");
      break;
    }
    items.push_back((object ? in_quotes(item.key()) + ": " : "") + shown(*item, level - 1));
  }
  return (object ? "{" : "[") + joined(items) + (object ? "}" : "]");
}

std::string described(const Json& value) { return shown(value) + " (" + python_type(value) + ")"; }

class Check {
 public:
  explicit Check(const std::string& source) : source_(source), schema_(parse_json(tables::kSchema)) {}

  void object(const Json& value, const std::string& type, const std::string& where) const {
    if (!value.is_object()) throw wrong(where, described(value), "an object (" + type + ")");
    const Json& fields = schema_.at(type);
    const std::string prefix = where.empty() ? "" : where + ".";
    for (const auto& [name, item] : value.items()) {
      const bool known = std::any_of(fields.begin(), fields.end(),
                                     [&name = name](const Json& field) { return field.at("name") == name; });
      if (!known) {
        std::vector<std::string> names;
        for (const Json& field : fields) names.push_back(field.at("name"));
        throw Error(MTAB_CONFIG_ERROR,
                    source_ + ": unknown field " + in_quotes(prefix + name) + "; known: " + joined(names));
      }
    }
    for (const Json& field : fields) {
      const std::string name = field.at("name");
      const auto found = value.find(name);
      if (found != value.end()) continue;
      if (field.at("required").get<bool>()) {
        throw Error(MTAB_CONFIG_ERROR, source_ + ": field " + in_quotes(prefix + name) + " is missing");
      }
    }
    for (const Json& field : fields) {
      const std::string name = field.at("name");
      if (const auto found = value.find(name); found != value.end()) {
        any(*found, field.at("type"), prefix + name);
      }
    }
  }

 private:
  void any(const Json& value, const Json& type, const std::string& where) const {
    const std::string kind = type.at("kind");
    if (kind == "any") return;
    if (kind == "object") return object(value, type.at("expected"), where);
    if (kind == "optional") {
      if (!value.is_null()) any(value, type.at("of"), where);
      return;
    }
    if (kind == "literal") return literal(value, type.at("values"), where);
    if (kind == "list" && value.is_array()) {
      for (std::size_t i = 0; i < value.size(); ++i) any(value[i], type.at("of"), place(where, i));
      return;
    }
    if (kind == "items" && value.is_array()) {
      const Json& of = type.at("of");
      if (of.size() != value.size())
        throw wrong(where, described(value), std::to_string(of.size()) + " items");
      for (std::size_t i = 0; i < value.size(); ++i) any(value[i], of[i], place(where, i));
      return;
    }
    if (kind == "dict" && value.is_object()) {
      for (const auto& [key, item] : value.items()) any(item, type.at("of"), where + "." + key);
      return;
    }
    if (kind == "float" && value.is_number()) {
      if (std::isfinite(value.get<double>())) return;
      throw wrong(where, described(value), "a finite float");
    }
    const bool fits = (kind == "bool" && value.is_boolean()) ||
                      (kind == "int" && value.is_number_integer()) || (kind == "str" && value.is_string());
    if (!fits) throw wrong(where, described(value), type.at("expected"));
  }

  void literal(const Json& value, const Json& choices, const std::string& where) const {
    if (std::find(choices.begin(), choices.end(), value) != choices.end()) return;
    std::vector<std::string> names;
    for (const Json& choice : choices) names.push_back(shown(choice));
    throw wrong(where, shown(value), "one of " + joined(names));
  }

  static std::string place(const std::string& where, std::size_t i) {
    return where + "[" + std::to_string(i) + "]";
  }

  [[nodiscard]] Error wrong(const std::string& where, const std::string& found,
                            const std::string& expected) const {
    const std::string field = in_quotes(where.empty() ? "at the top" : where);
    return {MTAB_CONFIG_ERROR, source_ + ": field " + field + " is " + found + ", expected " + expected};
  }

  const std::string& source_;
  Json schema_;
};

}  // namespace

void require_type(const Json& value, const std::string& type, const std::string& source) {
  Check(source).object(value, type, "");
}

}  // namespace mtab_core
