// The part of a forward pass that hands results on: logits, and hidden states to a tap.
#include "engine/engine_impl.h"
#include "engine/forward.h"

namespace orthorank {

bool ForwardPass::wants_output(const RowRef &ref) const {
    const Chunk &chunk = batch_[ref.chunk];
    if (chunk.outputs == Outputs::last) {
        return ref.row + 1 == n_rows_of(static_cast<size_t>(ref.chunk));
    }
    return chunk.outputs == Outputs::all && ref.row >= chunk.first_output_row;
}

std::vector<RowRef> ForwardPass::outputs_in(int first, int end) const {
    std::vector<RowRef> outputs;
    for (const RowRef &ref : sets_.range(first, end)) {
        if (wants_output(ref)) {
            outputs.push_back(ref);
        }
    }
    return outputs;
}

// Hands the logits on, one block for the rows of each chunk.
void ForwardPass::read_logits(const SegmentGraph &graph, std::span<const RowRef> outputs) const {
    const int n_vocab = engine_.model.hparams().n_vocab;
    const float *data = nullptr;
    std::vector<float> copy;
    if (ggml_backend_buffer_is_host(graph.logits->buffer)) {
        data = static_cast<const float *>(graph.logits->data);
    } else {
        copy.resize(outputs.size() * static_cast<size_t>(n_vocab));
        ggml_backend_tensor_get(graph.logits, copy.data(), 0, copy.size() * sizeof(float));
        data = copy.data();
    }
    check_finite("logits", {data, outputs.size() * static_cast<size_t>(n_vocab)});
    for (size_t i = 0; i < outputs.size();) {
        size_t end = i + 1;
        while (end < outputs.size() && outputs[end].chunk == outputs[i].chunk) {
            ++end;
        }
        LogitsBlock block;
        block.chunk = order_[static_cast<size_t>(outputs[i].chunk)];
        block.first_row = outputs[i].row;
        block.n_rows = static_cast<int64_t>(end - i);
        block.n_vocab = n_vocab;
        block.logits = data + i * static_cast<size_t>(n_vocab);
        options_.on_logits(block);
        i = end;
    }
}

void ForwardPass::tap_hidden(int boundary) {
    const ggml_tensor *hidden = hidden_before(boundary);
    const auto n_embd = static_cast<size_t>(hidden->ne[0]);
    std::vector<float> rows;
    for (size_t i = 0; i < batch_.size(); ++i) {
        rows.resize(static_cast<size_t>(n_rows_of(i)) * n_embd);
        ggml_backend_tensor_get(hidden, rows.data(),
                                hidden->nb[1] * static_cast<size_t>(sets_.first_row(i)),
                                rows.size() * sizeof(float));
        check_finite("hidden states", rows);
        options_.tap->on_hidden(boundary, order_[i], rows);
    }
}

bool ForwardPass::taps_attention(int il) const {
    return options_.tap != nullptr && options_.tap->wants_attention(il);
}

// first: of the packed batch, which is one chunk.
void ForwardPass::tap_attention(const SegmentGraph &graph, int first) const {
    const ggml_tensor *attention = graph.attention;
    std::vector<float> values(static_cast<size_t>(ggml_nelements(attention)));
    ggml_backend_tensor_get(attention, values.data(), 0, values.size() * sizeof(float));
    check_finite("attention probabilities", values);
    AttentionBlock block;
    block.first_row = first;
    block.n_keys = static_cast<int>(attention->ne[0]);
    block.n_rows = static_cast<int>(attention->ne[1]);
    block.n_heads = static_cast<int>(attention->ne[2]);
    block.probabilities = values;
    options_.tap->on_attention(graph.shape.attention_layer, block);
}

// Does anybody look at the hidden states that leave layer il or a later one, or at attention there?
bool ForwardPass::taps_behind(int il) const {
    for (int boundary = il + 1; options_.tap != nullptr && boundary <= n_layers_; ++boundary) {
        if (options_.tap->wants_hidden(boundary) ||
            (boundary < n_layers_ && taps_attention(boundary))) {
            return true;
        }
    }
    return false;
}

}  // namespace orthorank
