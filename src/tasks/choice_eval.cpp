#include "tasks/choice_eval.h"

#include <algorithm>

#include "base/error.h"
#include "tasks/log_probs.h"
#include "tasks/stretch.h"

namespace orthorank {

namespace {

// Keeps the hidden states of every chunk at one boundary. `kept` must outlive it.
BoundaryTap keeping_tap(int boundary, std::vector<std::vector<float>> &kept) {
    return {{boundary}, [&kept](int, size_t chunk, std::span<const float> hidden) {
                kept[chunk].assign(hidden.begin(), hidden.end());
            }};
}

// Some consecutive rows of some choices of a document: a chunk, and where its logits count.
struct Part {
    size_t document = 0;
    size_t choice = 0;      // whose ids are run
    bool is_common = false;  // the rows stand for all choices of the document
    size_t first_row = 0;    // of the choice's ids
};

// One call's worth of documents.
class ChoiceRun {
 public:
    ChoiceRun(Engine &engine, const Plan &plan, std::span<const DocumentInputs> documents,
              const ChoiceEvalOptions &options);
    std::vector<std::vector<double>> run();

 private:
    void run_common();
    void fork_choices();
    // From the tokens behind the common ones to logits.
    void run_rests();
    // The layers before the first selecting one from tokens, the others from hidden states.
    void run_rests_and_resume();
    std::vector<Chunk> rest_chunks(std::vector<Part> &parts);
    Chunk chunk_from(const Part &part, size_t n_rows, Sequence &sequence) const;
    size_t first_output_row(const Part &part) const;
    void forward(std::span<const Chunk> batch, std::span<const Part> parts,
                 ForwardOptions options = {});
    void add_log_probs(const Part &part, const LogitsBlock &block);
    void add_choice(size_t document, size_t choice, size_t first_row, const LogitsBlock &block);

    const ScoringInput &input(size_t document, size_t choice) const {
        return documents_[document][choice];
    }

    Engine &engine_;
    const Plan &plan_;
    std::span<const DocumentInputs> documents_;
    int shared_layers_;            // layers whose common rows are computed once
    std::vector<size_t> n_common_;  // ids of each document that are computed once
    std::vector<std::vector<Sequence>> sequences_;  // by document and choice
    // By document, at the boundary behind the shared layers; of a selecting plan only.
    std::vector<std::vector<float>> common_hidden_;
    std::vector<std::vector<double>> sums_;
};

ChoiceRun::ChoiceRun(Engine &engine, const Plan &plan, std::span<const DocumentInputs> documents,
                     const ChoiceEvalOptions &options)
    : engine_(engine), plan_(plan), documents_(documents), shared_layers_(plan.n_layers()),
      sequences_(documents.size()), common_hidden_(documents.size()) {
    const std::vector<int> selecting = plan.layers_with(Action::select);
    if (!selecting.empty()) {
        shared_layers_ = selecting.front();
    }
    for (const DocumentInputs &document : documents) {
        CHECK(!document.empty());
        const bool shares =
            options.shares_context && document.size() > 1 && shared_layers_ > 0;
        n_common_.push_back(shares ? n_common_ids(document) : 0);
        sums_.emplace_back(document.size(), 0.0);
    }
}

std::vector<std::vector<double>> ChoiceRun::run() {
    for (size_t d = 0; d < documents_.size(); ++d) {
        sequences_[d].reserve(documents_[d].size());
        // Nothing is decoded, so policies that cannot decode are welcome.
        sequences_[d].push_back(engine_.new_sequence(plan_, Apply::prefill));
    }
    run_common();
    fork_choices();
    if (shared_layers_ < plan_.n_layers()) {
        run_rests_and_resume();
    } else {
        run_rests();
    }
    return std::move(sums_);
}

// The row of a part from which on logits are wanted: the first that predicts a target.
size_t ChoiceRun::first_output_row(const Part &part) const {
    size_t first = input(part.document, part.choice).first_row();
    for (size_t c = 0; part.is_common && c < documents_[part.document].size(); ++c) {
        first = std::min(first, input(part.document, c).first_row());
    }
    return first > part.first_row ? first - part.first_row : 0;
}

Chunk ChoiceRun::chunk_from(const Part &part, size_t n_rows, Sequence &sequence) const {
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.tokens =
        std::span(input(part.document, part.choice).ids).subspan(part.first_row, n_rows);
    chunk.outputs = Outputs::all;
    chunk.first_output_row = static_cast<int64_t>(first_output_row(part));
    return chunk;
}

void ChoiceRun::run_common() {
    std::vector<Part> parts;
    std::vector<Chunk> batch;
    for (size_t d = 0; d < documents_.size(); ++d) {
        if (n_common_[d] > 0) {
            parts.push_back({d, 0, true, 0});
            batch.push_back(chunk_from(parts.back(), n_common_[d], sequences_[d].front()));
        }
    }
    if (batch.empty()) {
        return;
    }
    if (shared_layers_ == plan_.n_layers()) {
        forward(batch, parts);
        return;
    }
    std::vector<std::vector<float>> hidden(batch.size());
    BoundaryTap tap = keeping_tap(shared_layers_, hidden);
    ForwardOptions options;
    options.tap = &tap;
    options.end_layer = shared_layers_;
    forward(batch, parts, options);
    for (size_t i = 0; i < parts.size(); ++i) {
        common_hidden_[parts[i].document] = std::move(hidden[i]);
    }
}

void ChoiceRun::fork_choices() {
    for (size_t d = 0; d < documents_.size(); ++d) {
        for (size_t c = 1; c < documents_[d].size(); ++c) {
            sequences_[d].push_back(engine_.fork(sequences_[d].front()));
        }
    }
}

// What is left of every choice; nothing for one that ends with the common ids.
std::vector<Chunk> ChoiceRun::rest_chunks(std::vector<Part> &parts) {
    std::vector<Chunk> batch;
    for (size_t d = 0; d < documents_.size(); ++d) {
        for (size_t c = 0; c < documents_[d].size(); ++c) {
            const size_t n_rest = input(d, c).ids.size() - n_common_[d];
            parts.push_back({d, c, false, n_common_[d]});
            batch.push_back(chunk_from(parts.back(), n_rest, sequences_[d][c]));
        }
    }
    return batch;
}

void ChoiceRun::run_rests() {
    std::vector<Part> parts;
    const std::vector<Chunk> batch = rest_chunks(parts);
    forward(batch, parts);
}

void ChoiceRun::run_rests_and_resume() {
    std::vector<Part> parts;
    std::vector<Chunk> batch = rest_chunks(parts);
    ForwardOptions options;
    std::vector<std::vector<float>> hidden(batch.size());
    if (std::any_of(n_common_.begin(), n_common_.end(), [](size_t n) { return n > 0; })) {
        std::vector<std::vector<float>> rest(batch.size());
        BoundaryTap tap = keeping_tap(shared_layers_, rest);
        options.tap = &tap;
        options.end_layer = shared_layers_;
        forward(batch, parts, options);
        options = {};
        options.first_layer = shared_layers_;
        for (size_t i = 0; i < batch.size(); ++i) {
            parts[i].first_row = 0;
            hidden[i] = common_hidden_[parts[i].document];
            hidden[i].insert(hidden[i].end(), rest[i].begin(), rest[i].end());
            batch[i].sequence->truncate(0);
            batch[i].tokens = {};
            batch[i].hidden = hidden[i];
            batch[i].first_output_row = static_cast<int64_t>(first_output_row(parts[i]));
        }
    }
    forward(batch, parts, options);
}

void ChoiceRun::forward(std::span<const Chunk> batch, std::span<const Part> parts,
                        ForwardOptions options) {
    options.on_logits = [&](const LogitsBlock &block) {
        add_log_probs(parts[block.chunk], block);
    };
    engine_.forward(batch, options);
}

void ChoiceRun::add_log_probs(const Part &part, const LogitsBlock &block) {
    const size_t first_row = part.first_row + static_cast<size_t>(block.first_row);
    if (!part.is_common) {
        add_choice(part.document, part.choice, first_row, block);
        return;
    }
    for (size_t c = 0; c < documents_[part.document].size(); ++c) {
        add_choice(part.document, c, first_row, block);
    }
}

// first_row: where the block's first row stands in the choice's ids.
void ChoiceRun::add_choice(size_t document, size_t choice, size_t first_row,
                           const LogitsBlock &block) {
    const ScoringInput &choice_input = input(document, choice);
    const auto n_rows = static_cast<size_t>(block.n_rows);
    std::vector<int32_t> targets(n_rows, -1);
    for (size_t i = 0; i < n_rows; ++i) {
        const size_t row = first_row + i;
        // A common row may stand at the choice's end: its targets end there too.
        if (row >= choice_input.first_row() && row < choice_input.ids.size()) {
            targets[i] = choice_input.targets[row - choice_input.first_row()];
        }
    }
    std::vector<float> log_probs(n_rows);
    target_log_probs(block.logits, block.n_vocab, targets, engine_.n_threads(), log_probs);
    for (const float log_prob : log_probs) {
        sums_[document][choice] += static_cast<double>(log_prob);
    }
}

}  // namespace

std::vector<size_t> choice_batches(std::span<const DocumentInputs> documents, int n_sequences,
                                   const ChoiceEvalOptions &options) {
    std::vector<size_t> batches = {0};
    size_t n_rows = 0;
    size_t n_choices = 0;
    for (size_t d = 0; d < documents.size(); ++d) {
        const size_t n_common = options.shares_context ? n_common_ids(documents[d]) : 0;
        size_t rows = n_common;
        for (const ScoringInput &input : documents[d]) {
            rows += input.ids.size() - n_common;
        }
        if (documents[d].size() > static_cast<size_t>(n_sequences)) {
            fail(ErrorKind::limit, "a document has {} choices, the engine {} sequences",
                 documents[d].size(), n_sequences);
        }
        const bool fits = n_rows + rows <= options.batch_rows &&
                          n_choices + documents[d].size() <= static_cast<size_t>(n_sequences);
        if (!fits && batches.back() < d) {
            batches.push_back(d);
            n_rows = n_choices = 0;
        }
        n_rows += rows;
        n_choices += documents[d].size();
    }
    if (!documents.empty()) {
        batches.push_back(documents.size());
    }
    return batches;
}

std::vector<std::vector<double>> choice_log_likelihoods(Engine &engine, const Plan &plan,
                                                        std::span<const DocumentInputs> documents,
                                                        const ChoiceEvalOptions &options) {
    if (documents.empty()) {
        return {};
    }
    return ChoiceRun(engine, plan, documents, options).run();
}

size_t longest_input(std::span<const DocumentInputs> documents) {
    size_t longest = 0;
    for (const DocumentInputs &document : documents) {
        for (const ScoringInput &input : document) {
            longest = std::max(longest, input.ids.size());
        }
    }
    return longest;
}

size_t most_choices(std::span<const DocumentInputs> documents) {
    size_t most = 0;
    for (const DocumentInputs &document : documents) {
        most = std::max(most, document.size());
    }
    return most;
}

}  // namespace orthorank
