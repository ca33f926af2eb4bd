// A GGUF file becomes an immutable Model: hyper-parameters, weights in backend buffers, vocabulary.
// Loading asks for every tensor by name and expected shape and reports what is wrong in one line.
// A Model is const after loading and may be shared by any number of engines and threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "model/hparams.h"
#include "model/layer_split.h"
#include "model/weight_types.h"
#include "model/weights.h"

namespace orthorank {

class Vocab;

struct ModelOptions {
    // Names of devices as `orthorank info` lists them, such as "CPU" or "CUDA0,RPC0". Empty: see
    // choose_devices(). An unknown name throws Error{device} with the known ones.
    std::string device;
    // Which of them has which layers, as split_layers() takes it.
    std::string split = "auto";
    bool use_mmap = true;  // false: read the weights into memory
    bool repack = true;    // false: never convert weights to the device's own layouts (repacked)
    // Weights of the prefill that are repacked are held as the file has them too: in the mapping,
    // or in memory beside the repacked ones.
    bool plain_copies = false;
    // What the matrices are held in; no "auto" any more. Other weights stay as they are.
    WeightTypes weights;
};

// The matrices that one phase multiplies with.
struct WeightCopy {
    std::string type;  // as in WeightTypes
    int64_t bytes = 0;
    double nmse = 0;  // of what was converted, against the file's values
};

// What `info` prints of one tensor type or buffer.
struct TensorTypeCount {
    std::string type;  // ggml's name, such as "q4_1"
    int n_tensors = 0;
    int64_t bytes = 0;
};

// What one device has of a model.
struct DeviceShare {
    std::string device;  // its name
    std::string description;
    std::vector<int> layers;
    int64_t weight_bytes = 0;
};

class Model {
 public:
    // Throws Error{file}, Error{format}, Error{device}, or Error{usage} when a type of weights does
    // not fit the model.
    static std::unique_ptr<Model> load(const std::string &path, const ModelOptions &options = {});
    ~Model();
    Model(const Model &) = delete;
    Model &operator=(const Model &) = delete;

    const std::string &path() const;
    // As asked for when it was loaded.
    bool use_mmap() const;
    const Hparams &hparams() const;
    // Both phases have the same weights unless ModelOptions asks for two types.
    // plain: as the file has them (ModelOptions::plain_copies), but for a decode of another type.
    const Weights &weights(Phase phase = Phase::prefill, bool plain = false) const;
    const WeightCopy &weight_copy(Phase phase) const;
    WeightTypes weight_types() const;
    const Vocab &vocab() const;
    // The devices, and which layers each has.
    const LayerSplit &split() const;
    // The device that computes, or the first of several; then further ones; the last is a CPU.
    const std::vector<ggml_backend_dev_t> &devices() const;
    // Of every device that has weights, in the order of split().
    std::vector<DeviceShare> shares() const;
    // The file's type, and after "as" what its matrices are held in where that differs: "Q4_1",
    // "Q4_1 as bf16". What results depend on.
    std::string type_in_use() const;
    // The file's general.file_type as ggml names it, such as "Q4_1", or the most common type.
    const std::string &file_type() const;
    const std::vector<TensorTypeCount> &tensor_types() const;
    int64_t n_params() const;
    // Bytes of weights held, by buffer type name ("CPU_Mapped", "CPU_REPACK", ...).
    std::vector<std::pair<std::string, int64_t>> buffer_bytes() const;
    // 16 hex digits: a hash of the hyper-parameters, the vocabulary and the F32 norm tensors, equal
    // for all quantisations of one model.
    const std::string &fingerprint() const;

 private:
    Model();
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace orthorank
