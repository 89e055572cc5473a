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
    R"({"name":"uar","required":true,"type":{"kind":"object","expected":"ScoreChange"}}],"AttentionCertific)"
    R"(ate":[{"name":"utterances","required":true,"type":{"kind":"int","expected":"int"}},{"name":"batch_si)"
    R"(ze","required":true,"type":{"kind":"int","expected":"int"}},{"name":"differences","required":true,"t)"
    R"(ype":{"kind":"dict","of":{"kind":"float","expected":"float"},"expected":"dict"}},{"name":"batched_di)"
    R"(fferences","required":true,"type":{"kind":"dict","of":{"kind":"float","expected":"float"},"expected")"
    R"(:"dict"}},{"name":"corpus","required":true,"type":{"kind":"str","expected":"str"}},{"name":"created")"
    R"(,"required":true,"type":{"kind":"str","expected":"str"}}],"BeforeAfter":[{"name":"before","required")"
    R"(:true,"type":{"kind":"float","expected":"float"}},{"name":"after","required":true,"type":{"kind":"fl)"
    R"(oat","expected":"float"}}],"Budget":[{"name":"max_difference","required":true,"type":{"kind":"float")"
    R"(,"expected":"float"}},{"name":"min_agreement","required":true,"type":{"kind":"float","expected":"flo)"
    R"(at"}}],"BundleConfig":[{"name":"id2label","required":true,"type":{"kind":"dict","of":{"kind":"str",")"
    R"(expected":"str"},"expected":"dict"}},{"name":"modalities","required":true,"type":{"kind":"list","of")"
    R"(:{"kind":"literal","values":["audio","text"]},"expected":"tuple"}},{"name":"supported_modalities","r)"
    R"(equired":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":"literal","values":["audio","te)"
    R"(xt"]},"expected":"tuple"},"expected":"tuple"}},{"name":"embedding_size","required":true,"type":{"kin)"
    R"(d":"int","expected":"int"}},{"name":"hidden_sizes","required":true,"type":{"kind":"dict","of":{"kind)"
    R"(":"int","expected":"int"},"expected":"dict"}},{"name":"model_type","required":false,"type":{"kind":")"
    R"(literal","values":["mul-tab"]}}],"Calibration":[{"name":"temperature","required":true,"type":{"kind")"
    R"(:"float","expected":"float"}},{"name":"validation","required":true,"type":{"kind":"optional","of":{")"
    R"(kind":"object","expected":"CalibrationScores"}}},{"name":"test","required":true,"type":{"kind":"obje)"
    R"(ct","expected":"CalibrationScores"}},{"name":"reason","required":false,"type":{"kind":"optional","of)"
    R"(":{"kind":"str","expected":"str"}}}],"CalibrationScores":[{"name":"utterances","required":true,"type)"
    R"(":{"kind":"int","expected":"int"}},{"name":"nll","required":true,"type":{"kind":"object","expected":)"
    R"("BeforeAfter"}},{"name":"ece","required":true,"type":{"kind":"object","expected":"BeforeAfter"}}],"C)"
    R"(ertificate":[{"name":"utterances","required":true,"type":{"kind":"int","expected":"int"}},{"name":"b)"
    R"(atch_size","required":true,"type":{"kind":"int","expected":"int"}},{"name":"max_probability_differen)"
    R"(ce","required":true,"type":{"kind":"float","expected":"float"}},{"name":"mean_probability_difference)"
    R"(","required":true,"type":{"kind":"float","expected":"float"}},{"name":"max_batched_difference","requ)"
    R"(ired":true,"type":{"kind":"float","expected":"float"}},{"name":"max_invariance_difference","required)"
    R"(":true,"type":{"kind":"float","expected":"float"}},{"name":"worst","required":true,"type":{"kind":"s)"
    R"(tr","expected":"str"}},{"name":"worst_batched","required":true,"type":{"kind":"str","expected":"str")"
    R"(}},{"name":"worst_invariance","required":true,"type":{"kind":"str","expected":"str"}},{"name":"max_l)"
    R"(ogits_used","required":true,"type":{"kind":"float","expected":"float"}},{"name":"relative_logits_dif)"
    R"(ference","required":true,"type":{"kind":"float","expected":"float"}},{"name":"label_agreement","requ)"
    R"(ired":true,"type":{"kind":"float","expected":"float"}},{"name":"changed","required":true,"type":{"ki)"
    R"(nd":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name":"near_ties","required":)"
    R"(true,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name":"budget)"
    R"(","required":true,"type":{"kind":"object","expected":"Budget"}},{"name":"arithmetic","required":true)"
    R"(,"type":{"kind":"str","expected":"str"}},{"name":"accuracy","required":true,"type":{"kind":"optional)"
    R"(","of":{"kind":"object","expected":"AccuracyChange"}}},{"name":"corpus","required":true,"type":{"kin)"
    R"(d":"str","expected":"str"}},{"name":"synthetic","required":true,"type":{"kind":"bool","expected":"bo)"
    R"(ol"}},{"name":"corpus_sha256","required":true,"type":{"kind":"str","expected":"str"}},{"name":"creat)"
    R"(ed","required":true,"type":{"kind":"str","expected":"str"}},{"name":"versions","required":true,"type)"
    R"(":{"kind":"dict","of":{"kind":"str","expected":"str"},"expected":"dict"}},{"name":"cpu","required":t)"
    R"(rue,"type":{"kind":"str","expected":"str"}},{"name":"instruction_sets","required":true,"type":{"kind)"
    R"(":"optional","of":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}}},{"name":)"
    R"("export_seconds","required":false,"type":{"kind":"optional","of":{"kind":"float","expected":"float"})"
    R"(}},{"name":"changed_near_ties","required":false,"type":{"kind":"list","of":{"kind":"str","expected":)"
    R"("str"},"expected":"tuple"}},{"name":"near_tie_lead","required":false,"type":{"kind":"optional","of":)"
    R"({"kind":"float","expected":"float"}}}],"Checkpoint":[{"name":"sha256","required":true,"type":{"kind")"
    R"(:"str","expected":"str"}},{"name":"temperature","required":true,"type":{"kind":"float","expected":"f)"
    R"(loat"}}],"EngineEntry":[{"name":"file","required":true,"type":{"kind":"str","expected":"str"}},{"nam)"
    R"(e":"graph","required":true,"type":{"kind":"str","expected":"str"}},{"name":"flavor","required":true,)"
    R"("type":{"kind":"literal","values":["rtx","trt"]}},{"name":"version","required":true,"type":{"kind":")"
    R"(str","expected":"str"}},{"name":"compute_capability","required":true,"type":{"kind":"str","expected")"
    R"(:"str"}},{"name":"profile","required":true,"type":{"kind":"dict","of":{"kind":"dict","of":{"kind":"l)"
    R"(ist","of":{"kind":"int","expected":"int"},"expected":"tuple"},"expected":"dict"},"expected":"dict"}})"
    R"(,{"name":"key","required":true,"type":{"kind":"str","expected":"str"}},{"name":"seconds","required":)"
    R"(true,"type":{"kind":"float","expected":"float"}},{"name":"verified","required":true,"type":{"kind":")"
    R"(bool","expected":"bool"}}],"FileEntry":[{"name":"sha256","required":true,"type":{"kind":"str","expec)"
    R"(ted":"str"}},{"name":"size","required":true,"type":{"kind":"int","expected":"int"}}],"GraphEntry":[{)"
    R"("name":"part","required":true,"type":{"kind":"literal","values":["fused","audio_encoder","text_encod)"
    R"(er","cme","tab_head"]}},{"name":"precision","required":true,"type":{"kind":"literal","values":["fp32)"
    R"(","fp16","bf16","int8","int8-static"]}},{"name":"file","required":true,"type":{"kind":"str","expecte)"
    R"(d":"str"}},{"name":"opset","required":true,"type":{"kind":"int","expected":"int"}},{"name":"certific)"
    R"(ate","required":true,"type":{"kind":"object","expected":"Certificate"}},{"name":"fp32_nodes","requir)"
    R"(ed":false,"type":{"kind":"list","of":{"kind":"str","expected":"str"},"expected":"tuple"}},{"name":"r)"
    R"(educe_range","required":false,"type":{"kind":"optional","of":{"kind":"bool","expected":"bool"}}},{"n)"
    R"(ame":"memory","required":false,"type":{"kind":"optional","of":{"kind":"object","expected":"MemoryNee)"
    R"(d"}}}],"Manifest":[{"name":"format_version","required":true,"type":{"kind":"int","expected":"int"}},)"
    R"({"name":"created","required":true,"type":{"kind":"str","expected":"str"}},{"name":"checkpoint","requ)"
    R"(ired":true,"type":{"kind":"object","expected":"Checkpoint"}},{"name":"files","required":true,"type":)"
    R"({"kind":"dict","of":{"kind":"object","expected":"FileEntry"},"expected":"dict"}},{"name":"graphs","r)"
    R"(equired":true,"type":{"kind":"list","of":{"kind":"object","expected":"GraphEntry"},"expected":"tuple)"
    R"("}},{"name":"training","required":true,"type":{"kind":"object","expected":"Training"}},{"name":"vers)"
    R"(ions","required":true,"type":{"kind":"dict","of":{"kind":"str","expected":"str"},"expected":"dict"}})"
    R"(,{"name":"machine","required":false,"type":{"kind":"dict","of":{"kind":"any"},"expected":"dict"}},{")"
    R"(name":"engines","required":false,"type":{"kind":"list","of":{"kind":"object","expected":"EngineEntry)"
    R"("},"expected":"tuple"}},{"name":"sequences","required":false,"type":{"kind":"dict","of":{"kind":"obj)"
    R"(ect","expected":"Certificate"},"expected":"dict"}},{"name":"reasons","required":false,"type":{"kind")"
    R"(:"optional","of":{"kind":"object","expected":"ReasonsEntry"}}}],"MemoryNeed":[{"name":"per_sample",")"
    R"(required":true,"type":{"kind":"int","expected":"int"}},{"name":"per_frame","required":true,"type":{")"
    R"(kind":"int","expected":"int"}},{"name":"per_score","required":true,"type":{"kind":"int","expected":")"
    R"(int"}},{"name":"per_convolved","required":true,"type":{"kind":"int","expected":"int"}},{"name":"scor)"
    R"(es_at_once","required":false,"type":{"kind":"optional","of":{"kind":"int","expected":"int"}}},{"name)"
    R"(":"frames_at_once","required":false,"type":{"kind":"optional","of":{"kind":"int","expected":"int"}}})"
    R"(],"PreprocessorConfig":[{"name":"feature_extractor_type","required":false,"type":{"kind":"literal",")"
    R"(values":["Wav2Vec2FeatureExtractor"]}},{"name":"feature_size","required":false,"type":{"kind":"int",)"
    R"("expected":"int"}},{"name":"sampling_rate","required":false,"type":{"kind":"int","expected":"int"}},)"
    R"({"name":"padding_value","required":false,"type":{"kind":"float","expected":"float"}},{"name":"do_nor)"
    R"(malize","required":false,"type":{"kind":"bool","expected":"bool"}},{"name":"return_attention_mask",")"
    R"(required":false,"type":{"kind":"bool","expected":"bool"}},{"name":"modalities","required":false,"typ)"
    R"(e":{"kind":"list","of":{"kind":"literal","values":["audio","text"]},"expected":"tuple"}},{"name":"mi)"
    R"(n_samples","required":false,"type":{"kind":"int","expected":"int"}},{"name":"max_tokens","required":)"
    R"(false,"type":{"kind":"int","expected":"int"}},{"name":"pad_token_id","required":false,"type":{"kind")"
    R"(:"int","expected":"int"}}],"ReasonsEntry":[{"name":"file","required":true,"type":{"kind":"str","expe)"
    R"(cted":"str"}},{"name":"outputs","required":true,"type":{"kind":"list","of":{"kind":"str","expected":)"
    R"("str"},"expected":"tuple"}},{"name":"hop","required":true,"type":{"kind":"optional","of":{"kind":"in)"
    R"(t","expected":"int"}}},{"name":"memory","required":true,"type":{"kind":"object","expected":"MemoryNe)"
    R"(ed"}},{"name":"certificate","required":true,"type":{"kind":"object","expected":"AttentionCertificate)"
    R"("}}],"ScoreChange":[{"name":"pytorch","required":true,"type":{"kind":"float","expected":"float"}},{")"
    R"(name":"graph","required":true,"type":{"kind":"float","expected":"float"}},{"name":"change","required)"
    R"(":true,"type":{"kind":"float","expected":"float"}},{"name":"interval","required":true,"type":{"kind")"
    R"(:"items","of":[{"kind":"float","expected":"float"},{"kind":"float","expected":"float"}],"expected":")"
    R"(tuple"}}],"Scores":[{"name":"utterances","required":true,"type":{"kind":"int","expected":"int"}},{"n)"
    R"(ame":"war","required":true,"type":{"kind":"float","expected":"float"}},{"name":"uar","required":true)"
    R"(,"type":{"kind":"float","expected":"float"}},{"name":"weighted_f1","required":true,"type":{"kind":"f)"
    R"(loat","expected":"float"}},{"name":"recall","required":true,"type":{"kind":"dict","of":{"kind":"opti)"
    R"(onal","of":{"kind":"float","expected":"float"}},"expected":"dict"}},{"name":"confusion_matrix","requ)"
    R"(ired":true,"type":{"kind":"list","of":{"kind":"list","of":{"kind":"int","expected":"int"},"expected")"
    R"(:"tuple"},"expected":"tuple"}},{"name":"loss","required":false,"type":{"kind":"optional","of":{"kind)"
    R"(":"float","expected":"float"}}},{"name":"ece","required":false,"type":{"kind":"optional","of":{"kind)"
    R"(":"object","expected":"BeforeAfter"}}}],"Training":[{"name":"title","required":true,"type":{"kind":")"
    R"(str","expected":"str"}},{"name":"synthetic","required":true,"type":{"kind":"bool","expected":"bool"})"
    R"(},{"name":"preset","required":true,"type":{"kind":"str","expected":"str"}},{"name":"protocol","requi)"
    R"(red":true,"type":{"kind":"literal","values":["honest","paper"]}},{"name":"seed","required":true,"typ)"
    R"(e":{"kind":"int","expected":"int"}},{"name":"dataset","required":false,"type":{"kind":"optional","of)"
    R"(":{"kind":"str","expected":"str"}}},{"name":"folds","required":false,"type":{"kind":"optional","of":)"
    R"({"kind":"str","expected":"str"}}},{"name":"fold","required":false,"type":{"kind":"optional","of":{"k)"
    R"(ind":"str","expected":"str"}}},{"name":"columns","required":false,"type":{"kind":"dict","of":{"kind")"
    R"(:"str","expected":"str"},"expected":"dict"}},{"name":"selected_epoch","required":false,"type":{"kind)"
    R"(":"optional","of":{"kind":"int","expected":"int"}}},{"name":"test","required":false,"type":{"kind":")"
    R"(optional","of":{"kind":"object","expected":"Scores"}}},{"name":"calibration","required":false,"type")"
    R"(:{"kind":"optional","of":{"kind":"object","expected":"Calibration"}}},{"name":"finished","required":)"
    R"(false,"type":{"kind":"bool","expected":"bool"}}]})";

}  // namespace mtab_core::tables
