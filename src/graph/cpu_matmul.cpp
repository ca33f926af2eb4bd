#include "graph/cpu_matmul.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "graph/cpu_matmul_kernel.h"
#include "graph/cpu_node.h"

namespace orthorank {

namespace {

constexpr int64_t round_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

// BF16 weights meet activations rounded to BF16, as in ggml, or with all their bits. Quantised ones
// meet 16 bits of them in tiles. Elsewhere activations are rounded to 8 bits in blocks of 32, as in
// cpu_rows() and no coarser than in ggml, where that is faster than floats: three times with VNNI,
// twice with AVX2 and weights of at most 6 bits.
const MatmulKernel &kernel_of(CpuLevel level, ggml_type type) {
    CHECK(level != CpuLevel::none && level <= best_cpu_level());
#if defined(__x86_64__)
    const bool is_bf16 = type == GGML_TYPE_BF16;
    const bool has_8_bits = type == GGML_TYPE_Q8_0 || type == GGML_TYPE_IQ4_NL;
    switch (level) {
        case CpuLevel::amx:
            return is_bf16 ? k_matmul_amx : k_matmul_split_amx;
        case CpuLevel::avx512_bf16:
            return is_bf16 ? k_matmul_avx512_bf16 : k_matmul_bytes_avx512;
        case CpuLevel::avx512:
            return is_bf16 ? k_matmul_avx512 : k_matmul_bytes_avx512;
        default:
            return is_bf16 || has_8_bits ? k_matmul_avx2 : k_matmul_bytes_avx2;
    }
#else
    (void)type;
    static const MatmulKernel none{};
    return none;
#endif
}

// ggml hands a custom node one pointer that may be written to.
void *as_data(const MatmulKernel &kernel) {
    return const_cast<MatmulKernel *>(&kernel);
}

const char *row_of(const ggml_tensor *tensor, int64_t row) {
    return static_cast<const char *>(tensor->data) + static_cast<size_t>(row) * tensor->nb[1];
}

// Where the tiles of a packed node begin: ggml's memory begins at half a cache line.
char *tiles_of(const ggml_tensor *packed) {
    constexpr uintptr_t k_line = 64;
    const auto address = reinterpret_cast<uintptr_t>(packed->data);
    return reinterpret_cast<char *>((address + k_line - 1) / k_line * k_line);
}

// node [bytes of a group's tiles, groups of k_tile_rows, and one for tiles_of() to cut into]: a
// ticket is a group.
void run_packing(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const MatmulKernel *>(data);
    const ggml_tensor *x = node->src[0];
    draw_tickets(node, n_threads, node->ne[1] - 1, [&](int64_t group) {
        char *tiles = tiles_of(node) + static_cast<size_t>(group) * node->nb[1];
        for (int i = 0; i < k_tile_rows; ++i) {
            const int64_t row = group * k_tile_rows + i;
            const char *from = row < x->ne[1] ? row_of(x, row) : nullptr;
            kernel.pack(reinterpret_cast<const float *>(from), x->ne[0], i, tiles);
        }
    });
}

// Where an expert product's node keeps how many rows a token has: before the count of tickets,
// behind ggml's own parameters.
constexpr size_t k_rows_of_token = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 2;

constexpr int k_tickets_of_thread = 3;  // so that none waits long for the last one

// How many parts the rows are cut into, so that there is work for all threads when a matrix has
// few strips; each part unpacks its strip again.
int64_t n_parts_of(int64_t n_strips, int64_t n_rows, int n_threads) {
    const int64_t n_groups = round_up(n_rows, k_group_rows) / k_group_rows;
    const int64_t wanted = (2 * n_threads + n_strips - 1) / n_strips;
    return n_threads == 1 ? 1 : std::min(n_groups, wanted);
}

int64_t n_strip_rows_of(const MatmulKernel &kernel, int64_t n_out, int n_threads) {
    const int64_t n_panels = round_up(n_out, k_panel_rows) / k_panel_rows;
    return k_panel_rows * std::clamp<int64_t>(n_panels / (k_tickets_of_thread * n_threads), 1,
                                              kernel.n_strip_panels);
}

// n weight rows from the first on, of one expert or of all there is; still without rows.
StripTask strip_of(const ggml_tensor *weight, int64_t expert, int64_t first, int64_t n) {
    StripTask task{};
    task.type = weight->type;
    task.weights = row_of(weight, first) + static_cast<size_t>(expert) * weight->nb[2];
    task.weight_stride = weight->nb[1];
    task.n_weight_rows = static_cast<int>(std::min(n, weight->ne[1] - first));
    task.n_k = weight->ne[0];
    return task;
}

// How a product's strips and rows are divided: a ticket is a strip of weight rows with a part of
// the rows.
class Tickets {
 public:
    Tickets(const ggml_tensor *node, const MatmulKernel &kernel, int n_threads)
        : node_(node),
          n_strip_rows_(n_strip_rows_of(kernel, node->ne[0], n_threads)),
          n_strips_(round_up(node->ne[0], n_strip_rows_) / n_strip_rows_),
          n_parts_(n_parts_of(n_strips_, node->ne[1], n_threads)),
          n_of_part_(round_up((node->ne[1] + n_parts_ - 1) / n_parts_, k_group_rows)) {}

    int64_t size() const { return n_strips_ * n_parts_; }
    // Of this weight and the node's packed rows, into the node; without scratch.
    StripTask task(int64_t ticket, const ggml_tensor *weight) const {
        const int64_t first = ticket / n_parts_ * n_strip_rows_;
        StripTask task = strip_of(weight, 0, first, n_strip_rows_);
        task.tiles = tiles_of(node_->src[1]);
        task.first_row = ticket % n_parts_ * n_of_part_;
        task.end_row = std::min(node_->ne[1], task.first_row + n_of_part_);
        task.out = static_cast<char *>(node_->data) + static_cast<size_t>(first) * sizeof(float);
        task.out_stride = node_->nb[1];
        return task;
    }

 private:
    const ggml_tensor *node_;
    int64_t n_strip_rows_;
    int64_t n_strips_;
    int64_t n_parts_;
    int64_t n_of_part_;
};

void run_product(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const MatmulKernel *>(data);
    const Tickets tickets(node, kernel, n_threads);
    thread_local Scratch scratch;
    draw_tickets(node, n_threads, tickets.size(), [&](int64_t ticket) {
        StripTask task = tickets.task(ticket, node->src[0]);
        if (task.first_row < task.end_row) {
            task.scratch = scratch.of_size(kernel.scratch_bytes);
            kernel.multiply(task);
        }
    });
}

// The gate's strip goes into the node, up's beside it, and both are joined while they are near.
void run_gated(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const MatmulKernel *>(data);
    const Tickets tickets(node, kernel, n_threads);
    thread_local Scratch scratch, up_memory;
    draw_tickets(node, n_threads, tickets.size(), [&](int64_t ticket) {
        StripTask gate = tickets.task(ticket, node->src[0]);
        if (gate.first_row >= gate.end_row) {
            return;
        }
        gate.scratch = scratch.of_size(kernel.scratch_bytes);
        kernel.multiply(gate);
        StripTask up = tickets.task(ticket, node->src[2]);
        const size_t n_bytes = static_cast<size_t>(up.n_weight_rows) * sizeof(float);
        const auto n_rows = static_cast<size_t>(up.end_row - up.first_row);
        char *products = static_cast<char *>(up_memory.of_size(n_rows * n_bytes));
        // As if the rows before this part's first lay in front of them.
        up.tiles += static_cast<size_t>(up.first_row / k_tile_rows) * node->src[1]->nb[1];
        up.end_row -= up.first_row;
        up.first_row = 0;
        up.out = products;
        up.out_stride = n_bytes;
        up.scratch = gate.scratch;
        kernel.multiply(up);
        for (size_t i = 0; i < n_rows; ++i) {
            auto *out = reinterpret_cast<float *>(
                gate.out + (static_cast<size_t>(gate.first_row) + i) * gate.out_stride);
            kernel.gate(out, reinterpret_cast<const float *>(products + i * n_bytes),
                        up.n_weight_rows, out);
        }
    });
}

// The rows that one expert multiplies, brought together, and what comes out for them.
class ExpertRows {
 public:
    // node [n_out, n_used, n], its sources the weights, the packed rows (one for all of a token's
    // experts, or one each) and the experts' ids [n_used, n].
    ExpertRows(ggml_tensor *node, const MatmulKernel &kernel) : node_(node), kernel_(kernel) {}

    // Finds the expert's rows and copies their tiles, unless it is the last one's again.
    void gather(int64_t expert) {
        if (expert == expert_) {
            return;
        }
        expert_ = expert;
        rows_.clear();
        const ggml_tensor *ids = node_->src[2];
        for (int64_t token = 0; token < ids->ne[1]; ++token) {
            const auto *of_token = reinterpret_cast<const int32_t *>(row_of(ids, token));
            for (int64_t i = 0; i < ids->ne[0]; ++i) {
                if (of_token[i] == expert) {
                    rows_.push_back({token, i});
                }
            }
        }
        const size_t group_bytes = node_->src[1]->nb[1];
        const auto n_groups = round_up(n_rows(), k_group_rows) / k_tile_rows;
        tiles_ = static_cast<char *>(
            tile_memory_.of_size(static_cast<size_t>(n_groups) * group_bytes + 1));
        for (int64_t i = 0; i < n_rows(); ++i) {
            copy_row(packed_row(rows_[static_cast<size_t>(i)]), i);
        }
    }

    int64_t n_rows() const { return static_cast<int64_t>(rows_.size()); }

    // The products of the strip with the gathered rows, each to its place.
    void multiply(StripTask task, int64_t first_weight, void *scratch) {
        const size_t n_bytes = static_cast<size_t>(task.n_weight_rows) * sizeof(float);
        task.tiles = tiles_;
        task.end_row = n_rows();
        task.out = static_cast<char *>(out_memory_.of_size(rows_.size() * n_bytes));
        task.out_stride = n_bytes;
        task.scratch = scratch;
        kernel_.multiply(task);
        for (size_t i = 0; i < rows_.size(); ++i) {
            char *to = static_cast<char *>(node_->data) +
                       static_cast<size_t>(rows_[i].token) * node_->nb[2] +
                       static_cast<size_t>(rows_[i].used) * node_->nb[1] +
                       static_cast<size_t>(first_weight) * sizeof(float);
            std::memcpy(to, task.out + i * n_bytes, n_bytes);
        }
    }

 private:
    struct Row {
        int64_t token;
        int64_t used;  // as its how manieth expert
    };

    int64_t packed_row(const Row &row) const {
        const int64_t n_of_token = node_->src[2]->ne[0];
        const bool has_one_each = node_->op_params[k_rows_of_token] != 1;
        return has_one_each ? row.token * n_of_token + row.used : row.token;
    }

    void copy_row(int64_t from, int64_t to) {
        const size_t group_bytes = node_->src[1]->nb[1];
        const size_t tile_bytes = kernel_.tile_bytes;
        const size_t part_bytes = kernel_.piece_bytes * k_tile_rows;
        const auto place = [&](int64_t row) {
            return static_cast<size_t>(row / k_tile_rows) * group_bytes +
                   static_cast<size_t>(row % k_tile_rows) * kernel_.piece_bytes;
        };
        const char *source = tiles_of(node_->src[1]) + place(from);
        char *target = tiles_ + place(to);
        for (size_t tile = 0; tile < group_bytes; tile += tile_bytes) {
            for (size_t part = tile; part < tile + tile_bytes; part += part_bytes) {
                std::memcpy(target + part, source + part, kernel_.piece_bytes);
            }
        }
    }

    ggml_tensor *node_;
    const MatmulKernel &kernel_;
    int64_t expert_ = -1;
    std::vector<Row> rows_;
    Scratch tile_memory_;
    Scratch out_memory_;
    char *tiles_ = nullptr;
};

// A ticket is a strip of weight rows of one expert with all rows that use it.
void run_experts(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const MatmulKernel *>(data);
    const ggml_tensor *weight = node->src[0];
    const int64_t n_strip_rows = n_strip_rows_of(kernel, node->ne[0], n_threads);
    const int64_t n_strips = round_up(node->ne[0], n_strip_rows) / n_strip_rows;
    thread_local Scratch scratch;
    ExpertRows rows(node, kernel);
    draw_tickets(node, n_threads, n_strips * weight->ne[2], [&](int64_t ticket) {
        const int64_t expert = ticket / n_strips;
        const int64_t first = ticket % n_strips * n_strip_rows;
        rows.gather(expert);
        if (rows.n_rows() > 0) {
            rows.multiply(strip_of(weight, expert, first, n_strip_rows), first,
                          scratch.of_size(kernel.scratch_bytes));
        }
    });
}

}  // namespace

bool fits_cpu_matmul(const ggml_tensor *weight) {
    switch (weight->type) {
        case GGML_TYPE_BF16:
        case GGML_TYPE_Q4_0:
        case GGML_TYPE_Q4_1:
        case GGML_TYPE_Q5_0:
        case GGML_TYPE_Q5_1:
        case GGML_TYPE_Q8_0:
        case GGML_TYPE_IQ4_NL:
        case GGML_TYPE_Q4_K:
        case GGML_TYPE_Q5_K:
        case GGML_TYPE_Q6_K:
            return weight->ne[0] % k_tile_k == 0 && is_in_cpu_memory(weight);
        default:
            return false;
    }
}

ggml_tensor *CpuMatmul::pack(ggml_context *ctx, ggml_tensor *x, const MatmulKernel &kernel) {
    CHECK(x->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) && x->ne[0] % k_tile_k == 0);
    CHECK(x->ne[3] == 1);
    ggml_tensor *&packed = packed_[{x, &kernel}];
    if (packed == nullptr) {
        if (x->ne[2] > 1) {
            x = ggml_reshape_2d(ctx, x, x->ne[0], x->ne[1] * x->ne[2]);
        }
        const int64_t n_groups = round_up(x->ne[1], k_group_rows) / k_tile_rows;
        const int64_t n_bytes = x->ne[0] / k_tile_k * static_cast<int64_t>(kernel.tile_bytes);
        packed = ggml_custom_4d(ctx, GGML_TYPE_I8, n_bytes, n_groups + 1, 1, 1, &x, 1, run_packing,
                                GGML_N_TASKS_MAX, as_data(kernel));
    }
    return packed;
}

ggml_tensor *CpuMatmul::multiply(ggml_context *ctx, ggml_tensor *weight, ggml_tensor *x) {
    CHECK(fits_cpu_matmul(weight) && x->ne[0] == weight->ne[0] && x->ne[2] == 1);
    const MatmulKernel &kernel = kernel_of(level_, weight->type);
    std::array<ggml_tensor *, 2> sources = {weight, pack(ctx, x, kernel)};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, weight->ne[1], x->ne[1], 1, 1, sources.data(),
                          static_cast<int>(sources.size()), run_product, GGML_N_TASKS_MAX,
                          as_data(kernel));
}

bool CpuMatmul::fits_gated(const ggml_tensor *gate, const ggml_tensor *up) const {
    return fits_cpu_matmul(gate) && fits_cpu_matmul(up) && ggml_are_same_shape(gate, up) &&
           &kernel_of(level_, gate->type) == &kernel_of(level_, up->type);
}

ggml_tensor *CpuMatmul::multiply_gated(ggml_context *ctx, ggml_tensor *gate, ggml_tensor *up,
                                       ggml_tensor *x) {
    CHECK(fits_gated(gate, up) && x->ne[0] == gate->ne[0] && x->ne[2] == 1);
    const MatmulKernel &kernel = kernel_of(level_, gate->type);
    std::array<ggml_tensor *, 3> sources = {gate, pack(ctx, x, kernel), up};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, gate->ne[1], x->ne[1], 1, 1, sources.data(),
                          static_cast<int>(sources.size()), run_gated, GGML_N_TASKS_MAX,
                          as_data(kernel));
}

ggml_tensor *CpuMatmul::multiply_id(ggml_context *ctx, ggml_tensor *weights, ggml_tensor *x,
                                    ggml_tensor *ids) {
    CHECK(fits_cpu_matmul(weights) && x->ne[0] == weights->ne[0] && x->ne[2] == ids->ne[1]);
    CHECK(ids->type == GGML_TYPE_I32 && (x->ne[1] == 1 || x->ne[1] == ids->ne[0]));
    const MatmulKernel &kernel = kernel_of(level_, weights->type);
    std::array<ggml_tensor *, 3> sources = {weights, pack(ctx, x, kernel), ids};
    ggml_tensor *node = ggml_custom_4d(ctx, GGML_TYPE_F32, weights->ne[1], ids->ne[0], ids->ne[1],
                                       1, sources.data(), static_cast<int>(sources.size()),
                                       run_experts, GGML_N_TASKS_MAX, as_data(kernel));
    node->op_params[k_rows_of_token] = static_cast<int32_t>(x->ne[1]);
    return node;
}

}  // namespace orthorank
