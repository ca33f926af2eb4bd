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
    return [&kept](int boundary, size_t, std::span<const float> hidden) {
        kept[boundary].assign(hidden.begin(), hidden.end());
    };
}

void run_stretch(Engine &engine, Sequence &sequence, const Stretch &stretch) {
    CHECK(sequence.n_past() == 0 && stretch.tokens.empty() != stretch.hidden.empty());
    CHECK(stretch.tokens.empty() || stretch.first == 0);
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.tokens = stretch.tokens;
    chunk.hidden = stretch.hidden;
    chunk.outputs = stretch.on_logits ? Outputs::all : Outputs::none;
    BoundaryTap tap(stretch.boundaries, stretch.on_hidden);
    ForwardOptions options;
    options.tap = stretch.boundaries.empty() ? nullptr : &tap;
    options.on_logits = stretch.on_logits;
    options.first_layer = stretch.first;
    options.end_layer = stretch.end;
    engine.forward(std::span(&chunk, 1), options);
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
