#include "eval/scoring_input.h"

#include <algorithm>

#include "base/error.h"
#include "eval/text.h"

namespace orthorank {

TextPair move_trailing_space(const TextPair &pair) {
    const size_t n_kept = rstrip(pair.context).size();
    return {pair.context.substr(0, n_kept), pair.context.substr(n_kept) + pair.continuation};
}

ScoringInput make_scoring_input(const TextPair &pair, const Tokenize &tokenize, size_t max_length,
                                std::optional<int32_t> empty_context) {
    const TextPair moved = move_trailing_space(pair);
    const std::vector<int32_t> whole = tokenize(moved.context + moved.continuation);
    std::vector<int32_t> all;  // the context's ids, then the continuation's
    size_t n_context = 0;      // ids of the whole that belong to the context
    if (!moved.context.empty()) {
        all = tokenize(moved.context);
        n_context = all.size();
    } else if (empty_context) {
        all.push_back(*empty_context);
        // Where every text begins with it, the continuation does.
        n_context = !whole.empty() && whole.front() == *empty_context ? 1 : 0;
    } else {
        fail(ErrorKind::format,
             "nothing stands before the continuation '{}', and the model has no begin-of-text id",
             moved.continuation);
    }
    if (whole.size() <= n_context) {
        fail(
            ErrorKind::format,
            "the continuation '{}' has no token of its own: one token spans the end of its context "
            "and all of it; leave the document out with --docs",
            moved.continuation);
    }
    ScoringInput input;
    input.targets.assign(whole.begin() + static_cast<std::ptrdiff_t>(n_context), whole.end());
    if (input.targets.size() > max_length) {
        fail(ErrorKind::limit, "a continuation of {} tokens does not fit a context of {}",
             input.targets.size(), max_length);
    }
    all.insert(all.end(), input.targets.begin(), input.targets.end());
    input.n_cut = all.size() > max_length + 1 ? all.size() - (max_length + 1) : 0;
    input.ids.assign(all.begin() + static_cast<std::ptrdiff_t>(input.n_cut), all.end() - 1);
    return input;
}

size_t n_common_ids(const std::vector<ScoringInput> &inputs) {
    if (inputs.empty()) {
        return 0;
    }
    const std::vector<int32_t> &first = inputs.front().ids;
    size_t n_common = first.size();
    for (const ScoringInput &input : inputs) {
        const auto end =
            std::mismatch(first.begin(), first.end(), input.ids.begin(), input.ids.end()).first;
        n_common = std::min(n_common, static_cast<size_t>(end - first.begin()));
    }
    return n_common;
}

}  // namespace orthorank
