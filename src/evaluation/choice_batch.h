// The documents of one call of choice_log_likelihoods() and which of their rows stand for more
// than one choice: what a document's choices begin with in common, and choices that the model
// reads the same of. Nothing runs here. Borrows the documents; immutable, thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "eval/scoring_input.h"

namespace orthorank {

// One document: what the model reads for each of its choices (make_scoring_input).
using DocumentInputs = std::vector<ScoringInput>;

// Some consecutive rows of a document.
struct ChoicePart {
    size_t document = 0;
    size_t choice = 0;       // whose ids are run
    bool is_common = false;  // the rows stand for all choices of the document
    size_t first_row = 0;    // of the choice's ids
};

// Hidden states of a batch at one boundary, on the host; empty where nothing was kept.
struct HiddenRows {
    std::vector<std::vector<float>> common;              // by document: of its common ids
    std::vector<std::vector<std::vector<float>>> rests;  // by document, choice: of what follows
};

class ChoiceBatch {
 public:
    // shares: false makes every choice a sequence of its own, without common ids.
    ChoiceBatch(std::span<const DocumentInputs> documents, bool shares);

    bool shares() const { return shares_; }
    size_t n_documents() const { return documents_.size(); }
    size_t n_choices(size_t document) const { return documents_[document].size(); }
    // Leading ids of all choices of the document that are computed once.
    size_t n_common(size_t document) const { return n_common_[document]; }
    const ScoringInput &input(size_t document, size_t choice) const {
        return documents_[document][choice];
    }
    // Has no earlier choice the same ids? Choices that differ in their last token only are read
    // the same: it is predicted, never read.
    bool is_first_of_its_kind(size_t document, size_t choice) const;
    // The choices that the logits of a part's rows count for, ascending.
    std::vector<size_t> choices_of(const ChoicePart &part) const;
    // The row of a part from which on logits are wanted: the first that predicts a target of any
    // of choices_of().
    size_t first_output_row(const ChoicePart &part) const;
    HiddenRows no_hidden() const;

 private:
    std::span<const DocumentInputs> documents_;
    bool shares_;
    std::vector<size_t> n_common_;
};

}  // namespace orthorank
