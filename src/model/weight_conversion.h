// Weights from one element type to another, through F32, row by row with ggml's own routines.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "model/file_bytes.h"
#include "model/gguf_file.h"

namespace orthorank {

// How far converted weights are from the file's.
struct ConversionError {
    double difference = 0;  // sum (converted - original)^2
    double original = 0;    // sum original^2
    double largest = 0;     // max |original|

    void add(const ConversionError &other) {
        difference += other.difference;
        original += other.original;
        largest = std::max(largest, other.largest);
    }
    // Normalised mean squared error; 0 for nothing.
    double nmse() const { return original > 0 ? difference / original : 0.0; }
};

// The tensor's data as ggml_type `type`, whose blocks must divide its rows. Adds to `error`.
// Computes with one thread per processor. Throws Error{file}, and Error{format} when a value is
// beyond what the type holds, or no number.
std::vector<std::byte> convert_weight(const FileBytes &file, const TensorInfo &info, int type,
                                      ConversionError &error);

// max |value| of a tensor, infinity when there is one that is no number. As many threads.
double largest_value(const FileBytes &file, const TensorInfo &info);

// The largest value that ggml_type `type` holds whatever else is in its block: those with a scale
// keep it in F16.
double largest_held(int type);

}  // namespace orthorank
