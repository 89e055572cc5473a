// Written by tools/write_tables.py from the Python runtime: change it there.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mtab_core::tables {

inline constexpr std::int64_t kFormatVersion = 2;
inline constexpr double kMaxSeconds = 600.0;
inline constexpr std::size_t kMaxCharacters = 100000;
inline constexpr std::size_t kBatchSize = 8;
inline constexpr double kBatchSeconds = 60.0;
inline constexpr double kTokenSeconds = 0.012;
inline constexpr double kCallSeconds = 0.5;
inline constexpr double kFrameSamples = 320.0;
inline constexpr double kNumberBytes = 4.0;
inline constexpr double kLiveNumbers = 3.0;
inline constexpr int kSampleRate = 16000;
inline constexpr char kVersion[] = "0.1.0";
inline constexpr char kUnknown[] = "unknown";
inline constexpr double kTemperatures[] = {0.25, 10.0};
// The precisions that `auto` takes, the first that there is.
inline constexpr const char* kPrecisions[] = {"fp32", "fp16", "int8", "int8-static", "bf16"};
// The execution provider of each kind of device, by engine.
inline constexpr char kProviders[] =
    R"({"onnxruntime":{"cpu":"CPUExecutionProvider","cuda":"CUDAExecutionProvider"},"onnxruntime-tensorrt":)"
    R"({"cuda":"TensorrtExecutionProvider"},"onnxruntime-tensorrt-rtx":{"cuda":"NvTensorRTRTXExecutionProvi)"
    R"(der"}})";
// What the whole model's graph takes and answers.
inline constexpr char kFused[] =
    R"({"inputs":[{"name":"input_values","dtype":"float32","axes":["batch","samples"],"modality":"audio"},{)"
    R"("name":"audio_lengths","dtype":"int64","axes":["batch"],"modality":"audio"},{"name":"input_ids","dty)"
    R"(pe":"int64","axes":["batch","tokens"],"modality":"text"},{"name":"text_lengths","dtype":"int64","axe)"
    R"(s":["batch"],"modality":"text"}],"outputs":[{"name":"logits","dtype":"float32","axes":["batch","clas)"
    R"(ses"],"modality":null},{"name":"probabilities","dtype":"float32","axes":["batch","classes"],"modalit)"
    R"(y":null},{"name":"embeddings","dtype":"float32","axes":["batch","embedding"],"modality":null}]})";
// The fields of the JSON files of a bundle, by class.
inline constexpr char kSchema[] =
    R"({"AccuracyChange":[{"name":"war","required":true,"type":{"kind":"object","expected":"ScoreChange"}},)"
    R"({"name":"uar","required":true,"type":{"kind":"object","expected":"ScoreChange"}}],"BeforeAfter":[{"n)"
    R"(ame":"before","required":true,"type":{"kind":"float","expected":"float"}},{"name":"after","required")"
    R"(:true,"type":{"kind":"float","expected":"float"}}],"Budget":[{"name":"max_difference","required":tru)"
    R"(e,"type":{"kind":"float","expected":"float"}},{"name":"min_agreement","required":true,"type":{"kind")"
    R"(:"float","expected":"float"}}],"BundleConfig":[{"name":"id2label","required":true,"type":{"kind":"di)"
    R"(ct","of":{"kind":"str","expected":"str"},"expected":"dict"}},{"name":"modalities","required":true,"t)"
    R"(ype":{"kind":"list","of":{"kind":"literal","values":["audio","text"]},"expected":"tuple"}},{"name":")"
    R"(supported_modalities","required":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":"litera)"
    R"(l","values":["audio","text"]},"expected":"tuple"},"expected":"tuple"}},{"name":"embedding_size","req)"
    R"(uired":true,"type":{"kind":"int","expected":"int"}},{"name":"hidden_sizes","required":true,"type":{")"
    R"(kind":"dict","of":{"kind":"int","expected":"int"},"expected":"dict"}},{"name":"model_type","required)"
    R"(":false,"type":{"kind":"literal","values":["mul-tab"]}}],"Calibration":[{"name":"temperature","requi)"
    R"(red":true,"type":{"kind":"float","expected":"float"}},{"name":"validation","required":true,"type":{")"
    R"(kind":"optional","of":{"kind":"object","expected":"CalibrationScores"}}},{"name":"test","required":t)"
    R"(rue,"type":{"kind":"object","expected":"CalibrationScores"}},{"name":"reason","required":false,"type)"
    R"(":{"kind":"optional","of":{"kind":"str","expected":"str"}}}],"CalibrationScores":[{"name":"utterance)"
    R"(s","required":true,"type":{"kind":"int","expected":"int"}},{"name":"nll","required":true,"type":{"ki)"
    R"(nd":"object","expected":"BeforeAfter"}},{"name":"ece","required":true,"type":{"kind":"object","expec)"
    R"(ted":"BeforeAfter"}}],"Certificate":[{"name":"utterances","required":true,"type":{"kind":"int","expe)"
    R"(cted":"int"}},{"name":"batch_size","required":true,"type":{"kind":"int","expected":"int"}},{"name":")"
    R"(max_probability_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"mea)"
    R"(n_probability_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"max_b)"
    R"(atched_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"max_invarian)"
    R"(ce_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"worst","required)"
    R"(":true,"type":{"kind":"str","expected":"str"}},{"name":"worst_batched","required":true,"type":{"kind)"
    R"(":"str","expected":"str"}},{"name":"worst_invariance","required":true,"type":{"kind":"str","expected)"
    R"(":"str"}},{"name":"max_logits_used","required":true,"type":{"kind":"float","expected":"float"}},{"na)"
    R"(me":"relative_logits_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name")"
    R"(:"label_agreement","required":true,"type":{"kind":"float","expected":"float"}},{"name":"changed","re)"
    R"(quired":true,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name")"
    R"(:"near_ties","required":true,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":")"
    R"(tuple"}},{"name":"budget","required":true,"type":{"kind":"object","expected":"Budget"}},{"name":"ari)"
    R"(thmetic","required":true,"type":{"kind":"str","expected":"str"}},{"name":"accuracy","required":true,)"
    R"("type":{"kind":"optional","of":{"kind":"object","expected":"AccuracyChange"}}},{"name":"corpus","req)"
    R"(uired":true,"type":{"kind":"str","expected":"str"}},{"name":"synthetic","required":true,"type":{"kin)"
    R"(d":"bool","expected":"bool"}},{"name":"corpus_sha256","required":true,"type":{"kind":"str","expected)"
    R"(":"str"}},{"name":"created","required":true,"type":{"kind":"str","expected":"str"}},{"name":"version)"
    R"(s","required":true,"type":{"kind":"dict","of":{"kind":"str","expected":"str"},"expected":"dict"}},{")"
    R"(name":"cpu","required":true,"type":{"kind":"str","expected":"str"}},{"name":"instruction_sets","requ)"
    R"(ired":true,"type":{"kind":"optional","of":{"kind":"list","of":{"kind":"str","expected":"str"},"expec)"
    R"(ted":"tuple"}}},{"name":"export_seconds","required":false,"type":{"kind":"optional","of":{"kind":"fl)"
    R"(oat","expected":"float"}}},{"name":"changed_near_ties","required":false,"type":{"kind":"list","of":{)"
    R"("kind":"str","expected":"str"},"expected":"tuple"}},{"name":"near_tie_lead","required":false,"type":)"
    R"({"kind":"optional","of":{"kind":"float","expected":"float"}}}],"Checkpoint":[{"name":"sha256","requi)"
    R"(red":true,"type":{"kind":"str","expected":"str"}},{"name":"temperature","required":true,"type":{"kin)"
    R"(d":"float","expected":"float"}}],"EngineEntry":[{"name":"file","required":true,"type":{"kind":"str",)"
    R"("expected":"str"}},{"name":"graph","required":true,"type":{"kind":"str","expected":"str"}},{"name":")"
    R"(flavor","required":true,"type":{"kind":"literal","values":["rtx","trt"]}},{"name":"version","require)"
    R"(d":true,"type":{"kind":"str","expected":"str"}},{"name":"compute_capability","required":true,"type":)"
    R"({"kind":"str","expected":"str"}},{"name":"profile","required":true,"type":{"kind":"dict","of":{"kind)"
    R"(":"dict","of":{"kind":"list","of":{"kind":"int","expected":"int"},"expected":"tuple"},"expected":"di)"
    R"(ct"},"expected":"dict"}},{"name":"key","required":true,"type":{"kind":"str","expected":"str"}},{"nam)"
    R"(e":"seconds","required":true,"type":{"kind":"float","expected":"float"}},{"name":"verified","require)"
    R"(d":true,"type":{"kind":"bool","expected":"bool"}}],"FileEntry":[{"name":"sha256","required":true,"ty)"
    R"(pe":{"kind":"str","expected":"str"}},{"name":"size","required":true,"type":{"kind":"int","expected":)"
    R"("int"}}],"GraphEntry":[{"name":"part","required":true,"type":{"kind":"literal","values":["fused","au)"
    R"(dio_encoder","text_encoder","cme","tab_head"]}},{"name":"precision","required":true,"type":{"kind":")"
    R"(literal","values":["fp32","fp16","bf16","int8","int8-static"]}},{"name":"file","required":true,"type)"
    R"(":{"kind":"str","expected":"str"}},{"name":"opset","required":true,"type":{"kind":"int","expected":")"
    R"(int"}},{"name":"certificate","required":true,"type":{"kind":"object","expected":"Certificate"}},{"na)"
    R"(me":"fp32_nodes","required":false,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expect)"
    R"(ed":"tuple"}},{"name":"reduce_range","required":false,"type":{"kind":"optional","of":{"kind":"bool",)"
    R"("expected":"bool"}}},{"name":"memory","required":false,"type":{"kind":"optional","of":{"kind":"objec)"
    R"(t","expected":"MemoryNeed"}}}],"Manifest":[{"name":"format_version","required":true,"type":{"kind":")"
    R"(int","expected":"int"}},{"name":"created","required":true,"type":{"kind":"str","expected":"str"}},{")"
    R"(name":"checkpoint","required":true,"type":{"kind":"object","expected":"Checkpoint"}},{"name":"files")"
    R"(,"required":true,"type":{"kind":"dict","of":{"kind":"object","expected":"FileEntry"},"expected":"dic)"
    R"(t"}},{"name":"graphs","required":true,"type":{"kind":"list","of":{"kind":"object","expected":"GraphE)"
    R"(ntry"},"expected":"tuple"}},{"name":"training","required":true,"type":{"kind":"object","expected":"T)"
    R"(raining"}},{"name":"versions","required":true,"type":{"kind":"dict","of":{"kind":"str","expected":"s)"
    R"(tr"},"expected":"dict"}},{"name":"machine","required":false,"type":{"kind":"dict","of":{"kind":"any")"
    R"(},"expected":"dict"}},{"name":"engines","required":false,"type":{"kind":"list","of":{"kind":"object")"
    R"(,"expected":"EngineEntry"},"expected":"tuple"}},{"name":"sequences","required":false,"type":{"kind":)"
    R"("dict","of":{"kind":"object","expected":"Certificate"},"expected":"dict"}}],"MemoryNeed":[{"name":"p)"
    R"(er_sample","required":true,"type":{"kind":"int","expected":"int"}},{"name":"per_frame","required":tr)"
    R"(ue,"type":{"kind":"int","expected":"int"}},{"name":"per_score","required":true,"type":{"kind":"int",)"
    R"("expected":"int"}},{"name":"per_convolved","required":true,"type":{"kind":"int","expected":"int"}},{)"
    R"("name":"scores_at_once","required":false,"type":{"kind":"optional","of":{"kind":"int","expected":"in)"
    R"(t"}}},{"name":"frames_at_once","required":false,"type":{"kind":"optional","of":{"kind":"int","expect)"
    R"(ed":"int"}}}],"PreprocessorConfig":[{"name":"feature_extractor_type","required":false,"type":{"kind")"
    R"(:"literal","values":["Wav2Vec2FeatureExtractor"]}},{"name":"feature_size","required":false,"type":{")"
    R"(kind":"int","expected":"int"}},{"name":"sampling_rate","required":false,"type":{"kind":"int","expect)"
    R"(ed":"int"}},{"name":"padding_value","required":false,"type":{"kind":"float","expected":"float"}},{"n)"
    R"(ame":"do_normalize","required":false,"type":{"kind":"bool","expected":"bool"}},{"name":"return_atten)"
    R"(tion_mask","required":false,"type":{"kind":"bool","expected":"bool"}},{"name":"modalities","required)"
    R"(":false,"type":{"kind":"list","of":{"kind":"literal","values":["audio","text"]},"expected":"tuple"}})"
    R"(,{"name":"min_samples","required":false,"type":{"kind":"int","expected":"int"}},{"name":"max_tokens")"
    R"(,"required":false,"type":{"kind":"int","expected":"int"}},{"name":"pad_token_id","required":false,"t)"
    R"(ype":{"kind":"int","expected":"int"}}],"ScoreChange":[{"name":"pytorch","required":true,"type":{"kin)"
    R"(d":"float","expected":"float"}},{"name":"graph","required":true,"type":{"kind":"float","expected":"f)"
    R"(loat"}},{"name":"change","required":true,"type":{"kind":"float","expected":"float"}},{"name":"interv)"
    R"(al","required":true,"type":{"kind":"items","of":[{"kind":"float","expected":"float"},{"kind":"float")"
    R"(,"expected":"float"}],"expected":"tuple"}}],"Scores":[{"name":"utterances","required":true,"type":{")"
    R"(kind":"int","expected":"int"}},{"name":"war","required":true,"type":{"kind":"float","expected":"floa)"
    R"(t"}},{"name":"uar","required":true,"type":{"kind":"float","expected":"float"}},{"name":"weighted_f1")"
    R"(,"required":true,"type":{"kind":"float","expected":"float"}},{"name":"recall","required":true,"type")"
    R"(:{"kind":"dict","of":{"kind":"optional","of":{"kind":"float","expected":"float"}},"expected":"dict"})"
    R"(},{"name":"confusion_matrix","required":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":)"
    R"("int","expected":"int"},"expected":"tuple"},"expected":"tuple"}},{"name":"loss","required":false,"ty)"
    R"(pe":{"kind":"optional","of":{"kind":"float","expected":"float"}}},{"name":"ece","required":false,"ty)"
    R"(pe":{"kind":"optional","of":{"kind":"object","expected":"BeforeAfter"}}}],"Training":[{"name":"title)"
    R"(","required":true,"type":{"kind":"str","expected":"str"}},{"name":"synthetic","required":true,"type")"
    R"(:{"kind":"bool","expected":"bool"}},{"name":"preset","required":true,"type":{"kind":"str","expected")"
    R"(:"str"}},{"name":"protocol","required":true,"type":{"kind":"literal","values":["honest","paper"]}},{)"
    R"("name":"seed","required":true,"type":{"kind":"int","expected":"int"}},{"name":"dataset","required":f)"
    R"(alse,"type":{"kind":"optional","of":{"kind":"str","expected":"str"}}},{"name":"folds","required":fal)"
    R"(se,"type":{"kind":"optional","of":{"kind":"str","expected":"str"}}},{"name":"fold","required":false,)"
    R"("type":{"kind":"optional","of":{"kind":"str","expected":"str"}}},{"name":"columns","required":false,)"
    R"("type":{"kind":"dict","of":{"kind":"str","expected":"str"},"expected":"dict"}},{"name":"selected_epo)"
    R"(ch","required":false,"type":{"kind":"optional","of":{"kind":"int","expected":"int"}}},{"name":"test")"
    R"(,"required":false,"type":{"kind":"optional","of":{"kind":"object","expected":"Scores"}}},{"name":"ca)"
    R"(libration","required":false,"type":{"kind":"optional","of":{"kind":"object","expected":"Calibration")"
    R"(}}},{"name":"finished","required":false,"type":{"kind":"bool","expected":"bool"}}]})";

}  // namespace mtab_core::tables
