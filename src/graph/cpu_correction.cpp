#include "graph/cpu_correction.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/error.h"
#include "graph/cpu_correction_kernel.h"
#include "graph/cpu_node.h"

namespace orthorank {

namespace {

constexpr int64_t k_lanes = 16;

constexpr int64_t round_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

// The node's sources behind the hidden rows; down and up are not there for rank 0.
enum Source { ids = 1, norm_weight, bias, down, up };

const float *floats_of(const ggml_tensor *tensor) {
    return static_cast<const float *>(tensor->data);
}

// A row as floats, in `room` if it is not.
const float *floats_of_row(const ggml_tensor *matrix, int64_t row, float *room) {
    const char *at =
        static_cast<const char *>(matrix->data) + static_cast<size_t>(row) * matrix->nb[1];
    if (matrix->type == GGML_TYPE_F32) {
        return reinterpret_cast<const float *>(at);
    }
    ggml_fp16_to_fp32_row(reinterpret_cast<const ggml_fp16_t *>(at), room, matrix->ne[0]);
    return room;
}

// matrix [n_k, n_rows]: for each k its numbers in all rows, and zeros up to n_lanes.
void transpose(const ggml_tensor *matrix, int64_t n_lanes, float *room, float *to) {
    const int64_t n_k = matrix->ne[0];
    for (int64_t row = 0; row < n_lanes; ++row) {
        const float *values = row < matrix->ne[1] ? floats_of_row(matrix, row, room) : nullptr;
        for (int64_t k = 0; k < n_k; ++k) {
            to[k * n_lanes + row] = values == nullptr ? 0.0f : values[k];
        }
    }
}

// Both matrices, transposed in the thread's own memory: it lasts much less than the products.
void fill_matrices(const ggml_tensor *node, Scratch &scratch, CorrectionTask &task) {
    const ggml_tensor *matrix = node->src[down];
    task.n_rank = matrix == nullptr ? 0 : round_up(matrix->ne[1], k_lanes);
    const int64_t n_matrix = task.n_embd * task.n_rank;
    const size_t n_floats =
        static_cast<size_t>(2 * n_matrix) + correction_scratch(task.n_embd, task.n_rank);
    task.scratch = static_cast<float *>(scratch.of_size(n_floats * sizeof(float)));
    std::fill_n(task.scratch, correction_scratch(task.n_embd, task.n_rank), 0.0f);
    if (matrix == nullptr) {
        return;
    }
    float *down_to = task.scratch + correction_scratch(task.n_embd, task.n_rank);
    float *up_to = down_to + n_matrix;
    transpose(matrix, task.n_rank, task.scratch, down_to);
    transpose(node->src[up], task.n_embd, task.scratch, up_to);
    // The added ranks are sums of zeros, which must not meet what was in the memory before.
    const int64_t n_up = task.n_embd * matrix->ne[1];
    std::fill_n(up_to + n_up, n_matrix - n_up, 0.0f);
    task.down = down_to;
    task.up = up_to;
}

using Correct = void(const CorrectionTask &task);

struct CorrectionKernel {
    Correct *correct;
};

const CorrectionKernel &kernel_of(CpuLevel level) {
    CHECK(level != CpuLevel::none && level <= best_cpu_level());
#if defined(__x86_64__)
    static const CorrectionKernel avx2{correct_avx2};
    static const CorrectionKernel avx512{correct_avx512};
    return level == CpuLevel::avx2 ? avx2 : avx512;
#else
    static const CorrectionKernel none{};
    return none;
#endif
}

// Where a node keeps the norm's eps: before the count of tickets, behind ggml's own parameters.
constexpr size_t k_eps = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 2;

constexpr int64_t k_min_rows_of_ticket = 96;  // so that transposing is little beside them
constexpr int64_t k_tickets_of_thread = 2;

// A ticket is a piece of the list of rows.
void run(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const CorrectionKernel *>(data);
    const ggml_tensor *list = node->src[ids];
    const int64_t n_ids = list->ne[0];
    const int64_t n_of_ticket =
        std::max(k_min_rows_of_ticket,
                 round_up(n_ids / (k_tickets_of_thread * n_threads) + 1, k_correction_rows));
    CorrectionTask task{};
    task.hidden = static_cast<char *>(node->data);
    task.stride = node->nb[1];
    task.norm_weight = floats_of(node->src[norm_weight]);
    task.eps = std::bit_cast<float>(node->op_params[k_eps]);
    task.bias = floats_of(node->src[bias]);
    task.n_embd = node->ne[0];
    thread_local Scratch scratch;
    draw_tickets(node, n_threads, (n_ids + n_of_ticket - 1) / n_of_ticket, [&](int64_t ticket) {
        fill_matrices(node, scratch, task);
        task.ids = static_cast<const int32_t *>(list->data) + ticket * n_of_ticket;
        task.n_ids = std::min(n_of_ticket, n_ids - ticket * n_of_ticket);
        kernel.correct(task);
    });
}

bool is_float_in_cpu_memory(const ggml_tensor *tensor) {
    return (tensor->type == GGML_TYPE_F16 || tensor->type == GGML_TYPE_F32) &&
           is_in_cpu_memory(tensor);
}

}  // namespace

bool fits_cpu_correction(const CorrectionTensors &correction) {
    const bool has_matrices = correction.down != nullptr;
    return correction.bias->ne[0] % k_lanes == 0 && is_float_in_cpu_memory(correction.bias) &&
           (!has_matrices ||
            (is_float_in_cpu_memory(correction.down) && is_float_in_cpu_memory(correction.up)));
}

ggml_tensor *cpu_correction(ggml_context *ctx, CpuLevel level, ggml_tensor *hidden,
                            ggml_tensor *ids, ggml_tensor *norm_weight, float eps,
                            const CorrectionTensors &correction) {
    CHECK(hidden->type == GGML_TYPE_F32 && hidden->ne[0] == correction.bias->ne[0]);
    CHECK(ids->type == GGML_TYPE_I32 && norm_weight->type == GGML_TYPE_F32);
    std::array<ggml_tensor *, 5> sources = {ids, norm_weight, correction.bias, correction.down,
                                            correction.up};
    const int n_sources = correction.down == nullptr ? 3 : 5;
    ggml_tensor *node =
        ggml_custom_inplace(ctx, hidden, sources.data(), n_sources, run, GGML_N_TASKS_MAX,
                            const_cast<CorrectionKernel *>(&kernel_of(level)));
    node->op_params[k_eps] = std::bit_cast<int32_t>(eps);
    return node;
}

}  // namespace orthorank
