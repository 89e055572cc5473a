/* mtab: speech-and-text emotion recognition from a bundle that `mtab-export` wrote.
 *
 * The C interface of libmtab. It gives the answers of the Python runtime, without Python.
 *
 *   mtab_model *model = NULL;
 *   mtab_result *result = NULL;
 *   mtab_input input = MTAB_INPUT_INIT;
 *   input.path = "clip.wav";
 *   input.text = "I never said that!";
 *   if (mtab_load("bundle", NULL, &model, NULL) == MTAB_OK &&
 *       mtab_predict(model, &input, NULL, &result, NULL) == MTAB_OK)
 *     puts(mtab_result_label(result));
 *   mtab_result_free(result);
 *   mtab_model_free(model);
 *
 * Errors. A function that can fail returns an mtab_code. Its last parameter takes an mtab_error, which says in
 * one line what was found, what was expected and where; NULL if you do not want it. It is written on failure
 * alone, and is yours to free. Whatever else a function was to hand out is NULL then. No C++ exception leaves
 * the library, and nothing that it is given makes it abort.
 *
 * Ownership. What a function hands out through a `T **` is yours: give it back to its own `_free`, which takes
 * NULL. What it returns as a `const` pointer belongs to the object that it was asked of, and lives as long.
 * What you pass in is read before the function returns, and never kept, but for the log's context.
 *
 * Threads. Any number of threads may use one mtab_model at once, and free results and errors of their own. A
 * stream, a result or an error is used by one thread at a time. Free a model when no call of it is left; streams,
 * results and errors outlive it. Nothing is shared between models: the library has no global state. Open a model
 * after a fork, not before it, and let no call run on when the program ends.
 *
 * Structures begin with their size in bytes; initialise them with their `_INIT`. Fields are added at the end
 * alone, and 0 there means the default: a program that was compiled with an older header goes on working.
 */
#ifndef MTAB_H
#define MTAB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MTAB_STATIC)
#define MTAB_API
#elif defined(_WIN32) && defined(MTAB_BUILD)
#define MTAB_API __declspec(dllexport)
#elif defined(_WIN32)
#define MTAB_API __declspec(dllimport)
#else
#define MTAB_API __attribute__((visibility("default")))
#endif

/* The version of this interface: programs compiled with the same number, or a lower one, run. */
#define MTAB_ABI_VERSION 1

/* What can go wrong. The names are those of the Python runtime's exceptions, which mean the same. */
typedef int32_t mtab_code;
enum {
  MTAB_OK = 0,
  MTAB_ERROR = 1,         /* MtabError: none of the others */
  MTAB_AUDIO_ERROR = 2,   /* AudioError: a clip is unreadable, empty, truncated, NaN, too short or too long */
  MTAB_TEXT_ERROR = 3,    /* TextError: a transcript is missing, no UTF-8, or too long */
  MTAB_CONFIG_ERROR = 4,  /* ConfigError: a JSON file has a missing, unknown or wrong-typed field */
  MTAB_BUNDLE_ERROR = 5,  /* BundleError: a bundle is incomplete, tampered with, or of another version */
  MTAB_ENGINE_ERROR = 6,  /* EngineError: an engine or a device cannot be had here, or fails */
  MTAB_MEMORY_LIMIT_ERROR = 7, /* MemoryLimitError: a clip needs more memory than this process may take */
  MTAB_INVALID_ARGUMENT = 8,   /* InvalidArgument: a NULL, a wrong size, a handle of another kind */
  MTAB_OUT_OF_MEMORY = 9,      /* OutOfMemory: an allocation failed */
  MTAB_INTERNAL_ERROR = 10     /* InternalError: a bug of mtab; please report the message */
};

/* An error: `mtab_error_message` is valid until `mtab_error_free`. */
typedef struct mtab_error mtab_error;
/* A bundle on an engine. */
typedef struct mtab_model mtab_model;
/* The answer for one utterance. */
typedef struct mtab_result mtab_result;
/* An outcome for each utterance of a batch: an answer, or an error. */
typedef struct mtab_results mtab_results;
/* An utterance that is being heard. */
typedef struct mtab_stream mtab_stream;

/* MTAB_ABI_VERSION of the library that is loaded. */
MTAB_API uint32_t mtab_abi_version(void);
/* The version of mtab that the library belongs to, as "0.1.0". */
MTAB_API const char *mtab_version(void);

/* The name of a code: "AudioError"; "OK" for MTAB_OK, "UnknownError" for none. Never NULL. */
MTAB_API const char *mtab_code_name(mtab_code code);
/* What kind of error it is; MTAB_OK for NULL. */
MTAB_API mtab_code mtab_error_code(const mtab_error *error);
/* One line in UTF-8 (file names in it are as the system has them); "" for NULL. */
MTAB_API const char *mtab_error_message(const mtab_error *error);
MTAB_API void mtab_error_free(mtab_error *error);

typedef enum mtab_log_level { MTAB_LOG_DEBUG = 0, MTAB_LOG_INFO = 1, MTAB_LOG_WARNING = 2 } mtab_log_level;

/* Takes one line of what a model has to say. Called from whichever thread it happens on, also from several at
 * once. It must not throw, nor call the model. `message` is valid during the call. */
typedef void (*mtab_log_callback)(void *context, mtab_log_level level, const char *message);

/* How a bundle is opened. NULL and 0 are the defaults. */
typedef struct mtab_load_options {
  size_t struct_size;
  /* "onnxruntime" (default), "onnxruntime-tensorrt" or "onnxruntime-tensorrt-rtx". */
  const char *engine;
  /* "cpu", "cuda" or "cuda:N"; default: a GPU where there is one and ONNX Runtime has a provider for it, else the
   * CPU. What is asked for is used, or an error says why not. */
  const char *device;
  /* "fp32", "fp16", "bf16", "int8" or "int8-static"; default: the most exact one of the bundle. */
  const char *precision;
  /* Threads that work on an operator; default: one a core that this process may use. */
  int32_t threads;
  /* Not 0: do not check the files' SHA-256. */
  int32_t skip_verification;
  /* ONNX Runtime's shared library, 1.21 or newer; default: libonnxruntime.so.1, then libonnxruntime.so, as the
   * system finds them. */
  const char *onnxruntime_library;
  /* The library of TensorRT-RTX's provider, for the engine onnxruntime-tensorrt-rtx; no default. */
  const char *provider_library;
  /* Where optimised graphs and verified hashes are kept. Default: as in Python ($MTAB_CACHE, $XDG_CACHE_HOME/mtab
   * or ~/.cache/mtab); "" keeps nothing. */
  const char *cache_dir;
  /* The longest clip that is accepted, in seconds (default 600), and the longest transcript in characters
   * (default 100,000). */
  double max_seconds;
  size_t max_characters;
  /* Who hears what the model has to say, from `log_level` on; default: nobody. */
  mtab_log_callback log;
  void *log_context;
  mtab_log_level log_level;
} mtab_load_options;
#define MTAB_LOAD_OPTIONS_INIT {sizeof(mtab_load_options), 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0, 0, 0, MTAB_LOG_DEBUG}

/* Open the bundle in a folder; `options` NULL for the defaults.
 *
 * MTAB_BUNDLE_ERROR or MTAB_CONFIG_ERROR for a bundle that is incomplete, changed, of another version or at odds
 * with itself, or lacks what was asked for; MTAB_ENGINE_ERROR for an engine, a device or a precision that cannot
 * be had here, ONNX Runtime that is absent or too old, and a graph that cannot be read. */
MTAB_API mtab_code mtab_load(const char *bundle, const mtab_load_options *options, mtab_model **model,
                             mtab_error **error);
MTAB_API void mtab_model_free(mtab_model *model);

/* Modalities, as bits. */
enum { MTAB_AUDIO = 1, MTAB_TEXT = 2 };

/* The number of classes; 0 for NULL. */
MTAB_API size_t mtab_model_label_count(const mtab_model *model);
/* The name of class `index` in UTF-8, in the order of the logits; NULL beyond the last. */
MTAB_API const char *mtab_model_label(const mtab_model *model, size_t index);
/* The width of an embedding. */
MTAB_API size_t mtab_model_embedding_size(const mtab_model *model);
/* The number of dimensions (valence, arousal, dominance) that the model answers beside the classes; often 0. */
MTAB_API size_t mtab_model_dimension_count(const mtab_model *model);
/* The name of dimension `index`: "valence", "arousal" or "dominance"; NULL beyond the last. */
MTAB_API const char *mtab_model_dimension(const mtab_model *model, size_t index);
/* The modalities that the model takes. */
MTAB_API uint32_t mtab_model_modalities(const mtab_model *model);
/* Not 0 if the model answers from these modalities alone. */
MTAB_API int32_t mtab_model_supports(const mtab_model *model, uint32_t modalities);
/* The engine, the device and the precision that are used. */
MTAB_API const char *mtab_model_engine(const mtab_model *model);
MTAB_API const char *mtab_model_device(const mtab_model *model);
MTAB_API const char *mtab_model_precision(const mtab_model *model);
/* The version of ONNX Runtime that was loaded, as "1.23.2". */
MTAB_API const char *mtab_model_onnxruntime_version(const mtab_model *model);

/* What a sample is. Integers are scaled to [-1, 1) by the range of their type; floats keep their scale. */
typedef int32_t mtab_sample_type;
enum { MTAB_FLOAT32 = 0, MTAB_FLOAT64 = 1, MTAB_INT16 = 2, MTAB_INT32 = 3 };

/* One utterance: a clip, a transcript, or both. */
typedef struct mtab_input {
  size_t struct_size;
  /* A clip in one of three forms, or in none: the path of a wav, flac, ogg or mp3; */
  const char *path;
  /* the content of such a file, `content_size` bytes; */
  const void *content;
  size_t content_size;
  /* samples: `frames` times `channels` values (default 1), channels interleaved, at `sample_rate` Hz (default
   * 16,000). Channels are averaged. */
  const void *samples;
  size_t frames;
  int32_t channels;
  mtab_sample_type sample_type;
  double sample_rate;
  /* The part of the clip from `start` to `end` seconds; `end` 0: to its end. */
  double start;
  double end;
  /* The transcript in UTF-8, `text_size` bytes, 0: up to its NUL; empty or blank counts as none. It is cut
   * to what the text encoder takes, and the result says so. */
  const char *text;
  size_t text_size;
  /* What errors call the utterance; default: its path, or its number in a batch. */
  const char *name;
} mtab_input;
#define MTAB_INPUT_INIT {sizeof(mtab_input), 0, 0, 0, 0, 0, 0, MTAB_FLOAT32, 0.0, 0.0, 0.0, 0, 0, 0}

/* What of an answer is wanted, and how a batch is computed. NULL and 0 are the defaults. */
typedef struct mtab_predict_options {
  size_t struct_size;
  /* Keep this many classes, the likeliest first; default: all, in the model's order. */
  size_t top_k;
  /* Below this probability of the likeliest class the label is "unknown"; default: never. */
  double abstain;
  /* Utterances that are computed at once (default 8), and seconds of speech, padding included (default 60). */
  size_t batch_size;
  double batch_seconds;
} mtab_predict_options;
#define MTAB_PREDICT_OPTIONS_INIT {sizeof(mtab_predict_options), 0, 0.0, 0, 0.0}

/* The emotion of one utterance; `options` NULL for the defaults.
 *
 * MTAB_AUDIO_ERROR and MTAB_TEXT_ERROR for input that cannot be used, is beyond the model's limits, or lacks a
 * modality that this model cannot do without; MTAB_MEMORY_LIMIT_ERROR, before anything is computed, for a clip
 * that needs more memory than there is; MTAB_ENGINE_ERROR if the engine fails. */
MTAB_API mtab_code mtab_predict(const mtab_model *model, const mtab_input *input, const mtab_predict_options *options,
                                mtab_result **result, mtab_error **error);

/* The emotions of `count` utterances, in their order. Those of like length are computed at once, and none changes
 * another's answer. One that cannot be answered has an error in its place, and the others have their answers. */
MTAB_API mtab_code mtab_predict_batch(const mtab_model *model, const mtab_input *inputs, size_t count,
                                      const mtab_predict_options *options, mtab_results **results, mtab_error **error);

/* The number of outcomes, and one of them: an answer, or NULL and an error. They live as long as `results`. */
MTAB_API size_t mtab_results_count(const mtab_results *results);
MTAB_API const mtab_result *mtab_results_get(const mtab_results *results, size_t index);
MTAB_API const mtab_error *mtab_results_error(const mtab_results *results, size_t index);
MTAB_API void mtab_results_free(mtab_results *results);

/* The likeliest class, or "unknown" where that is less likely than was asked for. */
MTAB_API const char *mtab_result_label(const mtab_result *result);
/* The probability of the likeliest class. */
MTAB_API float mtab_result_score(const mtab_result *result);
/* The number of classes that were kept; the name and the calibrated probability of one. */
MTAB_API size_t mtab_result_count(const mtab_result *result);
MTAB_API const char *mtab_result_class(const mtab_result *result, size_t index);
MTAB_API float mtab_result_probability(const mtab_result *result, size_t index);
/* The logits of all classes in the model's order, mtab_model_label_count values. */
MTAB_API const float *mtab_result_logits(const mtab_result *result);
/* What the classifier sees, mtab_model_embedding_size values. */
MTAB_API const float *mtab_result_embedding(const mtab_result *result);
/* The dimensions in the units of the corpus that the model learned from, mtab_model_dimension_count values; NULL
 * without any. */
MTAB_API const float *mtab_result_dimensions(const mtab_result *result);
/* Seconds of the audio that was used; NaN without audio. */
MTAB_API double mtab_result_duration(const mtab_result *result);
/* The modalities that the answer rests on. */
MTAB_API uint32_t mtab_result_modalities(const mtab_result *result);
/* Not 0 if the transcript's end did not fit the text encoder. */
MTAB_API int32_t mtab_result_text_truncated(const mtab_result *result);
MTAB_API void mtab_result_free(mtab_result *result);

/* Begin to hear an utterance: samples of `channels` at `sample_rate` Hz. The stream holds what it heard, mono at
 * 16 kHz, up to the model's limit. */
MTAB_API mtab_code mtab_stream_create(const mtab_model *model, double sample_rate, int32_t channels,
                                      mtab_stream **stream, mtab_error **error);
/* Hear `frames` more, of any number, channels interleaved. MTAB_AUDIO_ERROR for a sample that is not finite, and
 * beyond the model's limit of seconds: nothing of these frames is kept then. */
MTAB_API mtab_code mtab_stream_accept(mtab_stream *stream, const float *samples, size_t frames, mtab_error **error);
/* Its transcript so far, in place of the one before; NULL for none. `text_size` as in mtab_input. */
MTAB_API mtab_code mtab_stream_set_text(mtab_stream *stream, const char *text, size_t text_size, mtab_error **error);
/* Seconds that were heard. */
MTAB_API double mtab_stream_seconds(const mtab_stream *stream);
/* An answer from the last `seconds` that were heard (0: all of them), while the utterance goes on. A resampler
 * holds back some milliseconds, which are not in it yet. */
MTAB_API mtab_code mtab_stream_predict(mtab_stream *stream, double seconds, const mtab_predict_options *options,
                                       mtab_result **result, mtab_error **error);
/* The answer for the whole utterance: what mtab_predict gives for all of its samples at once. The stream then
 * begins another one, without a transcript; so it does where there is no answer, but for options that none can be. */
MTAB_API mtab_code mtab_stream_finish(mtab_stream *stream, const mtab_predict_options *options, mtab_result **result,
                                      mtab_error **error);
/* Forget what was heard, and begin another utterance. */
MTAB_API void mtab_stream_reset(mtab_stream *stream);
MTAB_API void mtab_stream_free(mtab_stream *stream);

#ifdef __cplusplus
}
#endif

#endif
