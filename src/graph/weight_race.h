// Times matrix multiplications with one block's weights in different types: which type does this
// device multiply fastest? Each candidate takes its turn in every round, the fastest round counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/kernels.h"

namespace orthorank {

struct WeightTiming {
    std::string type;       // "file" or a type of weight_types.h
    double prefill_ms = 0;  // one block's matrices times 512 rows
    double decode_ms = 0;   // times one row, the weights not in a processor's cache
    double nmse = 0;        // of the block's converted weights against the file's
    int64_t bytes = 0;      // of all the model's matrices in this type
    // Whether the type holds every weight of the model; if not, the times and nmse are 0.
    bool can_hold = true;

    bool operator==(const WeightTiming &) const = default;
};

// "file", then those of bf16, f16, q8_0, q4_0 and q4_k whose blocks divide the model's rows and
// which are not the file's own, by the kernels that an engine with `kernels` takes. Experts are not
// timed, nor a type that cannot hold all weights. Throws as Model::load does, Error{device}.
std::vector<WeightTiming> race_weights(const std::string &gguf_path, const std::string &device,
                                       int n_threads, Kernels kernels);

// What race_weights would time, where: its answers hold as long as the description is the same.
struct RaceKey {
    std::string device;      // its name
    bool is_remote = false;  // an RPC server's: the description says where it is, not what it is
    // Devices and what their kernels are made for, our own kernels, threads, ggml's version, the
    // weights.
    std::string description;
};
RaceKey race_key(const std::string &gguf_path, const std::string &device, int n_threads,
                 Kernels kernels);

}  // namespace orthorank
