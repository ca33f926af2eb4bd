// The part of a forward pass that looks at its numbers: nothing that is no number (NaN, infinity)
// leaves the engine, as logits, scores or hidden states, nor stays in the cache.
#include <cmath>

#include "base/error.h"
#include "base/finite.h"
#include "engine/engine_impl.h"
#include "engine/forward.h"
#include "model/not_finite.h"

namespace orthorank {

void ForwardPass::refuse(const std::string &what, const char *advice) const {
    fail_not_finite(engine_.model.path(), what, advice);
}

void ForwardPass::check_finite(const char *what, std::span<const float> values) const {
    if (!all_finite(values)) {
        refuse(what,
               "some within the model are beyond what its types hold; try --kv-type f32, and "
               "--weights bf16 where weights are F16");
    }
}

// A key of -infinity would hide its token from attention and leave everything else finite, so the
// cells are looked at as they are written. That takes no time where the host reads the cache; where
// it does not, the device sums what it stores, and the cells are fetched only to say where it was.
void ForwardPass::check_stored(const Segment &segment, const SegmentGraph &graph, int first,
                               int end) const {
    std::vector<int> layers = segment.dense_layers;
    if (segment.score_layer >= 0) {
        layers.push_back(segment.score_layer);
    }
    std::erase_if(layers, [this](int il) { return !engine_.model.hparams().has_keys(il); });
    const KvCache &cache = engine_.cache;
    float sum = 0;
    if (graph.stored_sum != nullptr) {
        ggml_backend_tensor_get(graph.stored_sum, &sum, 0, sizeof(sum));
    }
    for (int row = first; row < end;) {
        const RowRef ref = sets_.ref(row);
        int next = row + 1;
        while (next < end && sets_.ref(next).chunk == ref.chunk) {
            ++next;
        }
        const Chunk &chunk = batch_[static_cast<size_t>(ref.chunk)];
        for (const int il : layers) {
            const bool is_looked_at = cache.is_on_host(il) || !std::isfinite(sum);
            if (is_looked_at &&
                !cache.is_finite(il, chunk.sequence->slot(), sets_.position(ref), next - row)) {
                refuse(fmt::format("keys or values of layer {}", il),
                       "they are beyond what this KV cache holds; use --kv-type f32");
            }
        }
        row = next;
    }
}

}  // namespace orthorank
