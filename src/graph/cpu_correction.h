// The update of the rows that a selecting layer leaves out, on a CPU and in one pass: ggml's
// operations for it (gather, norm, two products, sums, scatter) each read and write all rows.
#pragma once

#include "ggml.h"
#include "graph/corrections.h"
#include "graph/cpu_level.h"

namespace orthorank {

// Does cpu_correction() compute with this correction? It wants it in a CPU's memory and a width
// divisible by 16.
bool fits_cpu_correction(const CorrectionTensors &correction);

// The rows `ids` (I32, each once) of hidden, F32 [n_embd, n], become h + bias + up (down a), a
// being the RMS norm of h times norm_weight, F32 [n_embd]; where they are, as one node
// (GGML_OP_CUSTOM) that is a view of hidden. Sums are F32; a row's numbers do not depend on the
// rows beside it, nor on the threads. Not for the level none, nor for one that the processor lacks.
ggml_tensor *cpu_correction(ggml_context *ctx, CpuLevel level, ggml_tensor *hidden,
                            ggml_tensor *ids, ggml_tensor *norm_weight, float eps,
                            const CorrectionTensors &correction);

}  // namespace orthorank
