#include "graph/cpu_attention.h"

#include <array>
#include <atomic>
#include <cstdint>

#include "base/error.h"
#include "ggml-backend.h"
#include "graph/cpu_attention_group.h"

namespace orthorank {

int widest_lanes() {
#if defined(ORTHORANK_LANES_16)
    return 16;
#elif defined(ORTHORANK_LANES_8)
    return 8;
#else
    return 0;
#endif
}

namespace {

constexpr int k_min_rows = 64;  // from here on ggml takes its tiled kernel

bool is_in_cpu_memory(const ggml_tensor *tensor) {
    const ggml_tensor *base = tensor->view_src != nullptr ? tensor->view_src : tensor;
    if (base->buffer == nullptr || !ggml_backend_buffer_is_host(base->buffer)) {
        return false;
    }
    // ggml's own buffers of main memory name no device.
    ggml_backend_dev_t device =
        ggml_backend_buft_get_device(ggml_backend_buffer_get_type(base->buffer));
    return device == nullptr || ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU;
}

#ifdef ORTHORANK_LANES_8

// Threads draw tickets for groups, the last rows (the most keys) first. The count lies behind
// ggml's own parameters of a custom node, and whoever draws the last ticket of all sets it back for
// the next run of the graph.
template <typename L>
void run(ggml_tensor *node, int, int n_threads, void *) {
    const int64_t n_kv_heads = node->src[1]->ne[2];
    const int64_t n_groups = (node->ne[2] + Group<L>::n_queries - 1) / Group<L>::n_queries;
    const auto n_tickets = static_cast<int32_t>(n_kv_heads * n_groups);
    std::atomic_ref<int32_t> count(node->op_params[GGML_MAX_OP_PARAMS / sizeof(int32_t) - 1]);
    for (;;) {
        const int32_t ticket = count.fetch_add(1);
        if (ticket >= n_tickets) {
            if (ticket == n_tickets + n_threads - 1) {
                count.store(0);
            }
            return;
        }
        const int64_t group = n_groups - 1 - ticket / n_kv_heads;
        Group<L>(node, group * Group<L>::n_queries, ticket % n_kv_heads).compute();
    }
}

ggml_custom_op_t kernel_of(int n_lanes) {
#ifdef ORTHORANK_LANES_16
    if (n_lanes == 16) {
        return run<Lanes16>;
    }
#endif
    CHECK(n_lanes == 8);
    return run<Lanes8>;
}

#else

ggml_custom_op_t kernel_of(int) {
    CHECK(false);
    return nullptr;
}

#endif

}  // namespace

bool fits_cpu_attention(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v) {
    const bool is_float = k->type == GGML_TYPE_F16 || k->type == GGML_TYPE_F32;
    return widest_lanes() > 0 && is_float && k->type == v->type && q->ne[2] >= k_min_rows &&
           k->ne[0] % 16 == 0 && k->ne[0] <= k_max_dim_k && v->ne[0] % 16 == 0 &&
           k->ne[1] % k_keys_of_tile == 0 && is_in_cpu_memory(k) && is_in_cpu_memory(v);
}

ggml_tensor *cpu_attention(ggml_context *ctx, ggml_tensor *q, ggml_tensor *k, ggml_tensor *v,
                           ggml_tensor *mask, int n_lanes) {
    CHECK(n_lanes <= widest_lanes());
    CHECK(q->type == GGML_TYPE_F32 && q->ne[0] == k->ne[0] && q->ne[1] % k->ne[2] == 0);
    CHECK(k->ne[1] == v->ne[1] && k->ne[2] == v->ne[2] && q->ne[3] * k->ne[3] * v->ne[3] == 1);
    CHECK(mask->type == GGML_TYPE_F16 && mask->ne[0] == k->ne[1] && mask->ne[1] == q->ne[2]);
    std::array<ggml_tensor *, 4> sources = {q, k, v, mask};
    return ggml_custom_4d(ctx, GGML_TYPE_F32, v->ne[0], q->ne[1], q->ne[2], 1, sources.data(),
                          static_cast<int>(sources.size()), kernel_of(n_lanes), GGML_N_TASKS_MAX,
                          nullptr);
}

}  // namespace orthorank
