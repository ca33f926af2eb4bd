// Weights from one element type to another, through F32, row by row with ggml's own routines.
#pragma once

#include <cstddef>
#include <vector>

#include "model/file_bytes.h"
#include "model/gguf_file.h"

namespace orthorank {

// How far converted weights are from the file's.
struct ConversionError {
    double difference = 0;  // sum (converted - original)^2
    double original = 0;    // sum original^2

    void add(const ConversionError &other) {
        difference += other.difference;
        original += other.original;
    }
    // Normalised mean squared error; 0 for nothing.
    double nmse() const { return original > 0 ? difference / original : 0.0; }
};

// The tensor's data as ggml_type `type`, whose blocks must divide its rows. Adds to `error`.
// Computes with one thread per processor. Throws Error{file}.
std::vector<std::byte> convert_weight(const FileBytes &file, const TensorInfo &info, int type,
                                      ConversionError &error);

}  // namespace orthorank
