// The functions of mtab.h for streams.
#include "c_api/handles.hpp"
#include "c_api/inputs.hpp"

namespace core = mtab_core;
using namespace mtab_core::c_api;

mtab_code mtab_stream_create(const mtab_model* model, double sample_rate, int32_t channels,
                             mtab_stream** stream, mtab_error** error) {
  if (stream != nullptr) *stream = nullptr;
  return guarded(error, [&] {
    require_target(stream, "stream");
    require(model, "model");
    *stream = new mtab_stream(core::Stream(model->model, sample_rate, channels));
  });
}

mtab_code mtab_stream_accept(mtab_stream* stream, const float* samples, size_t frames, mtab_error** error) {
  return guarded(error, [&] {
    require(stream, "stream");
    if (samples == nullptr && frames > 0)
      throw invalid("samples is NULL, expected frames " + std::to_string(frames));
    if (frames > 0) stream->heard.accept(samples, frames);
  });
}

mtab_code mtab_stream_set_text(mtab_stream* stream, const char* text, size_t text_size, mtab_error** error) {
  return guarded(error, [&] {
    require(stream, "stream");
    stream->heard.set_text(text_of(text, text_size));
  });
}

double mtab_stream_seconds(const mtab_stream* stream) {
  return alive(stream) ? stream->heard.seconds() : 0.0;
}

mtab_code mtab_stream_predict(mtab_stream* stream, double seconds, const mtab_predict_options* options,
                              mtab_result** result, mtab_error** error) {
  if (result != nullptr) *result = nullptr;
  return guarded(error, [&] {
    require_target(result, "result");
    require(stream, "stream");
    *result = new mtab_result(stream->heard.predict(seconds, wanted_of(options)));
  });
}

mtab_code mtab_stream_finish(mtab_stream* stream, const mtab_predict_options* options, mtab_result** result,
                             mtab_error** error) {
  if (result != nullptr) *result = nullptr;
  return guarded(error, [&] {
    require_target(result, "result");
    require(stream, "stream");
    *result = new mtab_result(stream->heard.finish(wanted_of(options)));
  });
}

void mtab_stream_reset(mtab_stream* stream) {
  if (alive(stream)) guarded(nullptr, [&] { stream->heard.reset(); });
}

void mtab_stream_free(mtab_stream* stream) {
  if (alive(stream)) delete stream;
}
