// What a plan can save at most: arithmetic of a prefill and bytes read by a decode step, counted
// by the formulas of the specification, section 9. Pure functions, thread-safe. Counts are doubles:
// they pass 2^53 only where the last digit means nothing.
//
// FLOPs are 2 x multiply-adds; norms, RoPE, softmax and picking are left out; causal attention is
// counted exactly, a window's too. A selecting layer makes K and V for all rows, and what its
// policy's scores take: an inner product a row, as a rule; queries and products with the keys where
// attention received counts; attention of all rows where its output does; nothing for random and
// inherited rows. (A score's attention is counted with the layer's.)
#pragma once

#include <cstdint>
#include <vector>

#include "select/plan.h"

namespace orthorank {

// One layer's widths.
struct LayerWidths {
    int n_embd = 0;
    int n_head = 0;
    int n_head_kv = 0;
    int head_dim = 0;
    int n_ff = 0;
    int n_expert_used = 0;  // 0: no mixture of experts
    int n_expert = 0;
    int n_ff_shared = 0;    // of a mixture: the width of the expert that every row uses
    int window = 0;         // keys that a row sees at most; 0: all before it
    int n_kv_matrices = 2;  // 1: values are what keys are made of; 0: it reads an earlier layer's
    int n_embd_per_layer = 0;  // width of its own embedding of a token; 0: none
};

// Layers may differ, in heads and feed-forward width.
struct ModelShape {
    int n_embd = 0;
    int n_vocab = 0;
    std::vector<LayerWidths> layers;

    int n_layers() const { return static_cast<int>(layers.size()); }
};

// The rows that the output head computes. last_read: the last one, and the last layer with keys of
// its own computes beside all K and V only the row that the head reads, and layers behind it that
// row alone, as this engine does (libllama: where it is the last layer of all).
enum class HeadRows { all, last, last_read };

// FLOPs by operation.
struct OperationFlops {
    double kv = 0;   // projections to keys and values
    double q_o = 0;  // projections to queries and from the heads' outputs
    double attention = 0;
    double ffn = 0;
    double score = 0;
    double head = 0;
    double correction = 0;  // of rows that are not computed

    double total() const { return kv + q_o + attention + ffn + score + head + correction; }
};

// One layer over a prompt of n tokens.
double dense_layer_flops(const LayerWidths &layer, int64_t n);
// keep_last: rows at the end that are computed beside the picked ones of those before.
double select_layer_flops(const LayerWidths &layer, int64_t n, double ratio, int keep_last = 0,
                          const Policy &policy = {});
double head_flops(const ModelShape &shape, int64_t n_rows);

// What a layer's correction adds: down and up, 2 n_embd rank each, for every row that is not
// computed but the sink. 0 without one.
double correction_flops(const ModelShape &shape, const LayerPlan &layer, int64_t n,
                        int keep_last = 0);

// The K and V projections' part of dense_layer_flops, and the attention's.
double kv_projection_flops(const LayerWidths &layer, int64_t n);
double attention_flops(const LayerWidths &layer, int64_t n);

// A whole prefill of n tokens, whatever Plan::apply says (plan_in_prefill). The plan must be one
// for shape.n_layers(). If the last layer selects, the one row that last_read leaves of it counts
// as often as it is expected to be picked, or else to be corrected.
OperationFlops prefill_operations(const ModelShape &shape, const Plan &plan, int64_t n,
                                  HeadRows head);
double prefill_flops(const ModelShape &shape, const Plan &plan, int64_t n, HeadRows head);

// prefill_flops of the dense plan / of this one: no engine bound by arithmetic gains more.
double prefill_speed_up_bound(const ModelShape &shape, const Plan &plan, int64_t n, HeadRows head);

// Weights and cache that one layer reads in a decode step.
struct LayerBytes {
    double kv_weights = 0;   // Wk and Wv: read for every token
    double q_o_weights = 0;  // Wq and Wo: read if a token of the batch is picked, or for its score
    double ffn_weights = 0;  // the rest: read if a token of the batch is picked
    double cache = 0;        // K and V of one sequence at the depth in question
};

struct DecodeBytes {
    std::vector<LayerBytes> layers;  // one per layer
    double head = 0;                 // output head, final norm
    double correction_element = 2;   // one element of a correction's matrices; its bias is F32
};

// The bytes that a decode step over n_sequences tokens, one of each sequence, is expected to read
// if a token is picked in a selecting layer with probability ratio, independently; a correction is
// read if a token is not picked. (A
// mixture of experts reads more experts as the batch grows; ffn_weights is used as given.)
double decode_step_bytes(const DecodeBytes &bytes, const Plan &plan, int n_sequences = 1);

// decode_step_bytes of the dense plan / of this one: no engine bound by memory gains more.
double decode_speed_up_bound(const DecodeBytes &bytes, const Plan &plan, int n_sequences = 1);

}  // namespace orthorank
