// One mutable timeline: the tokens so far (as cells of a KV cache slot) and, for each selecting
// layer of its plan, the scores of all positions and which of them were computed. Made by an
// engine, which must outlive it; gives its slot back when destroyed. Moves, does not copy.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "model/phase.h"
#include "select/plan.h"

namespace orthorank {

class Slots;
struct CorrectionTensors;
struct ProbeTensors;

// What happened in one selecting layer, by position.
struct LayerRecord {
    std::vector<float> scores;    // the sink's is +infinity
    std::vector<uint8_t> chosen;  // 1: computed in this layer
};

class Sequence {
 public:
    Sequence(std::shared_ptr<Slots> slots, int slot, Plan plan);
    ~Sequence();
    Sequence(Sequence &&) noexcept;
    Sequence &operator=(Sequence &&) = delete;

    int slot() const { return slot_; }
    const Plan &plan() const { return plan_; }
    Apply apply() const { return plan_.apply; }
    // What is done with rows of this phase: the plan, or in decode, where it applies to the prefill
    // alone, the same with its selecting layers dense. A decoded row then has no score: it comes
    // after all others when later rows are picked.
    const Plan &plan_in(Phase phase) const;
    // Tokens so far: the position of the next one.
    int64_t n_past() const { return n_past_; }
    // Empty for layers that do not select.
    const LayerRecord &record(int il) const { return records_[il]; }
    // Rows that selecting layers were given in the phases where the plan applies, and how many they
    // computed, since the last clear().
    int64_t n_rows_offered() const { return n_rows_offered_; }
    int64_t n_rows_computed() const { return n_rows_computed_; }

    // Has the engine with these slots made it, and was it not moved away?
    bool is_of(const std::shared_ptr<Slots> &slots) const { return slots_ == slots; }
    // Is a pass in progress on it? Then it is not to be changed, moved or destroyed.
    bool is_in_pass() const { return is_in_pass_; }

    // Back to an empty timeline.
    void clear();
    // Forgets all positions from n on. The decisions about earlier ones stay as they were made.
    void truncate(int64_t n);

 private:
    friend class Engine;
    friend class ForwardPass;
    std::shared_ptr<Slots> slots_;
    int slot_;
    Plan plan_;
    std::optional<Plan> decode_plan_;  // nothing: plan_
    int64_t n_past_ = 0;
    bool is_in_pass_ = false;
    std::vector<LayerRecord> records_;
    int64_t n_rows_offered_ = 0;
    int64_t n_rows_computed_ = 0;
    // The plan's on the device, one per layer, null where it has none.
    std::vector<std::shared_ptr<const CorrectionTensors>> corrections_;
    std::vector<std::shared_ptr<const ProbeTensors>> probes_;
};

}  // namespace orthorank
