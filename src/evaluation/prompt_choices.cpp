#include "evaluation/prompt_choices.h"

#include <algorithm>
#include <list>

#include "base/error.h"
#include "session/log_probs.h"

namespace orthorank {

namespace {

// A context and the choices that follow it.
struct Prompt {
    size_t document = 0;
    std::vector<size_t> choices;
};

class PromptRun {
 public:
    PromptRun(Engine &engine, const Plan &plan, const ChoiceBatch &batch, GraphWatch *watch)
        : engine_(engine), plan_(plan), batch_(batch), watch_(watch) {
        CHECK(plan.apply == Apply::prefill);
        for (size_t d = 0; d < batch.n_documents(); ++d) {
            sums_.emplace_back(batch.n_choices(d), 0.0);
            for (size_t c = 0; c < batch.n_choices(d); ++c) {
                add_choice(d, c);
            }
        }
    }

    LogLikelihoods run() {
        run_prompts();
        run_continuations();
        return std::move(sums_);
    }

 private:
    // Up to the row that predicts the first target.
    std::span<const int32_t> context_of(size_t document, size_t choice) const {
        const ScoringInput &input = batch_.input(document, choice);
        return std::span(input.ids).first(input.first_row() + 1);
    }

    void add_choice(size_t document, size_t choice) {
        const auto found = std::find_if(prompts_.begin(), prompts_.end(), [&](const Prompt &other) {
            return batch_.shares() && other.document == document &&
                   std::ranges::equal(context_of(document, other.choices.front()),
                                      context_of(document, choice));
        });
        if (found != prompts_.end()) {
            found->choices.push_back(choice);
        } else {
            prompts_.push_back({document, {choice}});
        }
    }

    void run_prompts() {
        std::vector<Chunk> chunks;
        for (const Prompt &prompt : prompts_) {
            sequences_.push_back(engine_.new_sequence(plan_));
            Chunk chunk;
            chunk.sequence = &sequences_.back();
            chunk.tokens = context_of(prompt.document, prompt.choices.front());
            chunks.push_back(chunk);
        }
        forward(chunks, [&](const LogitsBlock &block) {
            const Prompt &prompt = prompts_[block.chunk];
            for (const size_t c : prompt.choices) {
                add_log_probs(prompt.document, c, 0, block);
            }
        });
    }

    void run_continuations() {
        std::vector<Chunk> chunks;
        std::vector<std::pair<size_t, size_t>> choices;  // document and choice, by chunk
        auto sequence = sequences_.begin();
        for (const Prompt &prompt : prompts_) {
            Sequence &of_prompt = *sequence++;
            for (const size_t c : prompt.choices) {
                const ScoringInput &input = batch_.input(prompt.document, c);
                const size_t n_read = input.first_row() + 1;
                if (n_read == input.ids.size()) {
                    continue;  // its only token was predicted by the context
                }
                Chunk chunk;
                chunk.sequence = &of_prompt;
                if (c != prompt.choices.back()) {
                    sequences_.push_back(engine_.fork(of_prompt));
                    chunk.sequence = &sequences_.back();
                }
                chunk.tokens = std::span(input.ids).subspan(n_read);
                chunk.phase = Phase::decode;
                chunk.outputs = Outputs::all;
                chunks.push_back(chunk);
                choices.emplace_back(prompt.document, c);
            }
        }
        forward(chunks, [&](const LogitsBlock &block) {
            const auto [document, choice] = choices[block.chunk];
            add_log_probs(document, choice, 1 + static_cast<size_t>(block.first_row), block);
        });
    }

    void forward(std::span<const Chunk> chunks,
                 std::function<void(const LogitsBlock &)> on_logits) {
        ForwardOptions options;
        options.watch = watch_;
        options.on_logits = std::move(on_logits);
        if (!chunks.empty()) {
            engine_.forward(chunks, options);
        }
    }

    // The block's rows predict the choice's targets from this one on.
    void add_log_probs(size_t document, size_t choice, size_t first_target,
                       const LogitsBlock &block) {
        const std::span<const int32_t> targets =
            std::span(batch_.input(document, choice).targets)
                .subspan(first_target, static_cast<size_t>(block.n_rows));
        std::vector<float> log_probs(targets.size());
        target_log_probs(block.logits, block.n_vocab, targets, engine_.n_threads(), log_probs);
        for (const float log_prob : log_probs) {
            sums_[document][choice] += static_cast<double>(log_prob);
        }
    }

    Engine &engine_;
    const Plan &plan_;
    const ChoiceBatch &batch_;
    GraphWatch *watch_;
    std::vector<Prompt> prompts_;
    std::list<Sequence> sequences_;  // those of prompts_, then forks; a list: chunks point at them
    LogLikelihoods sums_;
};

}  // namespace

LogLikelihoods prompt_choice_log_likelihoods(Engine &engine, const Plan &plan,
                                             const ChoiceBatch &batch, GraphWatch *watch) {
    return PromptRun(engine, plan, batch, watch).run();
}

}  // namespace orthorank
