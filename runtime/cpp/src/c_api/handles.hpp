// What is behind the handles of mtab.h, and how its functions report what they cannot do.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include "model.hpp"
#include "mtab.h"
#include "tables.hpp"

namespace mtab_core::c_api {

// What a handle begins with while it is alive, so that another one in its place is noticed.
enum class Tag : std::uint64_t {
  kFreed = 0,
  kError = 0x6d746162'45525201,
  kModel = 0x6d746162'4d4f4401,
  kResult = 0x6d746162'52455301,
  kResults = 0x6d746162'42415401,
  kStream = 0x6d746162'53545201,
};

template <Tag kTag>
struct Tagged {
  static constexpr Tag kOwn = kTag;
  volatile Tag tag = kTag;
  Tagged() = default;
  Tagged(const Tagged&) {}
  // There is nothing to take over, of itself or of another.
  Tagged& operator=(const Tagged&) { return *this; }  // NOLINT(cert-oop54-cpp)
  ~Tagged() { tag = Tag::kFreed; }
};

}  // namespace mtab_core::c_api

struct mtab_error : mtab_core::c_api::Tagged<mtab_core::c_api::Tag::kError> {
  mtab_error(mtab_code kind, std::string line) : code(kind), message(std::move(line)) {}
  mtab_code code;
  std::string message;
};

struct mtab_model : mtab_core::c_api::Tagged<mtab_core::c_api::Tag::kModel> {
  std::shared_ptr<const mtab_core::Model> model;
};

struct mtab_result : mtab_core::c_api::Tagged<mtab_core::c_api::Tag::kResult> {
  explicit mtab_result(mtab_core::Result found) : answer(std::move(found)) {}
  mtab_core::Result answer;
};

struct mtab_results : mtab_core::c_api::Tagged<mtab_core::c_api::Tag::kResults> {
  struct Entry {
    std::optional<mtab_result> result;
    std::optional<mtab_error> error;
  };
  std::vector<Entry> entries;
};

struct mtab_stream : mtab_core::c_api::Tagged<mtab_core::c_api::Tag::kStream> {
  explicit mtab_stream(mtab_core::Stream begun) : heard(std::move(begun)) {}
  mtab_core::Stream heard;
};

namespace mtab_core::c_api {

// There before any memory is short, and never freed.
inline mtab_error& out_of_memory() {
  static mtab_error error(MTAB_OUT_OF_MEMORY, "out of memory");
  return error;
}

template <typename Handle>
bool alive(const Handle* handle) {
  return handle != nullptr && handle->tag == Handle::kOwn;
}

inline Error invalid(const std::string& message) { return {MTAB_INVALID_ARGUMENT, message}; }

template <typename Handle>
void require(const Handle* handle, const char* name) {
  if (handle == nullptr) throw invalid(std::string(name) + " is NULL, expected a handle");
  if (!alive(handle))
    throw invalid(std::string(name) + " is freed or another handle, expected a live one of its kind");
}

// A message in one line, whatever a name in it holds.
inline std::string in_one_line(const std::string& message) {
  return message.find_first_of("\n\r") == std::string::npos ? message : one_line(message);
}

inline mtab_code report(mtab_error** error, mtab_code code, const char* message) noexcept {
  if (error != nullptr) {
    try {
      *error = new mtab_error(code, in_one_line(message));
    } catch (const std::bad_alloc&) {
      *error = &out_of_memory();
    }
  }
  return code;
}

inline mtab_code report_out_of_memory(mtab_error** error) noexcept {
  if (error != nullptr) *error = &out_of_memory();
  return MTAB_OUT_OF_MEMORY;
}

// Run `body`, and turn what it throws into a code and an error.
template <typename Body>
mtab_code guarded(mtab_error** error, const Body& body) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    body();
    return MTAB_OK;
  } catch (const Error& failure) {
    return report(error, failure.code(), failure.what());
  } catch (const Failure& failure) {
    return report(error, MTAB_ENGINE_ERROR, failure.what());
  } catch (const std::bad_alloc&) {
    return report_out_of_memory(error);
  } catch (const std::length_error&) {
    return report_out_of_memory(error);
  } catch (const std::system_error& failure) {
    return report(error, MTAB_ERROR, failure.what());
  } catch (const std::exception& failure) {
    return report(error, MTAB_INTERNAL_ERROR, failure.what());
  } catch (...) {
    return report(error, MTAB_INTERNAL_ERROR, "unknown exception");
  }
}

// A structure of the caller's, which may be of an older or a newer header, as this library knows it.
template <typename Structure>
Structure known(const Structure* given, Structure defaults, const char* name) {
  if (given == nullptr) return defaults;
  const std::size_t size = given->struct_size;
  const std::size_t most = 16 * sizeof(Structure);
  // One that no header can have would also put the next input of a batch where none may lie.
  if (size < sizeof(std::size_t) || size > most || size % alignof(Structure) != 0) {
    throw invalid(std::string(name) + ".struct_size is " + std::to_string(size) + ", expected " +
                  std::to_string(sizeof(Structure)) + ": initialise it with its _INIT");
  }
  const auto* bytes = reinterpret_cast<const unsigned char*>(given);
  for (std::size_t i = sizeof(Structure); i < size; ++i) {
    if (bytes[i] != 0) {
      throw invalid(std::string(name) +
                    " sets a field that this mtab does not know, expected one of version " +
                    tables::kVersion);
    }
  }
  std::memcpy(&defaults, given, std::min(size, sizeof(Structure)));
  return defaults;
}

template <typename Handle>
void require_target(Handle** target, const char* name) {
  if (target == nullptr) throw invalid(std::string(name) + " is NULL, expected where to put it");
}

}  // namespace mtab_core::c_api
