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
    R"(y":null},{"name":"embeddings","dtype":"float32","axes":["batch","embedding"],"modality":null},{"name)"
    R"(":"dimensions","dtype":"float32","axes":["batch","dimensions"],"modality":null}]})";
// The fields of the JSON files of a bundle, by class.
inline constexpr char kSchema[] =
    R"({"AccuracyChange":[{"name":"war","required":true,"type":{"kind":"object","expected":"ScoreChange"}},)"
    R"({"name":"uar","required":true,"type":{"kind":"object","expected":"ScoreChange"}}],"BeforeAfter":[{"n)"
    R"(ame":"before","required":true,"type":{"kind":"float","expected":"float"}},{"name":"after","required")"
    R"(:true,"type":{"kind":"float","expected":"float"}}],"Budget":[{"name":"max_difference","required":tru)"
    R"(e,"type":{"kind":"float","expected":"float"}},{"name":"min_agreement","required":true,"type":{"kind")"
    R"(:"float","expected":"float"}},{"name":"max_dimension_difference","required":false,"type":{"kind":"fl)"
    R"(oat","expected":"float"}}],"BundleConfig":[{"name":"id2label","required":true,"type":{"kind":"dict",)"
    R"("of":{"kind":"str","expected":"str"},"expected":"dict"}},{"name":"modalities","required":true,"type")"
    R"(:{"kind":"list","of":{"kind":"literal","values":["audio","text"]},"expected":"tuple"}},{"name":"supp)"
    R"(orted_modalities","required":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":"literal",")"
    R"(values":["audio","text"]},"expected":"tuple"},"expected":"tuple"}},{"name":"embedding_size","require)"
    R"(d":true,"type":{"kind":"int","expected":"int"}},{"name":"hidden_sizes","required":true,"type":{"kind)"
    R"(":"dict","of":{"kind":"int","expected":"int"},"expected":"dict"}},{"name":"model_type","required":fa)"
    R"(lse,"type":{"kind":"literal","values":["mul-tab"]}},{"name":"dimensions","required":false,"type":{"k)"
    R"(ind":"list","of":{"kind":"object","expected":"DimensionEntry"},"expected":"tuple"}}],"Calibration":[)"
    R"({"name":"temperature","required":true,"type":{"kind":"float","expected":"float"}},{"name":"validatio)"
    R"(n","required":true,"type":{"kind":"optional","of":{"kind":"object","expected":"CalibrationScores"}}})"
    R"(,{"name":"test","required":true,"type":{"kind":"object","expected":"CalibrationScores"}},{"name":"re)"
    R"(ason","required":false,"type":{"kind":"optional","of":{"kind":"str","expected":"str"}}}],"Calibratio)"
    R"(nScores":[{"name":"utterances","required":true,"type":{"kind":"int","expected":"int"}},{"name":"nll")"
    R"(,"required":true,"type":{"kind":"object","expected":"BeforeAfter"}},{"name":"ece","required":true,"t)"
    R"(ype":{"kind":"object","expected":"BeforeAfter"}}],"Certificate":[{"name":"utterances","required":tru)"
    R"(e,"type":{"kind":"int","expected":"int"}},{"name":"batch_size","required":true,"type":{"kind":"int",)"
    R"("expected":"int"}},{"name":"max_probability_difference","required":true,"type":{"kind":"float","expe)"
    R"(cted":"float"}},{"name":"mean_probability_difference","required":true,"type":{"kind":"float","expect)"
    R"(ed":"float"}},{"name":"max_batched_difference","required":true,"type":{"kind":"float","expected":"fl)"
    R"(oat"}},{"name":"max_invariance_difference","required":true,"type":{"kind":"float","expected":"float")"
    R"(}},{"name":"worst","required":true,"type":{"kind":"str","expected":"str"}},{"name":"worst_batched",")"
    R"(required":true,"type":{"kind":"str","expected":"str"}},{"name":"worst_invariance","required":true,"t)"
    R"(ype":{"kind":"str","expected":"str"}},{"name":"max_logits_used","required":true,"type":{"kind":"floa)"
    R"(t","expected":"float"}},{"name":"relative_logits_difference","required":true,"type":{"kind":"float",)"
    R"("expected":"float"}},{"name":"label_agreement","required":true,"type":{"kind":"float","expected":"fl)"
    R"(oat"}},{"name":"changed","required":true,"type":{"kind":"list","of":{"kind":"str","expected":"str"},)"
    R"("expected":"tuple"}},{"name":"near_ties","required":true,"type":{"kind":"list","of":{"kind":"str","e)"
    R"(xpected":"str"},"expected":"tuple"}},{"name":"budget","required":true,"type":{"kind":"object","expec)"
    R"(ted":"Budget"}},{"name":"arithmetic","required":true,"type":{"kind":"str","expected":"str"}},{"name")"
    R"(:"accuracy","required":true,"type":{"kind":"optional","of":{"kind":"object","expected":"AccuracyChan)"
    R"(ge"}}},{"name":"corpus","required":true,"type":{"kind":"str","expected":"str"}},{"name":"synthetic",)"
    R"("required":true,"type":{"kind":"bool","expected":"bool"}},{"name":"corpus_sha256","required":true,"t)"
    R"(ype":{"kind":"str","expected":"str"}},{"name":"created","required":true,"type":{"kind":"str","expect)"
    R"(ed":"str"}},{"name":"versions","required":true,"type":{"kind":"dict","of":{"kind":"str","expected":")"
    R"(str"},"expected":"dict"}},{"name":"cpu","required":true,"type":{"kind":"str","expected":"str"}},{"na)"
    R"(me":"instruction_sets","required":true,"type":{"kind":"optional","of":{"kind":"list","of":{"kind":"s)"
    R"(tr","expected":"str"},"expected":"tuple"}}},{"name":"export_seconds","required":false,"type":{"kind")"
    R"(:"optional","of":{"kind":"float","expected":"float"}}},{"name":"changed_near_ties","required":false,)"
    R"("type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name":"near_tie_le)"
    R"(ad","required":false,"type":{"kind":"optional","of":{"kind":"float","expected":"float"}}},{"name":"d)"
    R"(imensions","required":false,"type":{"kind":"optional","of":{"kind":"object","expected":"DimensionCha)"
    R"(nge"}}}],"Checkpoint":[{"name":"sha256","required":true,"type":{"kind":"str","expected":"str"}},{"na)"
    R"(me":"temperature","required":true,"type":{"kind":"float","expected":"float"}}],"DimensionChange":[{")"
    R"(name":"max_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"max_batc)"
    R"(hed_difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"max_invariance_)"
    R"(difference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"worst","required":t)"
    R"(rue,"type":{"kind":"str","expected":"str"}},{"name":"worst_batched","required":true,"type":{"kind":")"
    R"(str","expected":"str"}},{"name":"worst_invariance","required":true,"type":{"kind":"str","expected":")"
    R"(str"}}],"DimensionEntry":[{"name":"name","required":true,"type":{"kind":"literal","values":["valence)"
    R"(","arousal","dominance"]}},{"name":"std","required":true,"type":{"kind":"float","expected":"float"}})"
    R"(],"EngineEntry":[{"name":"file","required":true,"type":{"kind":"str","expected":"str"}},{"name":"gra)"
    R"(ph","required":true,"type":{"kind":"str","expected":"str"}},{"name":"flavor","required":true,"type":)"
    R"({"kind":"literal","values":["rtx","trt"]}},{"name":"version","required":true,"type":{"kind":"str","e)"
    R"(xpected":"str"}},{"name":"compute_capability","required":true,"type":{"kind":"str","expected":"str"})"
    R"(},{"name":"profile","required":true,"type":{"kind":"dict","of":{"kind":"dict","of":{"kind":"list","o)"
    R"(f":{"kind":"int","expected":"int"},"expected":"tuple"},"expected":"dict"},"expected":"dict"}},{"name)"
    R"(":"key","required":true,"type":{"kind":"str","expected":"str"}},{"name":"seconds","required":true,"t)"
    R"(ype":{"kind":"float","expected":"float"}},{"name":"verified","required":true,"type":{"kind":"bool",")"
    R"(expected":"bool"}}],"FileEntry":[{"name":"sha256","required":true,"type":{"kind":"str","expected":"s)"
    R"(tr"}},{"name":"size","required":true,"type":{"kind":"int","expected":"int"}}],"GraphEntry":[{"name":)"
    R"("part","required":true,"type":{"kind":"literal","values":["fused","audio_encoder","text_encoder","cm)"
    R"(e","tab_head"]}},{"name":"precision","required":true,"type":{"kind":"literal","values":["fp32","fp16)"
    R"(","bf16","int8","int8-static"]}},{"name":"file","required":true,"type":{"kind":"str","expected":"str)"
    R"("}},{"name":"opset","required":true,"type":{"kind":"int","expected":"int"}},{"name":"certificate","r)"
    R"(equired":true,"type":{"kind":"object","expected":"Certificate"}},{"name":"fp32_nodes","required":fal)"
    R"(se,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name":"reduce_r)"
    R"(ange","required":false,"type":{"kind":"optional","of":{"kind":"bool","expected":"bool"}}},{"name":"m)"
    R"(emory","required":false,"type":{"kind":"optional","of":{"kind":"object","expected":"MemoryNeed"}}}],)"
    R"("Manifest":[{"name":"format_version","required":true,"type":{"kind":"int","expected":"int"}},{"name")"
    R"(:"created","required":true,"type":{"kind":"str","expected":"str"}},{"name":"checkpoint","required":t)"
    R"(rue,"type":{"kind":"object","expected":"Checkpoint"}},{"name":"files","required":true,"type":{"kind")"
    R"(:"dict","of":{"kind":"object","expected":"FileEntry"},"expected":"dict"}},{"name":"graphs","required)"
    R"(":true,"type":{"kind":"list","of":{"kind":"object","expected":"GraphEntry"},"expected":"tuple"}},{"n)"
    R"(ame":"training","required":true,"type":{"kind":"object","expected":"Training"}},{"name":"versions",")"
    R"(required":true,"type":{"kind":"dict","of":{"kind":"str","expected":"str"},"expected":"dict"}},{"name)"
    R"(":"machine","required":false,"type":{"kind":"dict","of":{"kind":"any"},"expected":"dict"}},{"name":")"
    R"(engines","required":false,"type":{"kind":"list","of":{"kind":"object","expected":"EngineEntry"},"exp)"
    R"(ected":"tuple"}},{"name":"sequences","required":false,"type":{"kind":"dict","of":{"kind":"object","e)"
    R"(xpected":"Certificate"},"expected":"dict"}}],"MemoryNeed":[{"name":"per_sample","required":true,"typ)"
    R"(e":{"kind":"int","expected":"int"}},{"name":"per_frame","required":true,"type":{"kind":"int","expect)"
    R"(ed":"int"}},{"name":"per_score","required":true,"type":{"kind":"int","expected":"int"}},{"name":"per)"
    R"(_convolved","required":true,"type":{"kind":"int","expected":"int"}},{"name":"scores_at_once","requir)"
    R"(ed":false,"type":{"kind":"optional","of":{"kind":"int","expected":"int"}}},{"name":"frames_at_once",)"
    R"("required":false,"type":{"kind":"optional","of":{"kind":"int","expected":"int"}}}],"PreprocessorConf)"
    R"(ig":[{"name":"feature_extractor_type","required":false,"type":{"kind":"literal","values":["Wav2Vec2F)"
    R"(eatureExtractor"]}},{"name":"feature_size","required":false,"type":{"kind":"int","expected":"int"}},)"
    R"({"name":"sampling_rate","required":false,"type":{"kind":"int","expected":"int"}},{"name":"padding_va)"
    R"(lue","required":false,"type":{"kind":"float","expected":"float"}},{"name":"do_normalize","required":)"
    R"(false,"type":{"kind":"bool","expected":"bool"}},{"name":"return_attention_mask","required":false,"ty)"
    R"(pe":{"kind":"bool","expected":"bool"}},{"name":"modalities","required":false,"type":{"kind":"list",")"
    R"(of":{"kind":"literal","values":["audio","text"]},"expected":"tuple"}},{"name":"min_samples","require)"
    R"(d":false,"type":{"kind":"int","expected":"int"}},{"name":"max_tokens","required":false,"type":{"kind)"
    R"(":"int","expected":"int"}},{"name":"pad_token_id","required":false,"type":{"kind":"int","expected":")"
    R"(int"}}],"ScoreChange":[{"name":"pytorch","required":true,"type":{"kind":"float","expected":"float"}})"
    R"(,{"name":"graph","required":true,"type":{"kind":"float","expected":"float"}},{"name":"change","requi)"
    R"(red":true,"type":{"kind":"float","expected":"float"}},{"name":"interval","required":true,"type":{"ki)"
    R"(nd":"items","of":[{"kind":"float","expected":"float"},{"kind":"float","expected":"float"}],"expected)"
    R"(":"tuple"}}],"Scores":[{"name":"utterances","required":true,"type":{"kind":"int","expected":"int"}},)"
    R"({"name":"war","required":true,"type":{"kind":"float","expected":"float"}},{"name":"uar","required":t)"
    R"(rue,"type":{"kind":"float","expected":"float"}},{"name":"weighted_f1","required":true,"type":{"kind")"
    R"(:"float","expected":"float"}},{"name":"recall","required":true,"type":{"kind":"dict","of":{"kind":"o)"
    R"(ptional","of":{"kind":"float","expected":"float"}},"expected":"dict"}},{"name":"confusion_matrix","r)"
    R"(equired":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":"int","expected":"int"},"expect)"
    R"(ed":"tuple"},"expected":"tuple"}},{"name":"loss","required":false,"type":{"kind":"optional","of":{"k)"
    R"(ind":"float","expected":"float"}}},{"name":"ece","required":false,"type":{"kind":"optional","of":{"k)"
    R"(ind":"object","expected":"BeforeAfter"}}},{"name":"ccc","required":false,"type":{"kind":"optional",")"
    R"(of":{"kind":"dict","of":{"kind":"optional","of":{"kind":"float","expected":"float"}},"expected":"dic)"
    R"(t"}}}],"Training":[{"name":"title","required":true,"type":{"kind":"str","expected":"str"}},{"name":")"
    R"(synthetic","required":true,"type":{"kind":"bool","expected":"bool"}},{"name":"preset","required":tru)"
    R"(e,"type":{"kind":"str","expected":"str"}},{"name":"protocol","required":true,"type":{"kind":"literal)"
    R"(","values":["honest","paper"]}},{"name":"seed","required":true,"type":{"kind":"int","expected":"int")"
    R"(}},{"name":"dataset","required":false,"type":{"kind":"optional","of":{"kind":"str","expected":"str"})"
    R"(}},{"name":"folds","required":false,"type":{"kind":"optional","of":{"kind":"str","expected":"str"}}})"
    R"(,{"name":"fold","required":false,"type":{"kind":"optional","of":{"kind":"str","expected":"str"}}},{")"
    R"(name":"columns","required":false,"type":{"kind":"dict","of":{"kind":"str","expected":"str"},"expecte)"
    R"(d":"dict"}},{"name":"selected_epoch","required":false,"type":{"kind":"optional","of":{"kind":"int",")"
    R"(expected":"int"}}},{"name":"test","required":false,"type":{"kind":"optional","of":{"kind":"object",")"
    R"(expected":"Scores"}}},{"name":"calibration","required":false,"type":{"kind":"optional","of":{"kind":)"
    R"("object","expected":"Calibration"}}},{"name":"finished","required":false,"type":{"kind":"bool","expe)"
    R"(cted":"bool"}}]})";

}  // namespace mtab_core::tables
