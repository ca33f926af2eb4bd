#include "session/live_request.h"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "session/log_probs.h"

namespace orthorank {

LiveRequest::LiveRequest(RequestId id_in, Request request_in)
    : id(id_in), request(std::move(request_in)), sampler(request.sampler), text(request.stop) {
    result.target_log_probs.resize(request.targets.size());
}

size_t LiveRequest::n_wanted() const {
    if (!request.forced.empty()) {
        return request.forced.size();
    }
    return request.max_new_tokens < 0 ? SIZE_MAX : static_cast<size_t>(request.max_new_tokens);
}

// Where the part of the tokens that is read next ends: with the prompt, or with what is behind it.
int64_t LiveRequest::end_of_part() const {
    const int64_t n_prompt = request.n_prompt < 0 ? n_tokens() : request.n_prompt;
    return n_read < n_prompt ? n_prompt : n_tokens();
}

int64_t LiveRequest::n_next() const {
    return is_reading() ? end_of_part() - n_read : 1;
}

Chunk LiveRequest::next_chunk() {
    Chunk chunk;
    chunk.sequence = &*sequence;
    if (!is_reading()) {
        chunk.tokens = std::span(&pending, 1);
        chunk.phase = Phase::decode;
        return chunk;
    }
    const int64_t end = end_of_part();
    chunk.tokens = std::span(request.tokens)
                       .subspan(static_cast<size_t>(n_read), static_cast<size_t>(end - n_read));
    chunk.phase =
        request.n_prompt < 0 || n_read < request.n_prompt ? Phase::prefill : Phase::decode;
    const auto first_target = n_tokens() - static_cast<int64_t>(request.targets.size());
    if (end > first_target) {
        chunk.outputs = Outputs::all;
        chunk.first_output_row = std::max<int64_t>(0, first_target - n_read);
    } else {
        chunk.outputs = end == n_tokens() ? Outputs::last : Outputs::none;
    }
    return chunk;
}

void LiveRequest::read_logits(const LogitsBlock &block, int n_threads) {
    const bool is_step = !is_reading();
    const int64_t end = is_step ? 1 : n_tokens() - n_read;  // in rows of the chunk
    const bool chooses = request.forced.empty() ? n_wanted() > 0 : request.wants_log_probs;
    if (chooses && block.first_row + block.n_rows == end) {
        const float *last = block.logits + (block.n_rows - 1) * block.n_vocab;
        logits.assign(last, last + block.n_vocab);
    }
    if (!is_step && !request.targets.empty()) {
        read_targets(block, n_threads);
    }
}

void LiveRequest::read_targets(const LogitsBlock &block, int n_threads) {
    LogitsBlock of_request = block;
    of_request.chunk = 0;
    of_request.first_row += n_read;
    const int64_t first_target = n_tokens() - static_cast<int64_t>(request.targets.size());
    const auto first = static_cast<size_t>(of_request.first_row - first_target);
    const std::span<const int32_t> targets =
        std::span(request.targets).subspan(first, static_cast<size_t>(block.n_rows));
    const auto n_vocab = static_cast<size_t>(block.n_vocab);
    if (request.n_top == 0) {
        std::vector<float> log_probs(targets.size());
        target_log_probs(block.logits, block.n_vocab, targets, n_threads, log_probs);
        for (size_t i = 0; i < targets.size(); ++i) {
            result.target_log_probs[first + i].log_prob = log_probs[i];
        }
    } else {
        const std::ptrdiff_t n = std::ssize(targets);
#pragma omp parallel for num_threads(n_threads) schedule(static)
        for (std::ptrdiff_t row = 0; row < n; ++row) {
            const auto i = static_cast<size_t>(row);
            result.target_log_probs[first + i] = token_log_prob(
                std::span(block.logits + i * n_vocab, n_vocab), targets[i], request.n_top);
        }
    }
    if (request.on_logits) {
        request.on_logits(of_request);
    }
}

bool LiveRequest::is_end(int32_t token, const Vocab &vocab) const {
    return vocab.is_end_of_generation(token) ||
           std::find(request.stop_tokens.begin(), request.stop_tokens.end(), token) !=
               request.stop_tokens.end();
}

int32_t LiveRequest::choose(const Vocab &vocab) {
    if (!request.forced.empty()) {
        return request.forced[result.tokens.size()];
    }
    if (static_cast<int64_t>(result.tokens.size()) >= request.min_new_tokens) {
        return sampler.sample(logits);
    }
    std::vector<float> masked = logits;
    for (int32_t token = 0; token < static_cast<int32_t>(masked.size()); ++token) {
        if (is_end(token, vocab)) {
            masked[static_cast<size_t>(token)] = -std::numeric_limits<float>::infinity();
        }
    }
    return sampler.sample(masked);
}

TokenLogProb token_log_prob(std::span<const float> row, int32_t target, int n_top) {
    const double sum = log_sum_exp(row);
    const auto log_prob_of = [&](int32_t token) {
        return static_cast<float>(static_cast<double>(row[static_cast<size_t>(token)]) - sum);
    };
    TokenLogProb found;
    found.log_prob = target < 0 ? 0.0f : log_prob_of(target);
    std::vector<int32_t> ids(n_top > 0 ? row.size() : 0);
    for (size_t i = 0; i < ids.size(); ++i) {
        ids[i] = static_cast<int32_t>(i);
    }
    const auto n = std::min(static_cast<std::ptrdiff_t>(n_top), std::ssize(ids));
    std::partial_sort(ids.begin(), ids.begin() + n, ids.end(), [&](int32_t a, int32_t b) {
        const float of_a = row[static_cast<size_t>(a)];
        const float of_b = row[static_cast<size_t>(b)];
        return of_a != of_b ? of_a > of_b : a < b;
    });
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const int32_t token = ids[static_cast<size_t>(i)];
        found.top.push_back({token, log_prob_of(token)});
    }
    return found;
}

}  // namespace orthorank
