// One block's matrices in different types: what a choice of types is timed on. Owns the metadata of
// the file; what load() returns owns its memory. One thread at a time.
#pragma once

#include <ggml-cpp.h>

#include <memory>
#include <string>
#include <vector>

#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/weight_list.h"
#include "model/weight_store.h"

namespace orthorank {

class LayerSample {
 public:
    // The block in the middle, on the first of these devices. Throws as Model::load does.
    LayerSample(const std::string &gguf_path, const std::string &device);

    struct Matrices {
        std::unique_ptr<WeightStore> store;
        std::vector<ggml_tensor *> tensors;
        double nmse = 0;          // against the file's values
        int64_t model_bytes = 0;  // of all matrices of the model in this type
    };
    // Whether the model's rows are whole blocks of a type of weight_types.h.
    bool can_hold(const std::string &type) const;
    // Whether these are the matrices' types already.
    bool is_held_as(const std::string &type) const;
    // repack: in the device's own layouts where it has them.
    Matrices load(const std::string &type, bool repack = true) const;
    const std::vector<ggml_backend_dev_t> &devices() const { return devices_; }
    // max |weight| of all matrices of the model, infinity when there is one that is no number.
    // Reads all of them.
    double largest_weight() const;
    // Types and shapes of the matrices and a digest of all the model's, such as
    // "q4_1 576x576, q4_1 576x192, weights 0123456789abcdef".
    std::string description() const;

 private:
    GgufFile file_;
    std::vector<ggml_backend_dev_t> devices_;
    Hparams hparams_;
    Weights weights_;
    std::vector<WeightRequest> requests_;  // all convertible ones, into weights_
    std::string prefix_;                   // of the block's names
};

}  // namespace orthorank
