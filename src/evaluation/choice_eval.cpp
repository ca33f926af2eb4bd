#include "evaluation/choice_eval.h"

#include <algorithm>
#include <list>
#include <map>

#include "base/error.h"
#include "engine/stretch.h"
#include "evaluation/prompt_choices.h"
#include "session/log_probs.h"

namespace orthorank {

namespace {

using HiddenAt = std::map<int, HiddenRows>;  // by boundary
constexpr std::span<const float> k_tokens;   // no hidden states: a chunk of tokens

// Keeps what passes the boundaries that `kept` has. Both must outlive it.
BoundaryTap keeping_tap(HiddenAt &kept, std::span<const ChoicePart> parts) {
    std::vector<int> boundaries;
    for (const auto &[boundary, rows] : kept) {
        boundaries.push_back(boundary);
    }
    return {std::move(boundaries),
            [&kept, parts](int at, size_t chunk, std::span<const float> rows) {
                const ChoicePart &part = parts[chunk];
                HiddenRows &hidden = kept.at(at);
                (part.is_common ? hidden.common[part.document]
                                : hidden.rests[part.document][part.choice])
                    .assign(rows.begin(), rows.end());
            }};
}

int first_layer_with(const Plan &plan, Action action) {
    const std::vector<int> layers = plan.layers_with(action);
    return layers.empty() ? plan.n_layers() : layers.front();
}

// The layers before this one are those of the dense model, and a pass may begin with it.
int n_dense_at_start(const Hparams &hparams, const Plan &plan) {
    return hparams.start_of(
        std::min(first_layer_with(plan, Action::select), first_layer_with(plan, Action::skip)));
}

// Where a run begins and ends.
struct RunLayers {
    int first = 0;
    int end = 0;
    const HiddenRows *hidden = nullptr;  // that enter layer `first`; null: tokens
};

// One batch under one plan.
class ChoiceRun {
 public:
    // Boundaries that `kept` has, behind layers.first, are filled as far as choices share rows.
    ChoiceRun(Engine &engine, const Plan &plan, const ChoiceBatch &batch, RunLayers layers,
              HiddenAt &kept, GraphWatch *watch);
    LogLikelihoods run();

 private:
    void run_common();
    void fork_choices();
    // What is behind the common rows, for each choice.
    void run_rests();
    // Each choice as a whole, from the layer on from which nothing is shared.
    void run_wholes();
    void add_chunk(const ChoicePart &part, size_t n_rows, std::span<const float> hidden);
    void forward(int first_layer, int end_layer);
    void add_log_probs(const ChoicePart &part, const LogitsBlock &block);
    void add_choice(size_t document, size_t choice, size_t first_row, const LogitsBlock &block);

    Engine &engine_;
    const Plan &plan_;
    const ChoiceBatch &batch_;
    RunLayers layers_;
    int shared_end_;  // before this layer choices share rows
    HiddenAt &kept_;
    GraphWatch *watch_;
    std::vector<std::vector<Sequence>> sequences_;  // by document and choice
    // Of the next call.
    std::vector<ChoicePart> parts_;
    std::vector<Chunk> chunks_;
    LogLikelihoods sums_;
};

ChoiceRun::ChoiceRun(Engine &engine, const Plan &plan, const ChoiceBatch &batch, RunLayers layers,
                     HiddenAt &kept, GraphWatch *watch)
    : engine_(engine),
      plan_(plan),
      batch_(batch),
      layers_(layers),
      shared_end_(batch.shares() ? std::min(layers.end, engine.model().hparams().start_of(
                                                            first_layer_with(plan, Action::select)))
                                 : 0),
      kept_(kept),
      watch_(watch),
      sequences_(batch.n_documents()) {
    for (size_t d = 0; d < batch.n_documents(); ++d) {
        sums_.emplace_back(batch.n_choices(d), 0.0);
    }
}

LogLikelihoods ChoiceRun::run() {
    for (std::vector<Sequence> &of_document : sequences_) {
        // Nothing is decoded, so policies that cannot decode are welcome.
        of_document.push_back(engine_.new_sequence(plan_, Apply::prefill));
    }
    const bool has_wholes = shared_end_ < layers_.end;
    if (layers_.first < shared_end_) {
        if (has_wholes) {
            kept_.try_emplace(shared_end_, batch_.no_hidden());
        }
        run_common();
        fork_choices();
        run_rests();
    } else {
        fork_choices();
    }
    if (has_wholes) {
        run_wholes();
    }
    return std::move(sums_);
}

void ChoiceRun::add_chunk(const ChoicePart &part, size_t n_rows, std::span<const float> hidden) {
    const std::span<const int32_t> ids = batch_.input(part.document, part.choice).ids;
    Chunk chunk;
    chunk.sequence = &sequences_[part.document][part.choice];
    chunk.tokens = ids.subspan(part.first_row, n_rows);
    chunk.hidden = hidden;
    chunk.outputs = Outputs::all;
    chunk.first_output_row = static_cast<int64_t>(batch_.first_output_row(part));
    parts_.push_back(part);
    chunks_.push_back(chunk);
}

void ChoiceRun::run_common() {
    for (size_t d = 0; d < batch_.n_documents(); ++d) {
        if (batch_.n_common(d) > 0) {
            add_chunk({d, 0, true, 0}, batch_.n_common(d),
                      layers_.hidden != nullptr ? layers_.hidden->common[d] : k_tokens);
        }
    }
    forward(layers_.first, shared_end_);
}

void ChoiceRun::fork_choices() {
    for (size_t d = 0; d < batch_.n_documents(); ++d) {
        for (size_t c = 1; c < batch_.n_choices(d); ++c) {
            sequences_[d].push_back(engine_.fork(sequences_[d].front()));
        }
    }
}

void ChoiceRun::run_rests() {
    for (size_t d = 0; d < batch_.n_documents(); ++d) {
        const size_t n_common = batch_.n_common(d);
        for (size_t c = 0; c < batch_.n_choices(d); ++c) {
            const size_t n_rest = batch_.input(d, c).ids.size() - n_common;
            if (n_rest > 0 && batch_.is_first_of_its_kind(d, c)) {
                add_chunk({d, c, false, n_common}, n_rest,
                          layers_.hidden != nullptr ? layers_.hidden->rests[d][c] : k_tokens);
            }
        }
    }
    forward(layers_.first, shared_end_);
}

void ChoiceRun::run_wholes() {
    const HiddenRows *hidden =
        shared_end_ == layers_.first ? layers_.hidden : &kept_.at(shared_end_);
    std::list<std::vector<float>> wholes;  // a list: the chunks look at them
    for (size_t d = 0; d < batch_.n_documents(); ++d) {
        for (size_t c = 0; c < batch_.n_choices(d); ++c) {
            if (!batch_.is_first_of_its_kind(d, c)) {
                continue;
            }
            wholes.emplace_back();
            if (hidden != nullptr) {
                wholes.back() = hidden->common[d];
                wholes.back().insert(wholes.back().end(), hidden->rests[d][c].begin(),
                                     hidden->rests[d][c].end());
            }
            sequences_[d][c].truncate(0);
            add_chunk({d, c, false, 0}, batch_.input(d, c).ids.size(), wholes.back());
        }
    }
    forward(shared_end_, layers_.end);
}

// Runs the chunks that were added.
void ChoiceRun::forward(int first_layer, int end_layer) {
    BoundaryTap tap = keeping_tap(kept_, parts_);
    ForwardOptions options;
    options.first_layer = first_layer;
    options.end_layer = end_layer;
    options.watch = watch_;
    if (end_layer <= shared_end_) {
        options.tap = &tap;
    }
    options.on_logits = [&](const LogitsBlock &block) {
        add_log_probs(parts_[block.chunk], block);
    };
    if (!chunks_.empty()) {
        engine_.forward(chunks_, options);
    }
    parts_.clear();
    chunks_.clear();
}

void ChoiceRun::add_log_probs(const ChoicePart &part, const LogitsBlock &block) {
    for (const size_t c : batch_.choices_of(part)) {
        add_choice(part.document, c, part.first_row + static_cast<size_t>(block.first_row), block);
    }
}

// first_row: where the block's first row stands in the choice's ids.
void ChoiceRun::add_choice(size_t document, size_t choice, size_t first_row,
                           const LogitsBlock &block) {
    const ScoringInput &choice_input = batch_.input(document, choice);
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

// The plans of one call on one batch.
class PlansRun {
 public:
    PlansRun(Engine &engine, std::span<const Plan> plans, const ChoiceBatch &batch,
             GraphWatch *watch);
    std::vector<LogLikelihoods> run();

 private:
    // The dense model from the tokens to a layer: keeps the hidden states where plans leave it.
    LogLikelihoods run_dense(int end_layer);
    LogLikelihoods run_plan(const Plan &plan);

    Engine &engine_;
    std::span<const Plan> plans_;
    const ChoiceBatch &batch_;
    GraphWatch *watch_;
    int n_layers_;
    HiddenAt of_dense_;
};

PlansRun::PlansRun(Engine &engine, std::span<const Plan> plans, const ChoiceBatch &batch,
                   GraphWatch *watch)
    : engine_(engine),
      plans_(plans),
      batch_(batch),
      watch_(watch),
      n_layers_(engine.model().hparams().n_layers) {
    for (const Plan &plan : plans) {
        const int n_dense =
            plan.apply == Apply::prefill ? 0 : n_dense_at_start(engine.model().hparams(), plan);
        if (batch.shares() && 0 < n_dense && n_dense < n_layers_) {
            of_dense_.try_emplace(n_dense, batch.no_hidden());
        }
    }
}

std::vector<LogLikelihoods> PlansRun::run() {
    const bool has_dense =
        std::any_of(plans_.begin(), plans_.end(), [](const Plan &plan) { return plan.is_dense(); });
    LogLikelihoods dense;
    if (has_dense || !of_dense_.empty()) {
        dense = run_dense(has_dense ? n_layers_ : of_dense_.rbegin()->first);
    }
    std::vector<LogLikelihoods> found;
    for (const Plan &plan : plans_) {
        found.push_back(plan.is_dense() ? dense
                        : plan.apply == Apply::prefill
                            ? prompt_choice_log_likelihoods(engine_, plan, batch_, watch_)
                            : run_plan(plan));
    }
    return found;
}

LogLikelihoods PlansRun::run_dense(int end_layer) {
    const Plan plan = dense_plan(n_layers_);
    return ChoiceRun(engine_, plan, batch_, {0, end_layer, nullptr}, of_dense_, watch_).run();
}

LogLikelihoods PlansRun::run_plan(const Plan &plan) {
    HiddenAt kept;
    RunLayers layers{0, n_layers_, nullptr};
    const auto start = of_dense_.find(n_dense_at_start(engine_.model().hparams(), plan));
    if (start != of_dense_.end()) {
        layers.first = start->first;
        layers.hidden = &start->second;
    }
    return ChoiceRun(engine_, plan, batch_, layers, kept, watch_).run();
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

std::vector<LogLikelihoods> choice_log_likelihoods(Engine &engine, std::span<const Plan> plans,
                                                   std::span<const DocumentInputs> documents,
                                                   const ChoiceEvalOptions &options) {
    const ChoiceBatch batch(documents, options.shares_context);
    return PlansRun(engine, plans, batch, options.watch).run();
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
