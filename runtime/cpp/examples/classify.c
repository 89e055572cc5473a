/* The emotion of a clip and its transcript: classify BUNDLE CLIP [TEXT]
 *
 *   cc classify.c $(pkg-config --cflags --libs mtab) -o classify
 *
 * $MTAB_ONNXRUNTIME names ONNX Runtime's library where the system does not find it. */
#include <mtab.h>
#include <stdio.h>
#include <stdlib.h>

static int failed(mtab_error *error) {
  fprintf(stderr, "%s: %s\n", mtab_code_name(mtab_error_code(error)), mtab_error_message(error));
  mtab_error_free(error);
  return EXIT_FAILURE;
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: %s BUNDLE CLIP [TEXT]\n", argv[0]);
    return 2;
  }
  mtab_load_options options = MTAB_LOAD_OPTIONS_INIT;
  options.onnxruntime_library = getenv("MTAB_ONNXRUNTIME");

  mtab_model *model = NULL;
  mtab_error *error = NULL;
  if (mtab_load(argv[1], &options, &model, &error) != MTAB_OK) return failed(error);

  mtab_input input = MTAB_INPUT_INIT;
  input.path = argv[2];
  input.text = argc > 3 ? argv[3] : NULL;
  mtab_result *result = NULL;
  const mtab_code code = mtab_predict(model, &input, NULL, &result, &error);
  if (code == MTAB_OK) {
    printf("%s\n", mtab_result_label(result));
    for (size_t i = 0; i < mtab_result_count(result); ++i) {
      printf("  %-10s %.3f\n", mtab_result_class(result, i), (double)mtab_result_probability(result, i));
    }
  }
  mtab_result_free(result);
  mtab_model_free(model);
  return code == MTAB_OK ? EXIT_SUCCESS : failed(error);
}
