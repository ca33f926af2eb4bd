#include "select/cost_model.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "select/selection.h"

namespace orthorank {
namespace {

// Per row: Wq and Wo, 2 d Hq hd each.
double q_o_flops_per_row(const LayerWidths &layer) {
    return 4.0 * layer.n_embd * layer.n_head * layer.head_dim;
}

// Per row: Wk and Wv (or one of them, or none), 2 d Hkv hd each.
double kv_flops_per_row(const LayerWidths &layer) {
    return 2.0 * layer.n_kv_matrices * layer.n_embd * layer.n_head_kv * layer.head_dim;
}

// Per row: gate, up and down, 6 d f; of a mixture the active experts and the router, 2 d E. And
// three projections, 6 d p, of an embedding of the layer's own.
double ffn_flops_per_row(const LayerWidths &layer) {
    const double one = 6.0 * layer.n_embd * layer.n_ff;
    const double of_embedding = 6.0 * layer.n_embd * layer.n_embd_per_layer;
    if (layer.n_expert == 0) {
        return one + of_embedding;
    }
    return of_embedding + layer.n_expert_used * one + 2.0 * layer.n_embd * layer.n_expert +
           6.0 * layer.n_embd * layer.n_ff_shared;
}

// Keys that rows see on average which without a window would see first, first + 1, ... last of
// them.
double mean_keys(const LayerWidths &layer, double first, double last) {
    const auto window = static_cast<double>(layer.window);
    if (layer.window == 0 || last <= window) {
        return (first + last) / 2.0;
    }
    if (first >= window) {
        return window;
    }
    const double n_growing = window - first;  // rows that see fewer than the window
    const double n_rows = last - first + 1.0;
    return (n_growing * (first + window - 1.0) / 2.0 + (n_rows - n_growing) * window) / n_rows;
}

// n_rows queries that each see n_keys keys on average: Q K^T and A V, 2 Hq hd each.
double attention_flops_of(const LayerWidths &layer, double n_rows, double n_keys) {
    return 4.0 * layer.n_head * layer.head_dim * n_rows * n_keys;
}

// The correction of a layer, if any of B independent tokens is not picked: 1 - p^B.
double correction_bytes(const LayerPlan &layer, double element, int n_sequences) {
    if (layer.correction == nullptr || layer.action == Action::dense) {
        return 0.0;
    }
    const double ratio = layer.action == Action::select ? layer.ratio : 0.0;
    const Correction &correction = *layer.correction;
    const double values = 2.0 * correction.n_embd * correction.rank;
    return (1.0 - std::pow(ratio, n_sequences)) * (values * element + 4.0 * correction.n_embd);
}

// K and V for n_kv rows; n_rows rows whose queries see n_keys keys on average.
void add_layer(OperationFlops &flops, const LayerWidths &widths, double n_kv, double n_rows,
               double n_keys) {
    flops.kv += n_kv * kv_flops_per_row(widths);
    flops.q_o += n_rows * q_o_flops_per_row(widths);
    flops.attention += attention_flops_of(widths, n_rows, n_keys);
    flops.ffn += n_rows * ffn_flops_per_row(widths);
}

void add_dense_layer(OperationFlops &flops, const LayerWidths &widths, int64_t n) {
    const auto n_tokens = static_cast<double>(n);
    add_layer(flops, widths, n_tokens, n_tokens, mean_keys(widths, 1.0, n_tokens));
}

// The rows of a selecting layer: picked ones, and behind them those kept in any case.
struct SelectedRows {
    int64_t n_before = 0;  // rows that are picked from
    int64_t n_picked = 0;
    int64_t n_kept = 0;

    SelectedRows(int64_t n, double ratio, int keep_last)
        : n_before(std::max<int64_t>(0, n - keep_last)),
          n_picked(n_selected(ratio, n_before)),
          n_kept(n - n_before) {}
    bool are_all() const { return n_picked == n_before; }
};

// What the scores of n rows cost beside the layer itself: their queries and products with the keys
// of those whose attention counts, attention and its output projection, or an inner product a row.
void add_scores(OperationFlops &flops, const LayerWidths &widths, const Policy &policy, int64_t n) {
    const auto n_tokens = static_cast<double>(n);
    if (needs_whole_prompt(policy.score)) {
        const double n_asking = policy.score == ScoreKind::query
                                    ? static_cast<double>(std::min<int64_t>(policy.window, n))
                                    : n_tokens;
        const double n_keys = mean_keys(widths, n_tokens - n_asking + 1.0, n_tokens);
        flops.q_o += n_asking * q_o_flops_per_row(widths) / 2.0;  // no output projection
        flops.attention += attention_flops_of(widths, n_asking, n_keys) / 2.0;  // no values
    } else if (policy.score == ScoreKind::attention_output) {
        flops.q_o += n_tokens * q_o_flops_per_row(widths);
        flops.attention += attention_flops_of(widths, n_tokens, mean_keys(widths, 1.0, n_tokens));
    } else if (policy.score != ScoreKind::hash && policy.score != ScoreKind::inherit) {
        flops.score += 2.0 * n_tokens * widths.n_embd;
    }
}

void add_select_layer(OperationFlops &flops, const LayerWidths &widths, int64_t n, double ratio,
                      int keep_last, const Policy &policy) {
    const auto n_tokens = static_cast<double>(n);
    const SelectedRows rows(n, ratio, keep_last);
    if (rows.are_all()) {  // the sink too
        add_dense_layer(flops, widths, n);
    } else {
        // Positions 1..n-1 of n are picked evenly.
        const auto n_kept = static_cast<double>(rows.n_kept);
        add_layer(flops, widths, n_tokens, static_cast<double>(rows.n_picked),
                  mean_keys(widths, 2.0, static_cast<double>(rows.n_before)));
        add_layer(flops, widths, 0.0, n_kept, mean_keys(widths, n_tokens - n_kept + 1.0, n_tokens));
    }
    add_scores(flops, widths, policy, n);
}

// The last row alone, which sees all keys; in a selecting layer it is picked k times of n - 1.
void add_last_row(OperationFlops &flops, const LayerWidths &widths, int64_t n,
                  const LayerPlan &layer, int keep_last) {
    const auto n_tokens = static_cast<double>(n);
    double n_rows = 1.0;
    if (layer.action == Action::select) {
        add_scores(flops, widths, layer.policy, n);
        const SelectedRows rows(n, layer.ratio, keep_last);
        n_rows = rows.are_all() || rows.n_kept > 0
                     ? 1.0
                     : static_cast<double>(rows.n_picked) / std::max(n_tokens - 1.0, 1.0);
    }
    add_layer(flops, widths, n_tokens, n_rows, mean_keys(widths, n_tokens, n_tokens));
}

// From this layer on only the row that the head reads is computed: the last that the plan has and
// that has keys, or one behind it that needs all rows to pick from or to correct.
int last_layer_of(const ModelShape &shape, const Plan &plan) {
    int last = -1;
    for (int il = 0; il < plan.n_layers(); ++il) {
        const LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        const bool is_removed = layer.action == Action::skip && layer.correction == nullptr;
        const bool is_last = shape.layers[static_cast<size_t>(il)].n_kv_matrices > 0 ||
                             layer.action != Action::dense || last < 0;
        last = is_removed || !is_last ? last : il;
    }
    return last;
}

}  // namespace

double kv_projection_flops(const LayerWidths &layer, int64_t n) {
    return static_cast<double>(n) * kv_flops_per_row(layer);
}

double attention_flops(const LayerWidths &layer, int64_t n) {
    const double n_tokens = static_cast<double>(n);
    return attention_flops_of(layer, n_tokens, mean_keys(layer, 1.0, n_tokens));
}

double dense_layer_flops(const LayerWidths &layer, int64_t n) {
    OperationFlops flops;
    add_dense_layer(flops, layer, n);
    return flops.total();
}

double select_layer_flops(const LayerWidths &widths, int64_t n, double ratio, int keep_last,
                          const Policy &policy) {
    OperationFlops flops;
    add_select_layer(flops, widths, n, ratio, keep_last, policy);
    return flops.total();
}

double correction_flops(const ModelShape &shape, const LayerPlan &layer, int64_t n, int keep_last) {
    if (layer.correction == nullptr || layer.action == Action::dense || n == 0) {
        return 0.0;
    }
    const bool is_selecting = layer.action == Action::select;
    const SelectedRows rows(n, is_selecting ? layer.ratio : 0.0, is_selecting ? keep_last : 0);
    const int64_t n_rows = rows.are_all() ? 0 : rows.n_before - rows.n_picked - 1;
    return 4.0 * shape.n_embd * layer.correction->rank * static_cast<double>(n_rows);
}

double head_flops(const ModelShape &shape, int64_t n_rows) {
    return 2.0 * shape.n_embd * shape.n_vocab * static_cast<double>(n_rows);
}

OperationFlops prefill_operations(const ModelShape &shape, const Plan &plan, int64_t n,
                                  HeadRows head) {
    CHECK(plan.n_layers() == shape.n_layers());
    OperationFlops flops;
    flops.head = head_flops(shape, head == HeadRows::all || n == 0 ? n : 1);
    const int last_layer = last_layer_of(shape, plan);
    for (int il = 0; il < plan.n_layers(); ++il) {
        const LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        const LayerWidths &widths = shape.layers[static_cast<size_t>(il)];
        const bool is_for_last_row = head == HeadRows::last_read && il == last_layer && n > 1;
        if (!is_for_last_row || plan.keep_last == 0 || layer.action == Action::skip) {
            flops.correction += correction_flops(shape, layer, n, plan.keep_last) /
                                (is_for_last_row ? static_cast<double>(n) - 1.0 : 1.0);
        }
        if (layer.action == Action::skip) {
            continue;
        }
        if (head == HeadRows::last_read && il >= last_layer && n > 0) {
            add_last_row(flops, widths, n, layer, plan.keep_last);
        } else if (layer.action == Action::dense) {
            add_dense_layer(flops, widths, n);
        } else {
            add_select_layer(flops, widths, n, layer.ratio, plan.keep_last, layer.policy);
        }
    }
    return flops;
}

double prefill_flops(const ModelShape &shape, const Plan &plan, int64_t n, HeadRows head) {
    return prefill_operations(shape, plan, n, head).total();
}

double prefill_speed_up_bound(const ModelShape &shape, const Plan &plan, int64_t n, HeadRows head) {
    CHECK(n > 0);
    return prefill_flops(shape, dense_plan(shape.n_layers()), n, head) /
           prefill_flops(shape, plan, n, head);
}

double decode_step_bytes(const DecodeBytes &bytes, const Plan &plan, int n_sequences) {
    CHECK(plan.layers.size() == bytes.layers.size());
    CHECK(n_sequences >= 1);
    double total = bytes.head;
    for (size_t il = 0; il < bytes.layers.size(); ++il) {
        const LayerPlan &layer = plan.layers[il];
        total += correction_bytes(layer, bytes.correction_element, n_sequences);
        if (layer.action == Action::skip) {
            continue;
        }
        const LayerBytes &layer_bytes = bytes.layers[il];
        const double ratio = layer.action == Action::select ? layer.ratio : 1.0;
        // Any of B independent tokens is picked: 1 - (1 - p)^B.
        const double any_picked = 1.0 - std::pow(1.0 - ratio, n_sequences);
        // Its score is the attention output of every row.
        const bool attends =
            layer.action == Action::select && layer.policy.score == ScoreKind::attention_output;
        total += layer_bytes.kv_weights + (attends ? 1.0 : any_picked) * layer_bytes.q_o_weights +
                 any_picked * layer_bytes.ffn_weights +
                 (attends ? 1.0 : ratio) * n_sequences * layer_bytes.cache;
    }
    return total;
}

double decode_speed_up_bound(const DecodeBytes &bytes, const Plan &plan, int n_sequences) {
    return decode_step_bytes(bytes, dense_plan(plan.n_layers()), n_sequences) /
           decode_step_bytes(bytes, plan, n_sequences);
}

}  // namespace orthorank
