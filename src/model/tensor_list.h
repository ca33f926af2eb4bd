// What an architecture's file says of its tensors: one call for each, or for those that many have
// alike; of the layer that is being listed. Collects requests (weight_list.h). Throws Error{format}
// for a tensor that is missing, of another shape, or of a type that cannot be computed with.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_set>
#include <vector>

#include "model/weight_list.h"

namespace orthorank {

class TensorList {
 public:
    TensorList(const GgufFile &file, const Hparams &hparams, Weights &weights);

    // The embedding, the last norm, the output head (or the embedding again).
    void ends();

    void begin_layer(int il) { il_ = il; }
    const LayerSpec &spec() const { return h_.layers[static_cast<size_t>(il_)]; }

    // Optional: the tensor that divides all frequencies; the two of short and long contexts. The
    // same for every layer.
    void rope_freqs();
    void rope_by_context();

    // [n_embd]; file_name: what the file calls it behind "blk.N.", where that is not its usual
    // name.
    void norm(ggml_tensor *LayerWeights::*slot, const char *file_name = nullptr);
    // Projections to queries, keys and values, and from the heads; biases if the file has them.
    void attention();
    // The same where values may be made of what keys are made of, and layers that read another's
    // keys have only queries.
    void attention_sharing_keys();
    // The same from one tensor for Q, K and V, if the file has it.
    void fused_attention();
    // A logit for each query head.
    void sinks();
    // Norms of each head of queries and of keys; or of all heads together.
    void head_norms();
    void width_norms();
    // Gate, up and down, or the router and the experts.
    void feed_forward();
    // Of a mixture: the router's and those of each expert's projections, all of them required.
    void expert_biases();
    // Gate, up and down; with experts of n_ff_shared, and beside them the router, the experts (gate
    // and up together, or each), and what norms and scales them.
    void dense_beside_experts();
    // Of models with an embedding of a token for every layer: what makes the layer's, and what adds
    // it. Nothing in others.
    void per_layer_embedding();
    // A number for all that leaves the layer, if the file has it.
    void layer_scale();
    // Gate and up in one tensor, and down.
    void fused_feed_forward();
    // The expert that every row uses, of n_ff_shared; with a gate of its own or not.
    void shared_expert(bool is_gated);

    // All that was listed. Throws for a tensor that was not, and that changes the network.
    std::vector<WeightRequest> finish();

 private:
    enum class Presence { required, optional };
    using Shape = std::array<int64_t, 4>;

    std::string name_of(const char *name) const;
    const TensorInfo *find(const std::string &name, const Shape &ne, WeightUse use,
                           Presence presence);
    bool add(ggml_tensor *&slot, const std::string &name, const Shape &ne, WeightUse use,
             Presence presence = Presence::required);
    void request(ggml_tensor *&slot, const TensorInfo &info, WeightUse use);
    bool layer_tensor(ggml_tensor *LayerWeights::*slot, const Shape &ne, WeightUse use,
                      Presence presence = Presence::required, const char *file_name = nullptr);
    void matrix(ggml_tensor *LayerWeights::*slot, int64_t n_in, int64_t n_out);
    void bias(ggml_tensor *LayerWeights::*slot, int64_t n);
    void attention_biases();
    void part(ggml_tensor *LayerWeights::*slot, const TensorInfo &whole, int64_t &first_row,
              int64_t n_rows);
    void dense_network(int64_t n_ff);
    bool fused_projections();
    void ignored(const char *name);
    void experts();
    void add_layer_embeddings();
    void one_for_all(ggml_tensor *LayerWeights::*slot, const char *name, int64_t n,
                     Presence presence);
    void rope_factors(ggml_tensor *LayerWeights::*slot, const char *name);
    bool is_in_a_layer(const std::string &name) const;

    const GgufFile &file_;
    const Hparams &h_;
    Weights &weights_;
    int il_ = 0;
    std::vector<WeightRequest> requests_;
    std::unordered_set<std::string> asked_;     // names in the file
    std::unordered_set<std::string> repeated_;  // of them, what every layer asks for
};

}  // namespace orthorank
