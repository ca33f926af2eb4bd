// What can be wrong with a request, found before anything is touched.
#include <algorithm>

#include "session/live_request.h"
#include "session/session.h"

namespace orthorank {

namespace {

void check_ids(std::span<const int32_t> ids, int n_vocab) {
    for (const int32_t id : ids) {
        if (id < 0 || id >= n_vocab) {
            fail(ErrorKind::request, "token id {} is outside the vocabulary of {}", id, n_vocab);
        }
    }
}

void check_wishes(const Request &request, const Hparams &hparams) {
    const auto n = static_cast<int64_t>(request.tokens.size());
    if (request.n_prompt < -1 || request.n_prompt > n) {
        fail(ErrorKind::request, "a prompt of {} of {} tokens", request.n_prompt, n);
    }
    if (request.targets.size() > request.tokens.size()) {
        fail(ErrorKind::request, "{} targets for {} tokens", request.targets.size(), n);
    }
    for (const int32_t target : request.targets) {
        check_ids({&target, target < 0 ? size_t{0} : size_t{1}}, hparams.n_vocab);
    }
    if (request.max_new_tokens < -1) {
        fail(ErrorKind::request, "{} new tokens: give 0 or more, or -1 for as many as fit",
             request.max_new_tokens);
    }
    if (request.n_top < 0 || request.n_top > hparams.n_vocab) {
        fail(ErrorKind::request, "the {} likeliest tokens of {}", request.n_top, hparams.n_vocab);
    }
    if (std::any_of(request.stop.begin(), request.stop.end(),
                    [](const std::string &stop) { return stop.empty(); })) {
        fail(ErrorKind::request, "a stop string is empty");
    }
    if (!std::is_sorted(request.boundaries.begin(), request.boundaries.end()) ||
        (!request.boundaries.empty() &&
         (request.boundaries.front() < 0 || request.boundaries.back() > hparams.n_layers))) {
        fail(ErrorKind::request, "layer boundaries must ascend within 0..{}", hparams.n_layers);
    }
}

}  // namespace

const char *stop_reason_name(StopReason reason) {
    switch (reason) {
        case StopReason::end:
            return "end";
        case StopReason::stop:
            return "stop";
        case StopReason::length:
            return "length";
        case StopReason::context:
            return "context";
    }
    return "";
}

void Session::check(const Request &request) const {
    const Hparams &hparams = engine_.model().hparams();
    if (request.tokens.empty()) {
        fail(ErrorKind::usage, "the prompt is empty");
    }
    check_ids(request.tokens, hparams.n_vocab);
    check_ids(request.forced, hparams.n_vocab);
    check_wishes(request, hparams);
    int64_t n_past = 0;
    if (request.after == 0) {
        engine_.check(request.plan);
    } else {
        const Sequence *before = sequence(request.after);
        if (before == nullptr) {
            fail(ErrorKind::request,
                 "request {} is not there, not finished or has not kept its "
                 "sequence",
                 request.after);
        }
        n_past = request.n_keep < 0 ? before->n_past() : request.n_keep;
        if (n_past > before->n_past()) {
            fail(ErrorKind::request, "{} tokens of request {} are to be kept, it has {}", n_past,
                 request.after, before->n_past());
        }
    }
    const int64_t n = n_past + static_cast<int64_t>(request.tokens.size());
    if (n > engine_.n_ctx()) {
        fail(ErrorKind::limit, "the prompt has {} tokens, the context only {}", n, engine_.n_ctx());
    }
}

}  // namespace orthorank
