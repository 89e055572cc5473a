#include "text/added_tokens.hpp"

#include <algorithm>
#include <map>
#include <set>

#include "json.hpp"
#include "text/unicode.hpp"

namespace mtab_core {
namespace {

AddedToken token_of(const Fields& fields) {
  // The id in the file is not what counts, but it has to be one.
  return {fields.id("id"),       fields.text("content"),    fields.flag("single_word"), fields.flag("lstrip"),
          fields.flag("rstrip"), fields.flag("normalized"), fields.flag("special")};
}

// A token has the id of the vocabulary, or else the next one behind it: what the file says its id is, is not
// used.
class Numbering {
 public:
  explicit Numbering(const Vocabulary& vocabulary)
      : vocabulary_(vocabulary), next_(static_cast<std::uint32_t>(vocabulary.size())) {}

  std::uint32_t of(const std::string& content) {
    if (const auto found = added_.find(content); found != added_.end()) return found->second;
    const auto id = id_of(vocabulary_, content);
    return added_[content] = id ? *id : next_++;
  }

 private:
  const Vocabulary& vocabulary_;
  std::map<std::string, std::uint32_t> added_;
  std::uint32_t next_;
};

bool stands_alone(std::string_view text, std::size_t start, std::size_t end) {
  if (start > 0) {
    std::size_t before = unicode::previous(text, start);
    if (unicode::is_word(unicode::next(text, before))) return false;
  }
  return end == text.size() || !unicode::is_word(unicode::next(text, end));
}

std::size_t without_spaces_before(std::string_view text, std::size_t at) {
  while (at > 0) {
    const std::size_t before = unicode::previous(text, at);
    std::size_t after = before;
    if (!unicode::is_space(unicode::next(text, after))) break;
    at = before;
  }
  return at;
}

std::size_t behind_spaces(std::string_view text, std::size_t at) {
  while (at < text.size()) {
    std::size_t after = at;
    if (!unicode::is_space(unicode::next(text, after))) break;
    at = after;
  }
  return at;
}

}  // namespace

AddedVocabulary::AddedVocabulary(const Fields& file, const Vocabulary& vocabulary,
                                 const Normalize& normalize) {
  if (file.find("added_tokens") == nullptr) return;
  Numbering numbering(vocabulary);
  std::map<std::uint32_t, AddedToken> tokens;
  std::map<std::uint32_t, std::string> normal_forms;
  std::set<std::string> specials;
  for (const Json& json : file.list("added_tokens")) {
    AddedToken token = token_of(Fields(json, file.file(), "added_tokens"));
    if (token.content.empty()) continue;
    token.id = numbering.of(token.content);
    if (token.special) specials.insert(token.content);
    if (token.normalized) {
      std::string form = normalize(token.content);
      if (form != token.content) normal_forms[token.id] = std::move(form);
    }
    tokens[token.id] = std::move(token);
  }
  for (auto& [id, token] : tokens) {
    token.special = specials.count(token.content) > 0;
    const auto form = normal_forms.find(id);
    const bool other_form = token.normalized && form != normal_forms.end();
    (token.normalized ? normalized : verbatim).add(other_form ? form->second : token.content, token, file);
  }
}

void AddedTokens::add(const std::string& pattern, const AddedToken& token, const Fields& file) {
  // The library takes the one or the other of two by chance.
  if (patterns_.at(pattern)) file.broken("added_tokens: two are " + in_quotes(pattern) + " when normalized");
  if (pattern.empty())
    file.broken("added_tokens: " + in_quotes(token.content) + " is nothing when normalized");
  patterns_.set(pattern, static_cast<std::uint32_t>(tokens_.size()));
  tokens_.push_back(token);
}

std::vector<Piece> AddedTokens::split(std::string_view text) const {
  std::vector<Piece> pieces;
  const auto add = [&](std::size_t start, std::size_t end, std::optional<std::uint32_t> id) {
    if (start < end) pieces.push_back({text.substr(start, end - start), id});
  };
  // Where the last token ends, with the white space that it took along.
  std::size_t done = 0;
  const bool any =
      std::any_of(tokens_.begin(), tokens_.end(), [](const AddedToken& t) { return !t.special; });
  for (std::size_t at = 0; any && at < text.size();) {
    const auto match = patterns_.longest(text.substr(at));
    if (!match) {
      ++at;
      continue;
    }
    std::size_t start = at;
    std::size_t end = at + match->length;
    at = end;
    const AddedToken& token = tokens_[match->id];
    if (token.special || (token.single_word && !stands_alone(text, start, end))) continue;
    // The white space may have been taken along already; tokens in it are found all the same.
    if (token.lstrip) start = std::max(without_spaces_before(text, start), done);
    if (token.rstrip) end = behind_spaces(text, end);
    add(done, start, std::nullopt);
    add(start, end, token.id);
    done = end;
  }
  add(done, text.size(), std::nullopt);
  return pieces;
}

}  // namespace mtab_core
