// Who hears what a model has to say.
#pragma once

#include <string>

#include "mtab.h"

namespace mtab_core {

struct Log {
  mtab_log_callback callback = nullptr;
  void* context = nullptr;
  mtab_log_level level = MTAB_LOG_DEBUG;

  [[nodiscard]] bool wants(mtab_log_level of) const { return callback != nullptr && of >= level; }
  void operator()(mtab_log_level of, const std::string& message) const {
    if (wants(of)) callback(context, of, message.c_str());
  }
};

}  // namespace mtab_core
