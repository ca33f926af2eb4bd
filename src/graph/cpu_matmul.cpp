#include "graph/cpu_matmul.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "graph/cpu_matmul_kernel.h"
#include "graph/cpu_node.h"

namespace orthorank {

namespace {

constexpr int64_t round_up(int64_t n, int64_t step) {
    return (n + step - 1) / step * step;
}

// BF16 weights meet activations rounded to BF16, as in ggml. Others keep 16 bits or all of a
// float's: where one channel is huge, the error of a rounded weight would be larger than all others
// together.
const MatmulKernel &kernel_of(CpuLevel level, ggml_type type) {
    CHECK(level != CpuLevel::none && level <= best_cpu_level());
#if defined(__x86_64__)
    const bool is_bf16 = type == GGML_TYPE_BF16;
    switch (level) {
        case CpuLevel::amx:
            return is_bf16 ? k_matmul_amx : k_matmul_split_amx;
        case CpuLevel::avx512_bf16:
            return is_bf16 ? k_matmul_avx512_bf16 : k_matmul_avx512;
        case CpuLevel::avx512:
            return k_matmul_avx512;
        default:
            return k_matmul_avx2;
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

constexpr int k_tickets_of_thread = 3;  // so that none waits long for the last one

// How many parts the rows are cut into, so that there is work for all threads when a matrix has
// few strips; each part unpacks its strip again.
int64_t n_parts_of(int64_t n_strips, int64_t n_rows, int n_threads) {
    const int64_t n_groups = round_up(n_rows, k_group_rows) / k_group_rows;
    const int64_t wanted = (2 * n_threads + n_strips - 1) / n_strips;
    return n_threads == 1 ? 1 : std::min(n_groups, wanted);
}

// A ticket is a strip of weight rows with a part of the rows.
void run_product(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const MatmulKernel *>(data);
    const ggml_tensor *weight = node->src[0];
    const int64_t n_panels = round_up(node->ne[0], k_panel_rows) / k_panel_rows;
    const int64_t n_at_once =
        std::clamp<int64_t>(n_panels / (k_tickets_of_thread * n_threads), 1, kernel.n_strip_panels);
    const int64_t n_strip_rows = n_at_once * k_panel_rows;
    const int64_t n_strips = round_up(node->ne[0], n_strip_rows) / n_strip_rows;
    const int64_t n_parts = n_parts_of(n_strips, node->ne[1], n_threads);
    const int64_t n_of_part = round_up((node->ne[1] + n_parts - 1) / n_parts, k_group_rows);
    thread_local Scratch scratch;
    draw_tickets(node, n_threads, n_strips * n_parts, [&](int64_t ticket) {
        const int64_t first_weight = ticket / n_parts * n_strip_rows;
        StripTask task{};
        task.type = weight->type;
        task.weights = row_of(weight, first_weight);
        task.weight_stride = weight->nb[1];
        task.n_weight_rows =
            static_cast<int>(std::min<int64_t>(n_strip_rows, node->ne[0] - first_weight));
        task.n_k = weight->ne[0];
        task.tiles = tiles_of(node->src[1]);
        task.first_row = ticket % n_parts * n_of_part;
        task.end_row = std::min(node->ne[1], task.first_row + n_of_part);
        task.out =
            static_cast<char *>(node->data) + static_cast<size_t>(first_weight) * sizeof(float);
        task.out_stride = node->nb[1];
        if (task.first_row < task.end_row) {
            task.scratch = scratch.of_size(kernel.scratch_bytes);
            kernel.multiply(task);
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
    CHECK(x->ne[2] * x->ne[3] == 1);
    ggml_tensor *&packed = packed_[{x, &kernel}];
    if (packed == nullptr) {
        const int64_t n_groups = round_up(x->ne[1], k_group_rows) / k_tile_rows;
        const int64_t n_bytes = x->ne[0] / k_tile_k * static_cast<int64_t>(kernel.tile_bytes);
        packed = ggml_custom_4d(ctx, GGML_TYPE_I8, n_bytes, n_groups + 1, 1, 1, &x, 1, run_packing,
                                GGML_N_TASKS_MAX, as_data(kernel));
    }
    return packed;
}

ggml_tensor *CpuMatmul::multiply(ggml_context *ctx, ggml_tensor *weight, ggml_tensor *x) {
    CHECK(fits_cpu_matmul(weight) && x->ne[0] == weight->ne[0]);
    const MatmulKernel &kernel = kernel_of(level_, weight->type);
    std::array<ggml_tensor *, 2> sources = {weight, pack(ctx, x, kernel)};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, weight->ne[1], x->ne[1], 1, 1, sources.data(),
                          static_cast<int>(sources.size()), run_product, GGML_N_TASKS_MAX,
                          as_data(kernel));
}

}  // namespace orthorank
