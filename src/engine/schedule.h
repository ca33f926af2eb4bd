// From plans to graph launches, as pure data: where the network is cut. A layer that is not the
// same ordinary computation for all rows of a batch (a selecting layer, or one that only some of
// the sequences skip, or that is removed but corrects the rows) is a row layer; a segment starts
// with the body of one and ends with the scores of the next ("fence-post cut"). A layer that all
// sequences skip without a correction is in no segment.
#pragma once

#include <span>
#include <vector>

#include "select/plan.h"

namespace orthorank {

struct Segment {
    int row_layer = -1;             // its body comes first; -1: none
    std::vector<int> dense_layers;  // then these, for all rows
    // Ends with norm, K, V and scores of the next row layer; -1: there is none, or every sequence
    // has it removed.
    int score_layer = -1;
    // Where the hidden states after this segment stand: before this layer (n_layers: at the end).
    int end_layer = 0;
};

struct Schedule {
    std::vector<Segment> segments;
    // The last layer that any sequence has and that has keys, or a later one that is a row layer:
    // rows that nobody reads need not be computed in it, nor behind it.
    int last_layer = -1;
};

// Segments for layers first_layer .. end_layer - 1 of a batch with these plans (one per sequence,
// all of the same number of layers). `cuts`: boundaries where somebody wants to see the hidden
// states (c: those entering layer c), any order. A dense plan without cuts is one segment.
// tail_begin: layers from this one on have no keys (Hparams::tail_begin).
Schedule make_schedule(std::span<const Plan *const> plans, int first_layer, int end_layer,
                       std::span<const int> cuts, int tail_begin);

}  // namespace orthorank
