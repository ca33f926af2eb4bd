#include "graph/cpu_rows.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "graph/cpu_node.h"
#include "graph/cpu_rows_kernel.h"

namespace orthorank {

namespace {

const RowsKernel &kernel_of(CpuLevel level) {
    CHECK(level != CpuLevel::none && level <= best_cpu_level());
#if defined(__x86_64__)
    return level == CpuLevel::avx2 ? k_rows_avx2 : k_rows_avx512;
#else
    static const RowsKernel none{};
    return none;
#endif
}

// What a node does beside its products, in its parameters behind those of ggml's own.
struct Parts {
    int32_t n_matrices;
    int32_t has_bias;  // a bit a matrix
    int32_t has_norm;
    int32_t has_residual;
    int32_t is_gated;
    float eps;
};
constexpr size_t k_parts_at = 32;  // bytes
static_assert(k_parts_at + sizeof(Parts) <= GGML_MAX_OP_PARAMS - sizeof(int32_t));
constexpr int k_max_matrices = 3;

// A node's tensors: its sources are the matrices, the rows, and what else there is in this order.
struct Operands {
    explicit Operands(const ggml_tensor *node) {
        std::memcpy(&parts, reinterpret_cast<const char *>(node->op_params) + k_parts_at,
                    sizeof(parts));
        int next = 0;
        for (int i = 0; i < parts.n_matrices; ++i) {
            weights[i] = node->src[next++];
        }
        x = node->src[next++];
        norm_weight = parts.has_norm != 0 ? node->src[next++] : nullptr;
        residual = parts.has_residual != 0 ? node->src[next++] : nullptr;
        for (int i = 0; i < parts.n_matrices; ++i) {
            biases[i] = (parts.has_bias >> i & 1) != 0 ? node->src[next++] : nullptr;
        }
    }

    Parts parts;
    const ggml_tensor *weights[k_max_matrices] = {};
    const ggml_tensor *biases[k_max_matrices] = {};
    const ggml_tensor *x;
    const ggml_tensor *norm_weight;
    const ggml_tensor *residual;
};

const float *row_of(const ggml_tensor *tensor, int64_t row) {
    return reinterpret_cast<const float *>(static_cast<const char *>(tensor->data) +
                                           static_cast<size_t>(row) * tensor->nb[1]);
}

// A thread's work on one node.
class RowsWork {
 public:
    RowsWork(ggml_tensor *node, const RowsKernel &kernel)
        : node_(node), kernel_(kernel), operands_(node) {}

    // Weight rows first .. end - 1 of all the node's, as numbered from matrix to matrix.
    void multiply(int64_t first, int64_t end) {
        quantise();
        if (operands_.parts.is_gated != 0) {
            gate(first, end);
            return;
        }
        int64_t of_matrix = 0;  // its first row
        for (int i = 0; i < operands_.parts.n_matrices; ++i) {
            const int64_t n = operands_.weights[i]->ne[1];
            const int64_t begin = std::max(first, of_matrix);
            const int64_t stop = std::min(end, of_matrix + n);
            if (begin < stop) {
                multiply(i, begin - of_matrix, stop - begin, out(0) + begin, out_stride());
                add_residual(begin, stop);
            }
            of_matrix += n;
        }
    }

 private:
    float *out(int64_t row) const { return const_cast<float *>(row_of(node_, row)); }
    size_t out_stride() const { return node_->nb[1] / sizeof(float); }
    int64_t n_rows() const { return operands_.x->ne[1]; }

    // Each thread rounds all rows for itself: they are few, and nobody waits for anybody.
    void quantise() {
        if (rows_ != nullptr) {
            return;
        }
        thread_local Scratch row_memory, norm_memory;
        const int64_t n_k = operands_.x->ne[0];
        const size_t row_bytes = kernel_.row_bytes(n_k);
        rows_ = static_cast<char *>(row_memory.of_size(row_bytes * static_cast<size_t>(n_rows())));
        auto *normed =
            static_cast<float *>(norm_memory.of_size(static_cast<size_t>(n_k) * sizeof(float)));
        for (int64_t row = 0; row < n_rows(); ++row) {
            const float *x = row_of(operands_.x, row);
            if (operands_.norm_weight != nullptr) {
                kernel_.normalise(x, row_of(operands_.norm_weight, 0), operands_.parts.eps, n_k,
                                  normed);
                x = normed;
            }
            kernel_.quantise(x, n_k, rows_ + static_cast<size_t>(row) * row_bytes);
        }
    }

    void multiply(int matrix, int64_t first, int64_t n, float *to, size_t stride) {
        const ggml_tensor *weight = operands_.weights[matrix];
        RowsTask task;
        task.type = weight->type;
        task.weights = reinterpret_cast<const char *>(row_of(weight, first));
        task.weight_stride = weight->nb[1];
        task.n_weights = n;
        task.n_k = weight->ne[0];
        task.rows = rows_;
        task.n_rows = n_rows();
        task.out = to;
        task.out_stride = stride;
        kernel_.multiply(task);
        if (operands_.biases[matrix] != nullptr) {
            const float *bias = row_of(operands_.biases[matrix], 0) + first;
            for (int64_t row = 0; row < n_rows(); ++row) {
                add(bias, n, to + static_cast<size_t>(row) * stride);
            }
        }
    }

    static void add(const float *x, int64_t n, float *to) {
        for (int64_t i = 0; i < n; ++i) {
            to[i] += x[i];
        }
    }

    void add_residual(int64_t first, int64_t end) {
        for (int64_t row = 0; operands_.residual != nullptr && row < n_rows(); ++row) {
            add(row_of(operands_.residual, row) + first, end - first, out(row) + first);
        }
    }

    void gate(int64_t first, int64_t end) {
        thread_local Scratch memory;
        const int64_t n = end - first;
        auto *gates = static_cast<float *>(
            memory.of_size(2 * static_cast<size_t>(n * n_rows()) * sizeof(float)));
        float *ups = gates + n * n_rows();
        multiply(0, first, n, gates, static_cast<size_t>(n));
        multiply(1, first, n, ups, static_cast<size_t>(n));
        for (int64_t row = 0; row < n_rows(); ++row) {
            kernel_.gate(gates + row * n, ups + row * n, n, out(row) + first);
        }
    }

    ggml_tensor *node_;
    const RowsKernel &kernel_;
    Operands operands_;
    char *rows_ = nullptr;
};

constexpr int64_t k_tickets_of_thread = 8;  // so that none waits long for the last one
constexpr int64_t k_ticket_step = 16;       // numbers in a cache line of the result

// A ticket is a run of weight rows.
void run(ggml_tensor *node, int, int n_threads, void *data) {
    RowsWork work(node, *static_cast<const RowsKernel *>(data));
    const int64_t n_out = node->ne[0];
    const int64_t n_steps = n_out / (k_tickets_of_thread * n_threads) / k_ticket_step;
    const int64_t n_of_ticket = k_ticket_step * std::max<int64_t>(1, n_steps);
    draw_tickets(node, n_threads, (n_out + n_of_ticket - 1) / n_of_ticket, [&](int64_t ticket) {
        const int64_t first = ticket * n_of_ticket;
        work.multiply(first, std::min(n_out, first + n_of_ticket));
    });
}

ggml_tensor *make_node(ggml_context *ctx, CpuLevel level, const std::vector<RowsMatrix> &matrices,
                       const RowsInput &input, ggml_tensor *residual, bool is_gated) {
    const auto n_matrices = static_cast<int>(matrices.size());
    CHECK(n_matrices >= 1 && n_matrices <= k_max_matrices && input.x->ne[2] == 1);
    CHECK(input.x->type == GGML_TYPE_F32 && input.x->nb[0] == sizeof(float));
    Parts parts{};
    parts.n_matrices = n_matrices;
    parts.has_norm = input.norm_weight != nullptr ? 1 : 0;
    parts.has_residual = residual != nullptr ? 1 : 0;
    parts.is_gated = is_gated ? 1 : 0;
    parts.eps = input.eps;
    std::vector<ggml_tensor *> sources;
    int64_t n_out = 0;
    for (const RowsMatrix &matrix : matrices) {
        CHECK(fits_cpu_rows(matrix.weight) && matrix.weight->ne[0] == input.x->ne[0]);
        sources.push_back(matrix.weight);
        n_out = is_gated ? matrix.weight->ne[1] : n_out + matrix.weight->ne[1];
    }
    sources.push_back(input.x);
    for (ggml_tensor *tensor : {input.norm_weight, residual}) {
        if (tensor != nullptr) {
            sources.push_back(tensor);
        }
    }
    for (int i = 0; i < n_matrices; ++i) {
        if (matrices[static_cast<size_t>(i)].bias != nullptr) {
            sources.push_back(matrices[static_cast<size_t>(i)].bias);
            parts.has_bias |= 1 << i;
        }
    }
    ggml_tensor *node =
        ggml_custom_4d(ctx, GGML_TYPE_F32, n_out, input.x->ne[1], 1, 1, sources.data(),
                       static_cast<int>(sources.size()), run, GGML_N_TASKS_MAX,
                       const_cast<RowsKernel *>(&kernel_of(level)));
    std::memcpy(reinterpret_cast<char *>(node->op_params) + k_parts_at, &parts, sizeof(parts));
    return node;
}

}  // namespace

bool fits_cpu_rows(const ggml_tensor *weight) {
    switch (weight->type) {
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q4_1:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q5_1:
        case GGML_TYPE_Q8_0:
        case GGML_TYPE_IQ4_NL:
            return weight->ne[0] % k_block_k == 0 && is_in_cpu_memory(weight);
        default:
            return false;
    }
}

ggml_tensor *cpu_rows(ggml_context *ctx, CpuLevel level, const std::vector<RowsMatrix> &matrices,
                      const RowsInput &input) {
    return make_node(ctx, level, matrices, input, nullptr, false);
}

ggml_tensor *cpu_rows_onto(ggml_context *ctx, CpuLevel level, const RowsMatrix &matrix,
                           const RowsInput &input, ggml_tensor *residual) {
    CHECK(residual->ne[0] == matrix.weight->ne[1] && residual->ne[1] == input.x->ne[1]);
    return make_node(ctx, level, {matrix}, input, residual, false);
}

ggml_tensor *cpu_rows_gated(ggml_context *ctx, CpuLevel level, const RowsMatrix &gate,
                            const RowsMatrix &up, const RowsInput &input) {
    CHECK(gate.weight->ne[1] == up.weight->ne[1]);
    return make_node(ctx, level, {gate, up}, input, nullptr, true);
}

}  // namespace orthorank
