/* A library that says that it is ONNX Runtime 1.20.1, and so has no newer functions. */
#include <onnxruntime_c_api.h>
#include <stddef.h>

static const OrtApi *ORT_API_CALL get_api(uint32_t version) {
  (void)version;
  return NULL;
}

static const char *ORT_API_CALL version_string(void) { return "1.20.1"; }

const OrtApiBase *ORT_API_CALL OrtGetApiBase(void) {
  static const OrtApiBase base = {get_api, version_string};
  return &base;
}
