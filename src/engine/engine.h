// The engine: one way through the network for everything. It owns the KV cache, the buffers
// between graphs and the backends; sequences are made from it. forward() takes chunks of rows from
// one or more sequences, each with its own plan, and runs them through the segments of their
// common schedule, to the end; a ForwardPass (engine/forward.h) is the same call in steps. One
// thread at a time; the Model may be shared. What a user can get wrong throws Error (limit, usage,
// request) before anything is touched; a forward() that throws later takes back what it did: its
// sequences are as before the call, and the engine goes on: when memory was short, with fewer rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "engine/sequence.h"
#include "graph/graph_watch.h"
#include "graph/kernels.h"
#include "graph/kv_type.h"
#include "model/model.h"

namespace orthorank {

struct EngineOptions {
    int n_ctx = 0;        // tokens per sequence; 0: the model's context
    int n_sequences = 1;  // slots of the KV cache
    int n_threads = 0;    // 0: default_n_threads()
    KvType kv_type = KvType::f16;
    // Of prompts on a CPU. Which of them compute follows from the rows of a whole call, so that
    // results do not depend on chunk_rows.
    Kernels kernels = Kernels::fast;
    // A plan's corrections on the device: their two matrices in F16 or F32.
    CorrectionType correction_type = CorrectionType::f16;
    // Dense layers run prompts in chunks of this many rows; results do not depend on it but for the
    // rounding of attention in a last chunk below 64 rows.
    int chunk_rows = 512;
    // A selecting layer's body runs this many of its rows in one graph.
    int body_rows = 1024;
};

// Which rows of a chunk produce logits.
enum class Outputs { none, last, all };

// New rows of one sequence: tokens, or hidden states that enter ForwardOptions::first_layer.
// Hidden states of a model whose layers have embeddings of their own (Hparams::n_embd_per_layer)
// come with their tokens; of others they may.
struct Chunk {
    Sequence *sequence = nullptr;
    std::span<const int32_t> tokens;
    std::span<const float> hidden;  // [n_embd, n_rows], when first_layer > 0
    Phase phase = Phase::prefill;
    Outputs outputs = Outputs::last;
    // With Outputs::all: the rows from this one on. What only earlier rows need is not computed.
    int64_t first_output_row = 0;

    size_t n_rows(int n_embd) const {
        return hidden.empty() ? tokens.size() : hidden.size() / static_cast<size_t>(n_embd);
    }
};

// A block of logits as it comes out of the last graph; valid during the call only.
struct LogitsBlock {
    size_t chunk = 0;       // index into the batch
    int64_t first_row = 0;  // of the chunk; rows are consecutive
    int64_t n_rows = 0;
    int n_vocab = 0;
    const float *logits = nullptr;  // [n_vocab, n_rows]
};

// The attention of some rows of a dense layer; valid during the call only.
struct AttentionBlock {
    int64_t first_row = 0;  // of the chunk; rows are consecutive
    int n_rows = 0;
    int n_keys = 0;  // positions 0, 1, ...; those that a row does not see have probability 0
    int n_heads = 0;
    std::span<const float> probabilities;  // [n_keys, n_rows, n_heads]
};

// Watches a forward pass at layer boundaries. Boundary l is what enters layer l; n_layers is the
// end, before the final norm.
class Tap {
 public:
    virtual ~Tap() = default;
    // Hidden states are brought to the host at the boundaries that this wants.
    virtual bool wants_hidden(int boundary) const = 0;
    // chunk: index into the batch; hidden: [n_embd, n_rows] of its new rows.
    virtual void on_hidden(int boundary, size_t chunk, std::span<const float> hidden) = 0;
    // The attention probabilities of layer il, EngineOptions::chunk_rows rows at a time, after the
    // hidden states that enter it. In a batch of one chunk of several rows, and where the layer is
    // dense.
    virtual bool wants_attention(int) const { return false; }
    virtual void on_attention(int, const AttentionBlock &) {}
};

struct ForwardOptions {
    std::function<void(const LogitsBlock &)> on_logits;  // required if any chunk has outputs
    Tap *tap = nullptr;
    GraphWatch *watch = nullptr;  // sees the graphs (graph/graph_watch.h)
    // Run only layers first_layer .. end_layer - 1 (end_layer < 0: all, then the head); of rows
    // that have not been before, a first_layer that Hparams::start_of allows. n_past advances in
    // any case, so that more rows can follow up to the same layer; truncate() before resuming the
    // same rows from there.
    int first_layer = 0;
    int end_layer = -1;
    // One for each chunk: what the nearest selecting layer before first_layer decided, for layers
    // that inherit its rows.
    std::span<const LayerRecord> inherited;
};

class ForwardPass;

class Engine {
 public:
    // Throws Error{limit} when n_ctx exceeds the model's context or memory does not suffice.
    Engine(const Model &model, const EngineOptions &options = {});
    ~Engine();
    Engine(const Engine &) = delete;
    Engine &operator=(const Engine &) = delete;

    const Model &model() const;
    int n_ctx() const;
    int n_threads() const;
    // As they were given.
    const EngineOptions &options() const;
    int n_free_sequences() const;

    // Throws Error{format} when the plan has another number of layers, Error{usage} when it cannot
    // be applied that way or removes a layer whose keys another reads: what new_sequence() would
    // say of them.
    void check(const Plan &plan) const;
    // Throws Error{limit} when all slots are taken, Error{format} when the plan has another number
    // of layers or corrections of another width, Error{usage} when it cannot be applied that way
    // (attention-up or query in decode). apply: in place of the plan's. Corrections and probes are
    // uploaded unless another sequence has them; those that no sequence has any more are freed,
    // also when it throws.
    Sequence new_sequence(const Plan &plan, std::optional<Apply> apply = {});
    // A second timeline with the same past and plan.
    Sequence fork(const Sequence &sequence);

    // Advances the sequences by their chunks' rows. Each sequence at most once in a batch.
    void forward(std::span<const Chunk> batch, const ForwardOptions &options = {});

    struct MemoryUse {
        int64_t kv_bytes = 0;
        int64_t hidden_bytes = 0;      // hidden states and sinks between graphs
        int64_t compute_bytes = 0;     // graphs' buffers now
        int64_t correction_bytes = 0;  // corrections and probes on the device
    };
    MemoryUse memory() const;

    struct Impl;

 private:
    friend class ForwardPass;
    // All of the plan's, for this new sequence.
    void upload_corrections(Sequence &sequence);
    // Frees those that no sequence has.
    void release_corrections();
    std::unique_ptr<Impl> impl_;
};

// The logits of the last row of one sequence: forward() of a single chunk, copied out.
std::vector<float> forward_last(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
                                Phase phase);

}  // namespace orthorank
