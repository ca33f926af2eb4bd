#include "calibration/retrieval.h"

#include "base/error.h"
#include "evaluation/passkey.h"

namespace orthorank {

namespace {

constexpr uint64_t k_seed = 0x5EED;

}  // namespace

void add_retrieval_windows(Windows &windows, int n, const Vocab &vocab) {
    const PasskeyTask task(vocab);
    const size_t n_plain = windows.n_plain();
    CHECK(n_plain > 0);
    for (int i = 0; i < n; ++i) {
        const std::string key = passkey_of(k_seed, static_cast<uint64_t>(i));
        const std::vector<int32_t> answer = task.answer(key);
        const std::span<const int32_t> text = windows.window(static_cast<size_t>(i) % n_plain);
        const size_t n_prompt = text.size() - std::min(text.size(), answer.size());
        // Without the first token, which may be the text's BOS.
        std::vector<int32_t> tokens = task.prompt(text.subspan(1), n_prompt, (i + 0.5) / n, key);
        tokens.insert(tokens.end(), answer.begin(), answer.end());
        windows.tokens.insert(windows.tokens.end(), tokens.begin(), tokens.end());
        windows.other_continuations.push_back(static_cast<int>(answer.size()));
    }
}

size_t n_kinds_of(const Windows &windows) {
    return windows.n_plain() < windows.size() ? 2 : 1;
}

std::vector<size_t> order_by_kind(size_t n_plain, size_t n_asking) {
    std::vector<size_t> order;
    for (size_t i = 0, j = 0; i + j < n_plain + n_asking;) {
        const bool is_plain = j == n_asking || (i < n_plain && i * n_asking <= j * n_plain);
        order.push_back(is_plain ? i++ : n_plain + j++);
    }
    return order;
}

}  // namespace orthorank
