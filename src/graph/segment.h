// One graph launch: a part of a segment. A graph may start with the body of a row layer (its rows
// given by the host), go through dense layers, and end with the norm, K, V and scores of the next
// row layer or with the output head. SegmentShape is everything that decides the graph; equal
// shapes can reuse a graph, the data (which rows, positions, masks) are inputs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "ggml-cpp.h"
#include "graph/block.h"
#include "graph/corrections.h"
#include "graph/device_rows.h"
#include "select/policy.h"

namespace orthorank {

// What a graph computes of the scores of some of its rows: consecutive ones of one sequence, or
// single rows of several (is_batched), each with its own sink or all with one probe.
struct ScoreShape {
    int first_row = 0;
    int n_rows = 0;
    bool is_batched = false;
    int slot = 0;                         // not batched: where the sink is
    ScoreKind kind = ScoreKind::hash;     // hash, inherit and those of whole prompts: nothing
    bool has_sink = false;                // not batched: the first row is position 0
    const ProbeTensors *probe = nullptr;  // ScoreKind::probe

    bool operator==(const ScoreShape &) const = default;
};

// May single rows of several sequences get their scores of this kind in one operation?
bool can_batch_scores(ScoreKind kind);

// Rows that a row layer does not compute and a plan corrects instead.
struct UpdateShape {
    const CorrectionTensors *correction = nullptr;
    int n_rows = 0;  // rows anywhere in the hidden states, ids given as input

    bool operator==(const UpdateShape &) const = default;
};

struct SegmentShape {
    const Weights *weights = nullptr;  // the model's for this phase
    OwnKernels own;
    // The hidden rows of the pass; null: it goes from tokens to logits. They are read on the device
    // of begin_layer and written on that of end_layer: the layers that the graph begins and ends
    // before, whatever it has of them.
    const DeviceRows *hidden = nullptr;
    int begin_layer = 0;
    int end_layer = 0;
    // The graph's rows, n of them, stand at hidden rows first_row .. first_row + n - 1.
    int first_row = 0;
    RowSet rows;
    bool from_tokens = false;  // rows begin as token embeddings, else as hidden states

    int body_layer = -1;               // first of all: this layer for the body rows; -1: none
    RowSet body;                       // rows anywhere in the hidden states, ids given as input
    std::vector<UpdateShape> updates;  // and these updates of other rows in its place

    std::vector<int> dense_layers;  // then these layers for all rows
    // From this layer on (with a head, without writes_hidden) only the output rows are computed,
    // for nobody reads others: all rows' keys and values in this one, and nothing of them behind
    // it, where no layer has keys. -1: from none.
    int last_layer = -1;
    OwnKernels own_behind;  // for the output rows in layers behind it

    int score_layer = -1;            // then norm, K, V and scores of this layer; -1: none
    std::vector<ScoreShape> scores;  // of all its rows
    bool attention_scores = false;   // or only the attention received in score_layer

    // One of dense_layers whose attention probabilities are an output too; its rows are one piece.
    // -1: none.
    int attention_layer = -1;

    bool has_head = false;  // or the head, on the output rows (ids relative to rows)
    RowSet outputs;
    bool writes_hidden = false;  // the rows' hidden states are kept for the next graph

    bool operator==(const SegmentShape &) const = default;
};

// Nodes of a graph up to end_node - 1, from those of the part before, are of layers on this device.
struct DevicePart {
    int end_node = 0;
    int device = 0;
};

struct SegmentGraph {
    SegmentShape shape;
    std::unique_ptr<std::byte[]> memory;  // of ctx
    ggml_context_ptr ctx;
    ggml_cgraph *gf = nullptr;
    std::vector<DevicePart> parts;
    // inputs, null where the shape has none
    ggml_tensor *tokens = nullptr;          // I32 [n_rows]
    ggml_tensor *cells = nullptr;           // I64 [n_rows]
    ggml_tensor *body_ids = nullptr;        // I32 [body.n_rows], hidden rows
    std::vector<ggml_tensor *> update_ids;  // I32 [n_rows] per update, hidden rows
    ggml_tensor *output_ids = nullptr;      // I32 [outputs.n_rows], relative to rows
    ggml_tensor *sink_ids = nullptr;        // I32 [n_rows of the batched scores], rows of sinks
    RowInputs rows;
    RowInputs body;
    RowInputs outputs;
    // outputs
    std::vector<ggml_tensor *> scores;  // F32 [n_rows] per SegmentShape::scores; null: nothing
    ggml_tensor *attention = nullptr;   // F32 [n_kv, n_rows, n_head]
    ggml_tensor *logits = nullptr;      // F32 [n_vocab, outputs.n_rows]
    // F32 [1], no number if any key or value is none that went to a cache which the host does not
    // read; null: there are none.
    ggml_tensor *stored_sum = nullptr;
};

// sinks: F32 [n_embd, n_layers * n_slots], row slot * n_layers + il, on that layer's device; a
// graph with position 0 writes its sink there.
SegmentGraph build_segment(const Model &model, const KvCache &cache, const DeviceRows *sinks,
                           const SegmentShape &shape);

}  // namespace orthorank
