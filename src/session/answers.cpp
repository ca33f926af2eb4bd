#include "session/answers.h"

#include <map>
#include <utility>

#include "base/error.h"
#include "model/vocab.h"
#include "session/session.h"

namespace orthorank {

namespace {

Request request_of(std::span<const int32_t> prompt, const AnswerOptions &options) {
    Request request;
    request.plan = options.plan;
    request.tokens.assign(prompt.begin(), prompt.end());
    request.max_new_tokens = static_cast<int64_t>(options.max_new_tokens);
    request.sampler.temperature = 0;
    request.wants_text = false;
    if (!options.stop.empty()) {
        request.stop.push_back(options.stop);
    }
    if (options.stop_token >= 0) {
        request.stop_tokens.push_back(options.stop_token);
        request.min_new_tokens = 1;
    }
    return request;
}

}  // namespace

std::vector<Answer> greedy_answers(Engine &engine, std::span<const std::vector<int32_t>> prompts,
                                   const AnswerOptions &options) {
    const Vocab &vocab = engine.model().vocab();
    std::vector<Answer> answers(prompts.size());
    if (options.max_new_tokens == 0) {
        return answers;
    }
    Session session(engine, {.shared_rows = INT64_MAX});
    std::map<RequestId, Answer *> answer_of;
    for (size_t i = 0; i < prompts.size(); ++i) {
        answer_of[session.submit(request_of(prompts[i], options))] = &answers[i];
    }
    while (!session.is_idle()) {
        for (Event &event : session.step()) {
            if (event.kind == Event::Kind::failed) {
                throw Error(event.error, event.message);
            }
            if (event.kind == Event::Kind::finished) {
                Answer &answer = *answer_of.at(event.request);
                answer.tokens = std::move(event.result.tokens);
                answer.text = vocab.detokenize(answer.tokens);
            }
        }
    }
    return answers;
}

}  // namespace orthorank
