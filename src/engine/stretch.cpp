#include "engine/stretch.h"

#include <algorithm>

#include "base/error.h"

namespace orthorank {

BoundaryTap::BoundaryTap(std::vector<int> boundaries, OnHidden on_hidden)
    : boundaries_(std::move(boundaries)), on_hidden_(std::move(on_hidden)) {
    CHECK(std::is_sorted(boundaries_.begin(), boundaries_.end()));
}

bool BoundaryTap::wants_hidden(int boundary) const {
    return std::binary_search(boundaries_.begin(), boundaries_.end(), boundary);
}

void BoundaryTap::on_hidden(int boundary, size_t chunk, std::span<const float> hidden) {
    on_hidden_(boundary, chunk, hidden);
}

std::vector<int> boundaries_behind(int first, int last) {
    std::vector<int> boundaries;
    for (int boundary = first + 1; boundary <= last; ++boundary) {
        boundaries.push_back(boundary);
    }
    return boundaries;
}

OnHidden keep_in(HiddenStates &kept) {
    return [&kept](int boundary, size_t chunk, std::span<const float> hidden) {
        std::vector<float> &states = kept[boundary];
        if (chunk == 0) {
            states.clear();
        }
        states.insert(states.end(), hidden.begin(), hidden.end());
    };
}

namespace {

// Rows first..end-1 of the stretch, in one chunk.
void run_part(Engine &engine, Sequence &sequence, const Stretch &stretch, size_t first, size_t end,
              bool is_continuation) {
    const auto n_embd = static_cast<size_t>(engine.model().hparams().n_embd);
    Chunk chunk;
    chunk.sequence = &sequence;
    if (!stretch.hidden.empty()) {
        chunk.hidden = stretch.hidden.subspan(first * n_embd, (end - first) * n_embd);
    }
    if (!stretch.tokens.empty()) {
        chunk.tokens = stretch.tokens.subspan(first, end - first);
    }
    chunk.phase = is_continuation ? Phase::decode : Phase::prefill;
    const bool only_last = !is_continuation && stretch.n_continuation > 0;
    chunk.outputs = !stretch.on_logits ? Outputs::none : only_last ? Outputs::last : Outputs::all;
    BoundaryTap tap(stretch.boundaries, [&](int boundary, size_t, std::span<const float> hidden) {
        stretch.on_hidden(boundary, is_continuation ? 1 : 0, hidden);
    });
    ForwardOptions options;
    options.tap = stretch.boundaries.empty() ? nullptr : &tap;
    if (stretch.on_logits) {
        options.on_logits = [&](LogitsBlock block) {
            block.first_row += static_cast<int64_t>(first);
            stretch.on_logits(block);
        };
    }
    options.first_layer = stretch.first;
    options.end_layer = stretch.end;
    if (stretch.inherited != nullptr) {
        options.inherited = std::span(stretch.inherited, 1);
    }
    engine.forward(std::span(&chunk, 1), options);
}

}  // namespace

void run_stretch(Engine &engine, Sequence &sequence, const Stretch &stretch) {
    CHECK(sequence.n_past() == 0 && (stretch.first == 0 || !stretch.hidden.empty()));
    const auto n_embd = static_cast<size_t>(engine.model().hparams().n_embd);
    const size_t n =
        stretch.hidden.empty() ? stretch.tokens.size() : stretch.hidden.size() / n_embd;
    const auto n_continuation = static_cast<size_t>(stretch.n_continuation);
    CHECK(n_continuation < n);
    run_part(engine, sequence, stretch, 0, n - n_continuation, false);
    if (n_continuation > 0) {
        run_part(engine, sequence, stretch, n - n_continuation, n, true);
    }
}

void run_stretch(Engine &engine, const Plan &plan, const Stretch &stretch) {
    Sequence sequence = engine.new_sequence(plan, Apply::prefill);
    run_stretch(engine, sequence, stretch);
}

int n_layers_computed(const Plan &plan, int first, int end) {
    int n = 0;
    for (int il = first; il < end; ++il) {
        n += plan.layers[static_cast<size_t>(il)].action != Action::skip ? 1 : 0;
    }
    return n;
}

}  // namespace orthorank
