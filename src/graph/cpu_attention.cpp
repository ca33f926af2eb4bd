#include "graph/cpu_attention.h"

#include <array>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "graph/cpu_attention_kernel.h"
#include "graph/cpu_level.h"
#include "graph/cpu_node.h"

namespace orthorank {

int widest_lanes() {
    if (best_cpu_level() == CpuLevel::none) {
        return 0;
    }
    return best_cpu_level() == CpuLevel::avx2 ? 8 : 16;
}

namespace {

constexpr int k_min_rows = 64;  // from here on ggml takes its tiled kernel

// A ticket is a group of rows, the last rows (the most keys) first.
void run(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const AttentionKernel *>(data);
    const int64_t n_kv_heads = node->src[1]->ne[2];
    const int64_t n_groups = (node->ne[2] + kernel.n_queries - 1) / kernel.n_queries;
    thread_local Scratch scratch;
    draw_tickets(node, n_threads, n_kv_heads * n_groups, [&](int64_t ticket) {
        const int64_t group = n_groups - 1 - ticket / n_kv_heads;
        kernel.compute(node, group * kernel.n_queries, ticket % n_kv_heads,
                       scratch.of_size(kernel.scratch_bytes(node)));
    });
}

const AttentionKernel &kernel_of(int n_lanes) {
#if defined(__x86_64__)
    CHECK(n_lanes == 8 || n_lanes == 16);
    return n_lanes == 16 ? k_attention_avx512 : k_attention_avx2;
#else
    CHECK(n_lanes < 0);  // no level, no node
    static const AttentionKernel none{};
    return none;
#endif
}

}  // namespace

bool fits_cpu_attention(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v) {
    const bool is_float = k->type == GGML_TYPE_F16 || k->type == GGML_TYPE_F32;
    return widest_lanes() > 0 && is_float && k->type == v->type && q->ne[2] >= k_min_rows &&
           k->ne[0] % 16 == 0 && k->ne[0] <= k_max_dim_k && v->ne[0] % 16 == 0 &&
           k->ne[1] % k_keys_of_tile == 0 && is_in_cpu_memory(k) && is_in_cpu_memory(v);
}

ggml_tensor *cpu_attention(ggml_context *ctx, ggml_tensor *q, ggml_tensor *k, ggml_tensor *v,
                           ggml_tensor *mask, int n_lanes, float scale, ggml_tensor *sinks) {
    CHECK(n_lanes <= widest_lanes());
    CHECK(q->type == GGML_TYPE_F32 && q->ne[0] == k->ne[0] && q->ne[1] % k->ne[2] == 0);
    CHECK(k->ne[1] == v->ne[1] && k->ne[2] == v->ne[2] && q->ne[3] * k->ne[3] * v->ne[3] == 1);
    CHECK(mask->type == GGML_TYPE_F16 && mask->ne[0] == k->ne[1] && mask->ne[1] == q->ne[2]);
    CHECK(sinks == nullptr || (sinks->type == GGML_TYPE_F32 && sinks->ne[0] == q->ne[1]));
    std::array<ggml_tensor *, 5> sources = {q, k, v, mask, sinks};
    ggml_tensor *node =
        ggml_custom_4d(ctx, GGML_TYPE_F32, v->ne[0], q->ne[1], q->ne[2], 1, sources.data(),
                       sinks != nullptr ? 5 : 4, run, GGML_N_TASKS_MAX,
                       const_cast<AttentionKernel *>(&kernel_of(n_lanes)));
    scale = scale != 0.0f ? scale : 1.0f / std::sqrt(static_cast<float>(k->ne[0]));
    node->op_params[k_scale_slot] = std::bit_cast<int32_t>(scale);
    return node;
}

}  // namespace orthorank
