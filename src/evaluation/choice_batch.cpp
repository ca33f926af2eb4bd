#include "evaluation/choice_batch.h"

#include <algorithm>
#include <cstdint>

#include "base/error.h"

namespace orthorank {

ChoiceBatch::ChoiceBatch(std::span<const DocumentInputs> documents, bool shares)
    : documents_(documents), shares_(shares) {
    for (const DocumentInputs &document : documents) {
        CHECK(!document.empty());
        n_common_.push_back(shares && document.size() > 1 ? n_common_ids(document) : 0);
    }
}

bool ChoiceBatch::is_first_of_its_kind(size_t document, size_t choice) const {
    return choices_of({document, choice, false, 0}).front() == choice;
}

std::vector<size_t> ChoiceBatch::choices_of(const ChoicePart &part) const {
    const std::vector<int32_t> &ids = input(part.document, part.choice).ids;
    std::vector<size_t> choices;
    for (size_t c = 0; c < n_choices(part.document); ++c) {
        if (part.is_common || c == part.choice || (shares_ && input(part.document, c).ids == ids)) {
            choices.push_back(c);
        }
    }
    return choices;
}

size_t ChoiceBatch::first_output_row(const ChoicePart &part) const {
    size_t first = SIZE_MAX;
    for (const size_t c : choices_of(part)) {
        first = std::min(first, input(part.document, c).first_row());
    }
    return first > part.first_row ? first - part.first_row : 0;
}

HiddenRows ChoiceBatch::no_hidden() const {
    HiddenRows hidden;
    hidden.common.resize(n_documents());
    for (const DocumentInputs &document : documents_) {
        hidden.rests.emplace_back(document.size());
    }
    return hidden;
}

}  // namespace orthorank
