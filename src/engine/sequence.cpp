#include "engine/sequence.h"

#include <utility>

#include "base/error.h"
#include "engine/slots.h"

namespace orthorank {

Apply apply_from_name(const std::string &name) {
    if (name == "prefill") return Apply::prefill;
    if (name == "decode") return Apply::decode;
    if (name == "both") return Apply::both;
    fail(ErrorKind::usage, "unknown apply mode '{}' (known: prefill, decode, both)", name);
}

Sequence::Sequence(std::shared_ptr<Slots> slots, int slot, Plan plan, Apply apply)
    : slots_(std::move(slots)),
      slot_(slot),
      plan_(std::move(plan)),
      apply_(apply),
      records_(plan_.layers.size()),
      corrections_(plan_.layers.size()),
      probes_(plan_.layers.size()) {}

Sequence::Sequence(Sequence &&other) noexcept
    : slots_(std::move(other.slots_)),
      slot_(other.slot_),
      plan_(std::move(other.plan_)),
      apply_(other.apply_),
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

void Sequence::clear() {
    truncate(0);
    n_rows_offered_ = 0;
    n_rows_computed_ = 0;
}

void Sequence::truncate(int64_t n) {
    CHECK(0 <= n && n <= n_past_);
    n_past_ = n;
    for (LayerRecord &record : records_) {
        if (record.scores.size() > static_cast<size_t>(n)) {
            record.scores.resize(static_cast<size_t>(n));
            record.chosen.resize(static_cast<size_t>(n));
        }
    }
}

}  // namespace orthorank
