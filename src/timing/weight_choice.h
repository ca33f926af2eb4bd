// --weights auto: which types of weights this device multiplies fastest, timed once and remembered
// in a file of the user's cache. Only types that hardly change the weights are taken; what a
// coarser one would gain can be read from the timings.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/weight_race.h"
#include "model/weight_types.h"

namespace orthorank {

// Types whose weights are further from the file's are never chosen: 8 bits pass, 4 bits do not. Nor
// those that cannot hold a weight at all.
constexpr double k_max_choice_nmse = 1e-4;

// The fastest type for each phase, as in the file where nothing is 5% faster. When the two copies
// do not fit into max_bytes: the type that is fastest for a prompt of 512 tokens and 128 decoded
// ones.
WeightTypes choose_weights(std::span<const WeightTiming> timings, int64_t max_bytes);

struct WeightChoice {
    WeightTypes types;
    std::vector<WeightTiming> timings;
    bool is_remembered = false;  // from the cache, not timed now
    std::string note;            // what was wrong with the cache; empty: nothing
};

// Looks into the cache file (empty: none), else times and writes it; an RPC server's device is
// timed each time, since nothing of it says what it is. Two copies may take half of the device's
// memory. Throws as race_weights does, never because of the cache.
WeightChoice choose_weights_for(const std::string &gguf_path, const std::string &device,
                                int n_threads, const std::string &cache_path,
                                Kernels kernels = Kernels::fast);

}  // namespace orthorank
