#include "engine/sequence.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "engine/slots.h"

namespace orthorank {

namespace {

// Nothing where the rows that were left out are no keys either: that is the layer's in every phase.
std::optional<Plan> plan_for_decode(const Plan &plan) {
    const bool hides_keys =
        std::any_of(plan.layers.begin(), plan.layers.end(), [](const LayerPlan &layer) {
            return layer.action == Action::select && layer.policy.kv == KvScope::selected;
        });
    if (plan.apply != Apply::prefill || hides_keys) {
        return {};
    }
    return plan_in_decode(plan);
}

}  // namespace

Sequence::Sequence(std::shared_ptr<Slots> slots, int slot, Plan plan)
    : slots_(std::move(slots)),
      slot_(slot),
      plan_(std::move(plan)),
      decode_plan_(plan_for_decode(plan_)),
      records_(plan_.layers.size()),
      corrections_(plan_.layers.size()),
      probes_(plan_.layers.size()) {}

Sequence::Sequence(Sequence &&other) noexcept
    : slots_(std::move(other.slots_)),
      slot_(other.slot_),
      plan_(std::move(other.plan_)),
      decode_plan_(std::move(other.decode_plan_)),
      n_past_(other.n_past_),
      records_(std::move(other.records_)),
      n_rows_offered_(other.n_rows_offered_),
      n_rows_computed_(other.n_rows_computed_),
      corrections_(std::move(other.corrections_)),
      probes_(std::move(other.probes_)) {}

Sequence::~Sequence() {
    if (slots_) {
        slots_->give_back(slot_);
    }
}

const Plan &Sequence::plan_in(Phase phase) const {
    return phase == Phase::decode && decode_plan_ ? *decode_plan_ : plan_;
}

void Sequence::clear() {
    truncate(0);
    n_rows_offered_ = 0;
    n_rows_computed_ = 0;
}

void Sequence::truncate(int64_t n) {
    CHECK(0 <= n && n <= n_past_ && !is_in_pass_);
    n_past_ = n;
    for (LayerRecord &record : records_) {
        if (record.scores.size() > static_cast<size_t>(n)) {
            record.scores.resize(static_cast<size_t>(n));
            record.chosen.resize(static_cast<size_t>(n));
        }
    }
}

}  // namespace orthorank
