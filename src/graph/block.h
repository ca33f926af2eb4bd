// The decoder block as ggml nodes: norm, K and V into the cache, attention over the cache, feed
// forward. Every pass through the network is made of these few functions; they know how many rows
// there are, never which rows or why. A builder lives as long as the graph is being built and
// borrows everything. h is the residual stream, a the rows after the attention norm.
#pragma once

#include <vector>

#include "ggml.h"
#include "graph/cpu_matmul.h"
#include "graph/cpu_rows.h"
#include "graph/kv_cache.h"
#include "model/model.h"

namespace orthorank {

// Consecutive rows of one sequence: they attend to the first n_kv cells of its slot.
struct Piece {
    int first_row = 0;
    int n_rows = 0;
    int slot = 0;
    int n_kv = 0;  // a multiple of k_kv_padding

    bool operator==(const Piece &) const = default;
};

// The rows of a graph that attend, as shape: first single rows of several sequences that decode,
// one operation for all of them over a range of slots; behind them pieces, one operation each.
struct RowSet {
    int n_rows = 0;
    int n_batched = 0;   // the first rows; may exceed the sequences' rows: padding, for reuse
    int first_slot = 0;  // of the batched rows: the slots first_slot .. first_slot + n_slots - 1
    int n_slots = 0;
    int n_kv = 0;  // likewise: cells looked at in every slot
    std::vector<Piece> pieces;

    bool operator==(const RowSet &) const = default;
};

// The input tensors that a RowSet needs; filled by the caller before the graph runs. Masks are
// there for each of Hparams::windows; those of windows that no layer of the graph has get no
// memory.
struct RowInputs {
    ggml_tensor *positions = nullptr;     // I32 [n_rows]
    ggml_tensor *tokens = nullptr;        // I32 [n_rows]; null where only the embedding needs them
    ggml_tensor *embedded = nullptr;      // [n_embd, n_rows], no input: of these tokens
    ggml_tensor *temperatures = nullptr;  // F32 [1, 1, n_rows]; null without temperature
    std::vector<ggml_tensor *> masks;     // F16 [n_kv, n_rows] by window, then by piece
    std::vector<ggml_tensor *> batch_masks;  // F16 [n_kv, 1, 1, n_slots] by window; without batched
                                             // rows empty, and null:
    ggml_tensor *row_of_slot = nullptr;      // I32 [n_slots]
    ggml_tensor *slot_of_row = nullptr;      // I32 [n_batched], minus first_slot
};

// The inputs of whole_block().
struct PlainInputs {
    ggml_tensor *positions = nullptr;     // I32 [n]
    ggml_tensor *temperatures = nullptr;  // F32 [1, 1, n]; null without temperature
    ggml_tensor *mask = nullptr;          // F32 [n, n]: 0 or -infinity
    // F32 [n_expert, n], 1 where an expert is used; null without experts, or when only the router
    // is wanted.
    ggml_tensor *expert_mask = nullptr;
};

// Which kernels of our own a graph takes on a CPU: those for many rows (cpu_matmul.h) or those for
// few (cpu_rows.h); cpu_row_attention.h for rows that cpu_attention.h leaves.
struct OwnKernels {
    CpuLevel level = CpuLevel::none;  // none: ggml's
    bool for_few_rows = false;

    bool operator==(const OwnKernels &) const = default;
};

class BlockBuilder {
 public:
    // Without a cache: for whole_block() and plain_logits() alone.
    BlockBuilder(ggml_context *ctx, ggml_cgraph *gf, const Hparams &hparams, const Weights &weights,
                 const KvCache *cache = nullptr, const OwnKernels &own = {})
        : ctx_(ctx),
          gf_(gf),
          hparams_(hparams),
          weights_(weights),
          cache_(cache),
          own_(own),
          cpu_matmul_(own.level) {}

    // Makes the input tensors for a row set.
    RowInputs make_inputs(const RowSet &rows) const;

    // tokens I32 [n] -> h [n_embd, n]
    ggml_tensor *embed(ggml_tensor *tokens) const;
    // h [n_embd, n] -> a [n_embd, n]; h itself where the layer has no such norm.
    ggml_tensor *attention_norm(int il, ggml_tensor *h) const;
    // Projects a [n_embd, n] to keys and values and writes them to the cache rows `cells` (I64
    // [n]). Nothing in a layer that reads another's.
    void store_kv(int il, ggml_tensor *a, ggml_tensor *positions, ggml_tensor *cells) const;
    // The rest of the layer for these rows: h, a [n_embd, n_rows] -> h [n_embd, n_rows].
    ggml_tensor *body(int il, ggml_tensor *h, ggml_tensor *a, const RowSet &rows,
                      const RowInputs &inputs) const;
    // What attention adds to h for these rows: a [n_embd, n_rows] -> [n_embd, n_rows].
    ggml_tensor *attention_output(int il, ggml_tensor *a, const RowSet &rows,
                                  const RowInputs &inputs) const;
    // All of the layer for these rows, whose keys and values go to `cells`: h [n_embd, n_rows] ->
    // h.
    ggml_tensor *layer(int il, ggml_tensor *h, const RowSet &rows, const RowInputs &inputs,
                       ggml_tensor *cells) const;
    // The attention probabilities of rows that are one piece, keys that a row does not see 0; with
    // a sink logit they sum to less than one: a [n_embd, n_rows] -> [n_kv, n_rows, n_head].
    ggml_tensor *attention_probabilities(int il, ggml_tensor *a, const RowSet &rows,
                                         const RowInputs &inputs) const;
    // The same summed over rows: [1, n_kv, n_head], still to be added over heads.
    ggml_tensor *attention_received(int il, ggml_tensor *a, const RowSet &rows,
                                    const RowInputs &inputs) const;
    // The second attention mode, for gradients (flash attention, writing rows and MUL_MAT_ID have
    // no backward pass): the whole layer for one sequence from position 0, by mul_mat and soft_max.
    // With experts and without their mask, only the router's probabilities [n_expert, n].
    ggml_tensor *whole_block(int il, ggml_tensor *h, const PlainInputs &inputs) const;
    // h [n_embd, n] -> logits [n_vocab, n]; the second can be differentiated.
    ggml_tensor *logits(ggml_tensor *h) const;
    ggml_tensor *plain_logits(ggml_tensor *h) const;
    // The sum of all keys and values, as they are stored, that went to layers of the cache which
    // the host does not read, F32 [1]; null: to none.
    ggml_tensor *stored_sum() const { return stored_sum_; }

 private:
    // Of a layer's rows: [head_dim, n_head, n], [n_embd_k, n], [n_embd_v, n].
    struct Projected {
        ggml_tensor *q;
        ggml_tensor *k;
        ggml_tensor *v;
    };
    struct KeysValues {
        ggml_tensor *k;
        ggml_tensor *v;
    };
    ggml_tensor *rms_norm(ggml_tensor *x, ggml_tensor *weight) const;
    bool takes_rows(const ggml_tensor *weight) const;
    bool takes_panels() const;
    RowsInput rows_input(ggml_tensor *x) const;
    ggml_tensor *project_onto(ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x,
                              ggml_tensor *residual) const;
    const LayerSpec &spec(int il) const { return hparams_.layers[static_cast<size_t>(il)]; }
    Projected project_all(int il, ggml_tensor *a, const RowInputs &inputs) const;
    void add_stored(ggml_tensor *x, ggml_type type) const;
    void store(int il, ggml_tensor *k, ggml_tensor *v, ggml_tensor *cells) const;
    ggml_tensor *finish(int il, ggml_tensor *h, ggml_tensor *q, const RowSet &rows,
                        const RowInputs &inputs) const;
    ggml_tensor *product(ggml_tensor *weight, ggml_tensor *x) const;
    ggml_tensor *product_id(ggml_tensor *weights, ggml_tensor *x, ggml_tensor *ids) const;
    ggml_tensor *project(ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x) const;
    ggml_tensor *onto(int il, ggml_tensor *weight, ggml_tensor *bias, ggml_tensor *x,
                      ggml_tensor *post_norm, ggml_tensor *residual) const;
    ggml_tensor *add_half(int il, ggml_tensor *y, ggml_tensor *post_norm,
                          ggml_tensor *residual) const;
    ggml_tensor *rope(int il, ggml_tensor *x, ggml_tensor *positions) const;
    ggml_tensor *turned(int il, ggml_tensor *q, ggml_tensor *positions,
                        ggml_tensor *temperatures) const;
    ggml_tensor *scaled(int il, ggml_tensor *q) const;
    ggml_tensor *unscaled_queries(int il, ggml_tensor *a, ggml_tensor *positions,
                                  ggml_tensor *temperatures) const;
    ggml_tensor *queries(int il, ggml_tensor *a, ggml_tensor *positions,
                         ggml_tensor *temperatures) const;
    ggml_tensor *heads(ggml_tensor *x, int n_heads, ggml_tensor *norm) const;
    ggml_tensor *mask_of(int il, const RowInputs &inputs, size_t n_pieces, size_t piece) const;
    ggml_tensor *cache_view(ggml_tensor *tensor, int head_dim, int n_head_kv, int slot, int n_slots,
                            int n_kv) const;
    ggml_tensor *flash_attention(int il, ggml_tensor *q, ggml_tensor *k, ggml_tensor *v,
                                 ggml_tensor *mask) const;
    ggml_tensor *attend_piece(int il, ggml_tensor *q, const Piece &piece, ggml_tensor *mask) const;
    ggml_tensor *attend_batched(int il, ggml_tensor *q, const RowSet &rows,
                                const RowInputs &inputs) const;
    ggml_tensor *attention(int il, ggml_tensor *q, const RowSet &rows,
                           const RowInputs &inputs) const;
    ggml_tensor *feed_forward(int il, ggml_tensor *h) const;
    ggml_tensor *gated(int il, ggml_tensor *gate, ggml_tensor *up) const;
    ggml_tensor *router(int il, ggml_tensor *h, ggml_tensor *x) const;
    ggml_tensor *gated_network(int il, ggml_tensor *x) const;
    ggml_tensor *gated_experts(int il, ggml_tensor *x, ggml_tensor *chosen) const;
    ggml_tensor *mixture(int il, ggml_tensor *h) const;
    ggml_tensor *project_id(ggml_tensor *weights, ggml_tensor *bias, ggml_tensor *x,
                            ggml_tensor *ids) const;
    ggml_tensor *experts(int il, ggml_tensor *x, ggml_tensor *scores) const;
    ggml_tensor *layer_scaled(int il, ggml_tensor *h) const;
    ggml_tensor *layer_embedding(int il, const RowInputs &inputs) const;
    ggml_tensor *add_layer_embedding(int il, ggml_tensor *h, const RowInputs &inputs) const;
    ggml_tensor *plain_mixture(int il, ggml_tensor *h, ggml_tensor *probs,
                               ggml_tensor *expert_mask) const;
    ggml_tensor *shared_expert(int il, ggml_tensor *x) const;
    ggml_tensor *ffn_input(int il, ggml_tensor *h) const;
    ggml_tensor *capped(ggml_tensor *x, float cap) const;
    ggml_tensor *values(int il, ggml_tensor *v) const;
    KeysValues keys_values(int il, ggml_tensor *a, ggml_tensor *positions) const;
    ggml_tensor *attend_plain(int il, ggml_tensor *a, const PlainInputs &inputs) const;
    ggml_tensor *all_experts(int il, ggml_tensor *x, ggml_tensor *probs,
                             ggml_tensor *expert_mask) const;
    ggml_tensor *plain_sigmoid(ggml_tensor *x) const;
    ggml_tensor *plain_capped(ggml_tensor *x, float cap) const;
    ggml_tensor *at_most(ggml_tensor *x, float limit) const;
    ggml_tensor *plain_softmax(int il, ggml_tensor *scores, ggml_tensor *mask, float scale) const;
    ggml_tensor *plain_gated(int il, ggml_tensor *gate, ggml_tensor *up) const;
    ggml_tensor *plain_ffn(int il, ggml_tensor *x) const;
    ggml_tensor *plain_shared_expert(int il, ggml_tensor *x) const;

    ggml_context *ctx_;
    ggml_cgraph *gf_;
    const Hparams &hparams_;
    const Weights &weights_;
    const KvCache *cache_;
    OwnKernels own_;
    mutable CpuMatmul cpu_matmul_;  // remembers packed rows
    mutable ggml_tensor *stored_sum_ = nullptr;
};

// An upper bound of the nodes and leaves that n layers make over row sets of n pieces. With experts
// it grows by those that a row uses: each has a view and an addition of its own.
size_t max_nodes(int n_layers, size_t n_pieces, int n_expert_used);

}  // namespace orthorank
