// One fresh pass of one sequence over a stretch: consecutive layers of the model, entered by tokens
// or by the hidden states that an earlier pass left at a boundary. What comes out are hidden states
// at boundaries, or logits. Everything that walks over the layers of calibration windows goes
// through here. Borrows the engine and what it is given. One thread. Throws what
// Engine::forward() does.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace orthorank {

// Hidden states of one pass by boundary: [n_embd, n_tokens] each.
using HiddenStates = std::map<int, std::vector<float>>;

// Sees the hidden states at a boundary: [n_embd, n_rows] of the new rows. chunk: of a batch; of a
// stretch 0, and 1 for the rows of its continuation, which come behind.
using OnHidden = std::function<void(int boundary, size_t chunk, std::span<const float> hidden)>;
// Sees the logits of rows as they are computed; of a stretch, rows are counted from its first one.
using OnLogits = std::function<void(const LogitsBlock &)>;

// Hands what passes at some boundaries to a function.
class BoundaryTap : public Tap {
 public:
    BoundaryTap(std::vector<int> boundaries, OnHidden on_hidden);

    bool wants_hidden(int boundary) const override;
    void on_hidden(int boundary, size_t chunk, std::span<const float> hidden) override;

 private:
    std::vector<int> boundaries_;  // ascending
    OnHidden on_hidden_;
};

// What leaves layers first..last-1: boundaries first + 1 to last.
std::vector<int> boundaries_behind(int first, int last);
// A function that puts them there, for stretches; those of a continuation behind the others. `kept`
// must outlive it.
OnHidden keep_in(HiddenStates &kept);

struct Stretch {
    int first = 0;                    // the first layer
    int end = -1;                     // behind the last one; -1: to the end of the model
    std::span<const int32_t> tokens;  // what is embedded and enters layer 0, or, if Chunk needs
                                      // them, goes with
    std::span<const float> hidden;    // what enters a later layer `first`, [n_embd, n_tokens]
    std::vector<int> boundaries;      // where on_hidden is called
    OnHidden on_hidden;
    // The last rows follow in a chunk of their own, as decoded ones would: a plan for prompts
    // leaves them dense.
    int n_continuation = 0;
    // Given: the head follows, with the logits of all rows; end == -1 only. With a continuation: of
    // the row before it and of its own.
    OnLogits on_logits;
    // What the nearest selecting layer before `first` decided; null: no layer inherits its rows.
    const LayerRecord *inherited = nullptr;
};

// Under the plan of the sequence, which must be empty.
void run_stretch(Engine &engine, Sequence &sequence, const Stretch &stretch);
// With a sequence of its own.
void run_stretch(Engine &engine, const Plan &plan, const Stretch &stretch);

// Layers first..end-1 that the plan computes: a selecting one counts as one, a removed one as none.
int n_layers_computed(const Plan &plan, int first, int end);

}  // namespace orthorank
