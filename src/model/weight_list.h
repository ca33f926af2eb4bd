// Which tensors a model consists of: every one asked for by name and expected shape, and the place
// in Weights where it goes. Throws Error{format} for what is missing or does not fit.
#pragma once

#include <string>
#include <vector>

#include "model/devices.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/weight_types.h"
#include "model/weights.h"

namespace orthorank {

struct WeightRequest {
    ggml_tensor **slot = nullptr;  // where the loaded tensor's pointer goes
    TensorInfo info;               // of the file's tensor, or of some of its rows
    WeightUse use = WeightUse::matrix;
    int layer = 0;                // of it; the embedding's is -1, the head's n_layers
    int type = 0;                 // the ggml_type to hold it in
    bool is_convertible = false;  // a matrix that may be held in another type than the file's
    bool is_norm = false;         // part of the model's fingerprint
    bool is_tied = false;         // the output head that is the embedding again
    bool is_repeated = false;     // another layer asks for the same: counted once
    bool is_plain = false;        // never in a layout of the device's own
};

// Fills weights.layers with empty layers and lists what goes where. `weights` must stay where it is
// as long as the requests are used.
std::vector<WeightRequest> list_weights(const GgufFile &file, const Hparams &hparams,
                                        Weights &weights);

// Asks for the convertible matrices in a type of weight_types.h. Throws Error{usage} when the rows
// of one of them are no whole blocks of it.
void hold_as(std::vector<WeightRequest> &requests, const std::string &type);

}  // namespace orthorank
