#include "graph/cpu_row_attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "graph/cpu_attention_kernel.h"
#include "graph/cpu_node.h"
#include "graph/cpu_row_attention_kernel.h"

namespace orthorank {

namespace {

const RowAttentionKernel &kernel_of(CpuLevel level) {
    CHECK(level != CpuLevel::none && level <= best_cpu_level());
#if defined(__x86_64__)
    return level == CpuLevel::avx2 ? k_row_attention_avx2 : k_row_attention_avx512;
#else
    static const RowAttentionKernel none{};
    return none;
#endif
}

// What the node has: results [dim_v, n_heads, n_rows], and behind them the parts [2 + dim_v,
// n_heads, n_parts, n_rows].
struct Shape {
    explicit Shape(const ggml_tensor *node) : Shape(node->src[0], node->src[1], node->src[2]) {}
    Shape(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v)
        : n_heads(q->ne[1]),
          n_rows(q->ne[2]),
          n_kv_heads(k->ne[2]),
          n_kv(k->ne[1]),
          dim_v(v->ne[0]),
          n_parts((n_kv + k_keys_of_part - 1) / k_keys_of_part) {}

    int64_t n_results() const { return dim_v * n_heads * n_rows; }
    int64_t part_floats() const { return (2 + dim_v) * n_heads; }
    int64_t n_floats() const { return n_results() + part_floats() * n_parts * n_rows; }
    float *parts(ggml_tensor *node, int64_t row, int64_t part) const {
        return static_cast<float *>(node->data) + n_results() +
               part_floats() * (row * n_parts + part);
    }

    int64_t n_heads, n_rows, n_kv_heads, n_kv, dim_v, n_parts;
};

const char *at(const ggml_tensor *tensor, int64_t i1, int64_t i2, int64_t i3) {
    return static_cast<const char *>(tensor->data) + static_cast<size_t>(i1) * tensor->nb[1] +
           static_cast<size_t>(i2) * tensor->nb[2] + static_cast<size_t>(i3) * tensor->nb[3];
}

void attend_part(ggml_tensor *node, const Shape &shape, const RowAttentionKernel &kernel,
                 int64_t row, int64_t kv_head, int64_t part) {
    const ggml_tensor *q = node->src[0], *k = node->src[1], *v = node->src[2], *mask = node->src[3];
    const ggml_tensor *slots = node->src[4];
    const int64_t slot = slots != nullptr ? static_cast<const int32_t *>(slots->data)[row] : 0;
    const int64_t first_key = part * k_keys_of_part;
    const int64_t n_heads = shape.n_heads / shape.n_kv_heads;
    const int64_t first_head = kv_head * n_heads;
    RowAttentionTask task;
    task.type = k->type;
    task.n_heads = static_cast<int>(n_heads);
    task.dim_k = k->ne[0];
    task.dim_v = shape.dim_v;
    task.scale = std::bit_cast<float>(node->op_params[k_scale_slot]);
    task.queries = reinterpret_cast<const float *>(at(q, first_head, row, 0));
    task.query_stride = q->nb[1] / sizeof(float);
    task.keys = at(k, first_key, kv_head, slot);
    task.key_stride = k->nb[1];
    task.values = at(v, first_key, kv_head, slot);
    task.value_stride = v->nb[1];
    task.mask = reinterpret_cast<const uint16_t *>(slots != nullptr ? at(mask, 0, 0, slot)
                                                                    : at(mask, row, 0, 0)) +
                first_key;
    task.n_keys = static_cast<int>(std::min<int64_t>(k_keys_of_part, shape.n_kv - first_key));
    task.parts = shape.parts(node, row, part) + first_head * (2 + shape.dim_v);
    kernel.attend(task);
}

void merge_parts(ggml_tensor *node, const Shape &shape, const RowAttentionKernel &kernel) {
    const ggml_tensor *sinks = node->src[5];
    for (int64_t row = 0; row < shape.n_rows; ++row) {
        for (int64_t head = 0; head < shape.n_heads; ++head) {
            const float sink = sinks != nullptr ? static_cast<const float *>(sinks->data)[head]
                                                : -std::numeric_limits<float>::infinity();
            kernel.merge(
                shape.parts(node, row, 0) + head * (2 + shape.dim_v), shape.n_parts,
                static_cast<size_t>(shape.part_floats()), sink, shape.dim_v,
                static_cast<float *>(node->data) + (row * shape.n_heads + head) * shape.dim_v);
        }
    }
}

// How many parts are done, before the count of tickets behind ggml's own parameters.
constexpr size_t k_done_slot = GGML_MAX_OP_PARAMS / sizeof(int32_t) - 2;

// A ticket is a part of a row for one head of keys; who finishes the last of all merges them.
void run(ggml_tensor *node, int, int n_threads, void *data) {
    const auto &kernel = *static_cast<const RowAttentionKernel *>(data);
    const Shape shape(node);
    const int64_t n_tickets = shape.n_rows * shape.n_kv_heads * shape.n_parts;
    std::atomic_ref<int32_t> n_done(node->op_params[k_done_slot]);
    draw_tickets(node, n_threads, n_tickets, [&](int64_t ticket) {
        const int64_t of_row = ticket % (shape.n_kv_heads * shape.n_parts);
        attend_part(node, shape, kernel, ticket / (shape.n_kv_heads * shape.n_parts),
                    of_row / shape.n_parts, of_row % shape.n_parts);
        if (n_done.fetch_add(1) == n_tickets - 1) {
            n_done.store(0);
            merge_parts(node, shape, kernel);
        }
    });
}

}  // namespace

bool fits_cpu_row_attention(const ggml_tensor *k, const ggml_tensor *v) {
    const bool is_float = k->type == GGML_TYPE_F16 || k->type == GGML_TYPE_F32;
    return is_float && k->type == v->type && k->ne[0] % 16 == 0 && v->ne[0] % 16 == 0 &&
           is_in_cpu_memory(k) && is_in_cpu_memory(v);
}

bool are_few_rows(const ggml_tensor *q, const ggml_tensor *k, const ggml_tensor *v) {
    constexpr int64_t k_max_floats = (128 << 20) / sizeof(float);
    return Shape(q, k, v).n_floats() <= k_max_floats;
}

ggml_tensor *cpu_row_attention(ggml_context *ctx, CpuLevel level, ggml_tensor *q, ggml_tensor *k,
                               ggml_tensor *v, ggml_tensor *mask, ggml_tensor *slot_of_row,
                               float scale, ggml_tensor *sinks) {
    CHECK(q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) && q->ne[0] == k->ne[0]);
    CHECK(q->ne[1] % k->ne[2] == 0 && k->ne[1] == v->ne[1] && k->ne[2] == v->ne[2]);
    CHECK(mask->type == GGML_TYPE_F16 && mask->ne[0] == k->ne[1]);
    CHECK(slot_of_row != nullptr || mask->ne[1] == q->ne[2]);
    const Shape shape(q, k, v);
    CHECK(sinks == nullptr || (sinks->type == GGML_TYPE_F32 && sinks->ne[0] == q->ne[1]));
    std::array<ggml_tensor *, 6> sources = {q, k, v, mask, slot_of_row, sinks};
    ggml_tensor *node =
        ggml_custom_4d(ctx, GGML_TYPE_F32, shape.n_floats(), 1, 1, 1, sources.data(),
                       static_cast<int>(sources.size()), run, GGML_N_TASKS_MAX,
                       const_cast<RowAttentionKernel *>(&kernel_of(level)));
    scale = scale != 0.0f ? scale : 1.0f / std::sqrt(static_cast<float>(k->ne[0]));
    node->op_params[k_scale_slot] = std::bit_cast<int32_t>(scale);
    const int64_t n_of_row = shape.dim_v * shape.n_heads;
    return ggml_view_2d(ctx, node, n_of_row, shape.n_rows,
                        static_cast<size_t>(n_of_row) * sizeof(float), 0);
}

}  // namespace orthorank
