// What an ONNX file says of itself, without ONNX Runtime.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "files.hpp"

namespace mtab_core {

// The files that a graph takes weights from, each once, as it names them. Throws EngineError if it is no ONNX
// file.
std::vector<std::string> weight_files(std::string_view model, const Path& path);

// Throws EngineError unless a graph's weights are in its own folder. ONNX Runtime sees to it from 1.24 on.
void require_own_weights(const Path& path);

}  // namespace mtab_core
