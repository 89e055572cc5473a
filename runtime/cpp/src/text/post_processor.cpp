#include "text/post_processor.hpp"

#include <string>

#include "json.hpp"

namespace mtab_core {
namespace {

// Nobody has more, and a short template can name a long list many times.
constexpr std::size_t kMost = 4096;

void append(std::vector<std::int64_t>& ids, const Json& added, const Fields& fields) {
  for (const Json& each : added) {
    const auto id = as_id(each);
    if (!id) fields.broken("its special tokens have ids that are none");
    if (ids.size() == kMost) fields.broken("more than " + std::to_string(kMost) + " special tokens");
    ids.push_back(*id);
  }
}

SpecialTokens of_template(const Fields& fields) {
  const Fields known = fields.part("special_tokens");
  SpecialTokens special;
  std::size_t places = 0;
  for (const Json& json : fields.list("single")) {
    const Fields piece(json, fields.file(), "post_processor.single");
    if (json.size() == 1 && piece.find("Sequence") != nullptr) {
      if (piece.part("Sequence").text("id") != "A") piece.broken("has a place for a second text");
      ++places;
    } else if (json.size() == 1 && piece.find("SpecialToken") != nullptr) {
      const std::string& name = piece.part("SpecialToken").text("id");
      append(places == 0 ? special.before : special.after, known.part(name.c_str()).list("ids"), known);
    } else {
      piece.broken("has a piece that is neither Sequence nor SpecialToken");
    }
  }
  if (places != 1)
    fields.broken("its template has " + std::to_string(places) + " places for the text, expected one");
  return special;
}

SpecialTokens of_processor(const Fields& fields) {
  const std::string type = fields.type();
  if (type == "ByteLevel") return {};
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    return {{fields.named_id("cls")}, {fields.named_id("sep")}};
  }
  if (type == "TemplateProcessing") return of_template(fields);
  fields.broken("is of type " + in_quotes(type) +
                ", expected RobertaProcessing, BertProcessing, TemplateProcessing or ByteLevel");
}

}  // namespace

SpecialTokens special_tokens(const Fields& file) {
  if (file.find("post_processor") == nullptr) return {};
  const Fields fields = file.part("post_processor");
  if (fields.type() != "Sequence") return of_processor(fields);
  SpecialTokens special;
  for (const Json& json : fields.list("processors")) {
    const SpecialTokens found = of_processor(Fields(json, file.file(), "post_processor.processors"));
    // The library would put the second ones around each of the first.
    if (special.size() > 0 && found.size() > 0) fields.broken("adds special tokens twice");
    if (found.size() > 0) special = found;
  }
  return special;
}

}  // namespace mtab_core
