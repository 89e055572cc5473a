#include "text/wordpiece.hpp"

#include <limits>

#include "json.hpp"
#include "text/tokenizer.hpp"

namespace mtab_core {

WordPiece::WordPiece(const Fields& model, const Vocabulary& vocabulary) {
  const std::string& prefix = model.text("continuing_subword_prefix");
  const auto unknown = id_of(vocabulary, model.text("unk_token"));
  if (!unknown)
    model.broken("its unknown token " + in_quotes(model.text("unk_token")) + " is not in the vocabulary");
  unknown_ = *unknown;
  const Json& most = model.at("max_input_chars_per_word");
  if (!most.is_number_unsigned()) model.broken("field 'max_input_chars_per_word' is not a number from 0 up");
  most_characters_ = most.get<std::size_t>();
  for (const auto& [token, id] : vocabulary) {
    beginnings_.set(token, id);
    if (token.substr(0, prefix.size()) == prefix) continuations_.set(token.substr(prefix.size()), id);
  }
}

void WordPiece::encode(std::string_view word, std::vector<std::int64_t>& ids) const {
  const std::size_t before = ids.size();
  bool known = characters(word) <= most_characters_;
  for (std::size_t start = 0; known && start < word.size();) {
    const auto piece = (start == 0 ? beginnings_ : continuations_).longest(word.substr(start));
    if (piece) {
      ids.push_back(piece->id);
      start += piece->length;
    }
    known = piece.has_value();
  }
  if (known) return;
  ids.resize(before);
  ids.push_back(unknown_);
}

}  // namespace mtab_core
