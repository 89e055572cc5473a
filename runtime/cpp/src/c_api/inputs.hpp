// What a program passes in, as the library takes it.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model.hpp"
#include "mtab.h"

namespace mtab_core::c_api {

// The text, or what stands for NULL.
std::string text_or(const char* text, const char* otherwise);
// A text of so many bytes, or up to its NUL where that is 0; nothing for NULL. Throws InvalidArgument for an
// impossible size.
std::optional<std::string_view> text_of(const char* text, std::size_t size);
// What refers to the caller's memory. Throws InvalidArgument for what is no utterance.
Utterance utterance_of(const mtab_input* given);
// Throws InvalidArgument, and MtabError for what no answer can be.
Wanted wanted_of(const mtab_predict_options* given);

}  // namespace mtab_core::c_api
