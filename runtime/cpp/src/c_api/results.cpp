// The functions of mtab.h that look into answers.
#include <limits>

#include "c_api/handles.hpp"

namespace core = mtab_core;
using namespace mtab_core::c_api;

size_t mtab_results_count(const mtab_results* results) {
  return alive(results) ? results->entries.size() : 0;
}

const mtab_result* mtab_results_get(const mtab_results* results, size_t index) {
  if (!alive(results) || index >= results->entries.size()) return nullptr;
  const auto& found = results->entries[index].result;
  return found ? &*found : nullptr;
}

const mtab_error* mtab_results_error(const mtab_results* results, size_t index) {
  if (!alive(results) || index >= results->entries.size()) return nullptr;
  const auto& found = results->entries[index].error;
  return found ? &*found : nullptr;
}

void mtab_results_free(mtab_results* results) {
  if (alive(results)) delete results;
}

const char* mtab_result_label(const mtab_result* result) {
  return alive(result) ? result->answer.label.c_str() : nullptr;
}

float mtab_result_score(const mtab_result* result) {
  return alive(result) ? result->answer.score : std::numeric_limits<float>::quiet_NaN();
}

size_t mtab_result_count(const mtab_result* result) {
  return alive(result) ? result->answer.classes.size() : 0;
}

const char* mtab_result_class(const mtab_result* result, size_t index) {
  if (!alive(result) || index >= result->answer.classes.size()) return nullptr;
  return (*result->answer.labels)[result->answer.classes[index]].c_str();
}

float mtab_result_probability(const mtab_result* result, size_t index) {
  if (!alive(result) || index >= result->answer.probabilities.size())
    return std::numeric_limits<float>::quiet_NaN();
  return result->answer.probabilities[index];
}

const float* mtab_result_logits(const mtab_result* result) {
  return alive(result) ? result->answer.logits.data() : nullptr;
}

const float* mtab_result_embedding(const mtab_result* result) {
  return alive(result) ? result->answer.embedding.data() : nullptr;
}

const float* mtab_result_dimensions(const mtab_result* result) {
  return alive(result) && !result->answer.dimensions.empty() ? result->answer.dimensions.data() : nullptr;
}

double mtab_result_duration(const mtab_result* result) {
  return alive(result) ? result->answer.duration : std::numeric_limits<double>::quiet_NaN();
}

uint32_t mtab_result_modalities(const mtab_result* result) {
  return alive(result) ? result->answer.modalities : 0;
}

int32_t mtab_result_text_truncated(const mtab_result* result) {
  return alive(result) && result->answer.text_truncated ? 1 : 0;
}

void mtab_result_free(mtab_result* result) {
  if (alive(result)) delete result;
}
