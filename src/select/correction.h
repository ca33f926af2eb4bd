// What a plan may add to the paper's method in one layer: an update for the rows that are not
// computed, and a learned score that picks the rows that are. Both are fitted on calibration text
// (calibration/fit_corrections.h); here they are plain numbers in F32, shared by the copies of a
// plan and never changed.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace orthorank {

// A row h that is not computed becomes h + bias + B' (A' a), a being the row after the layer's
// attention norm; the sink row stays as it is. With the means of the fit folded in, bias is
// m_D - B' (A' m_a).
struct Correction {
    int n_embd = 0;
    int rank = 0;             // 0: the bias alone
    std::vector<float> down;  // A: [n_embd, rank] in ggml order, one row of n_embd per direction
    std::vector<float> up;    // B': [rank, n_embd] in ggml order, one row of rank per output
    std::vector<float> bias;  // [n_embd]

    bool operator==(const Correction &) const = default;
};

// The score of policy "probe" is <weight, a>, an estimate of what computing the row gains up to a
// constant: the largest are computed.
struct Probe {
    std::vector<float> weight;  // [n_embd]

    bool operator==(const Probe &) const = default;
};

// How A and B' are kept on a device and in a file; bias and probe are always F32.
enum class CorrectionType { f16, f32 };

// "f16" or "f32". Throws Error{usage} that lists them.
CorrectionType correction_type_from_name(const std::string &name);

using CorrectionPtr = std::shared_ptr<const Correction>;
using ProbePtr = std::shared_ptr<const Probe>;

}  // namespace orthorank
