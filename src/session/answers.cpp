#include "session/answers.h"

#include <limits>

#include "base/error.h"
#include "model/vocab.h"
#include "session/log_probs.h"

namespace orthorank {

namespace {

// One prompt's sequence and what it has generated so far.
struct Timeline {
    Sequence sequence;
    Answer answer;
    bool is_done = false;
};

int32_t next_token(std::span<const float> logits, bool may_end, const AnswerOptions &options,
                   const Vocab &vocab) {
    if (may_end) {
        return argmax(logits);
    }
    std::vector<float> masked(logits.begin(), logits.end());
    for (int32_t token = 0; token < static_cast<int32_t>(masked.size()); ++token) {
        if (token == options.stop_token || vocab.is_end_of_generation(token)) {
            masked[static_cast<size_t>(token)] = -std::numeric_limits<float>::infinity();
        }
    }
    return argmax(masked);
}

void take_token(Timeline &timeline, std::span<const float> logits, const AnswerOptions &options,
                const Vocab &vocab) {
    const bool may_end = options.stop_token < 0 || !timeline.answer.tokens.empty();
    const int32_t token = next_token(logits, may_end, options, vocab);
    if (token == options.stop_token || vocab.is_end_of_generation(token)) {
        timeline.is_done = true;
        return;
    }
    Answer &answer = timeline.answer;
    answer.tokens.push_back(token);
    answer.text = vocab.detokenize(answer.tokens);
    timeline.is_done =
        answer.tokens.size() >= options.max_new_tokens ||
        (!options.stop.empty() && answer.text.find(options.stop) != std::string::npos);
}

}  // namespace

std::vector<Answer> greedy_answers(Engine &engine, std::span<const std::vector<int32_t>> prompts,
                                   const AnswerOptions &options) {
    const Vocab &vocab = engine.model().vocab();
    std::vector<Timeline> timelines;
    timelines.reserve(prompts.size());
    for (const std::vector<int32_t> &prompt : prompts) {
        CHECK(!prompt.empty());
        timelines.push_back({engine.new_sequence(options.plan), {}, false});
        timelines.back().is_done = options.max_new_tokens == 0;
    }
    for (bool is_prompt = true;; is_prompt = false) {
        std::vector<Chunk> batch;
        std::vector<size_t> members;
        for (size_t i = 0; i < timelines.size(); ++i) {
            if (timelines[i].is_done) {
                continue;
            }
            Chunk chunk;
            chunk.sequence = &timelines[i].sequence;
            chunk.phase = is_prompt ? Phase::prefill : Phase::decode;
            chunk.tokens = is_prompt ? std::span<const int32_t>(prompts[i])
                                     : std::span(timelines[i].answer.tokens).last(1);
            batch.push_back(chunk);
            members.push_back(i);
        }
        if (batch.empty()) {
            break;
        }
        // Tokens are taken after the call: chunks look into the answers.
        std::vector<std::vector<float>> logits(batch.size());
        ForwardOptions forward;
        forward.on_logits = [&](const LogitsBlock &block) {
            logits[block.chunk].assign(block.logits, block.logits + block.n_vocab);
        };
        engine.forward(batch, forward);
        for (size_t k = 0; k < members.size(); ++k) {
            take_token(timelines[members[k]], logits[k], options, vocab);
        }
    }
    std::vector<Answer> answers;
    for (Timeline &timeline : timelines) {
        answers.push_back(std::move(timeline.answer));
    }
    return answers;
}

}  // namespace orthorank
