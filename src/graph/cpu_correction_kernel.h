// What a level of the processor does for cpu_correction(), as a plain function over memory.
#pragma once

#include <cstddef>
#include <cstdint>

namespace orthorank {

struct CorrectionTask {
    char *hidden;        // row 0 of the rows of n_embd floats
    size_t stride;       // bytes from row to row
    const int32_t *ids;  // of the rows to correct, each once
    int64_t n_ids;
    const float *norm_weight;  // [n_embd]
    float eps;                 // of the norm
    const float *bias;         // [n_embd]
    const float *down;         // n_rank numbers for each of n_embd
    const float *up;           // n_embd numbers for each of n_rank
    int64_t n_embd;            // a multiple of 16
    int64_t n_rank;            // a multiple of 16, zeros being added; or 0
    float *scratch;            // correction_scratch(n_embd, n_rank) floats
};

constexpr int k_correction_rows = 6;  // at once, so that numbers of down and up are read less often

constexpr size_t correction_scratch(int64_t n_embd, int64_t n_rank) {
    return static_cast<size_t>(k_correction_rows * (n_embd + n_rank));
}

void correct_avx2(const CorrectionTask &task);
void correct_avx512(const CorrectionTask &task);

}  // namespace orthorank
