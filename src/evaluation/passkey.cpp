#include "evaluation/passkey.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/mix64.h"

namespace orthorank {

namespace {

constexpr const char *k_question =
    "\n\nWhat is the secret number that the text above mentions? Answer with the number.";
constexpr const char *k_answer = "The secret number is";
constexpr uint64_t k_n_keys = 90000;  // 10000 to 99999

// One step of splitmix64 from there.
uint64_t mixed(uint64_t z) {
    return mix64(z + 0x9E3779B97F4A7C15u);
}

void append(std::vector<int32_t> &tokens, std::span<const int32_t> more) {
    tokens.insert(tokens.end(), more.begin(), more.end());
}

// The question behind this text, in the model's chat template if it has one.
std::vector<int32_t> question_behind(const std::string &text, const Vocab &vocab) {
    const ChatMessage message{"user", text + k_question};
    return vocab.has_chat_template()
               ? vocab.tokenize_chat(std::span(&message, 1))
               : vocab.tokenize(message.content + "\n\nAnswer:\n", /*add_bos=*/true);
}

}  // namespace

std::string passkey_of(uint64_t seed, uint64_t number) {
    return std::to_string(10000 + mixed(mixed(seed) + number) % k_n_keys);
}

std::string first_number(const std::string &text) {
    const size_t first = text.find_first_of("0123456789");
    if (first == std::string::npos) {
        return {};
    }
    return text.substr(first, text.find_first_not_of("0123456789", first) - first);
}

// What stands before and behind the filler: what two prompts with nothing in common there share.
PasskeyTask::PasskeyTask(const Vocab &vocab) : vocab_(vocab) {
    const std::vector<int32_t> one = question_behind("0", vocab);
    const std::vector<int32_t> other = question_behind("Zebra", vocab);
    const auto end = std::mismatch(one.begin(), one.end(), other.begin(), other.end()).first;
    const auto begin = std::mismatch(one.rbegin(), one.rend(), other.rbegin(), other.rend()).first;
    before_.assign(one.begin(), end);
    behind_.assign(begin.base(), one.end());
    append(behind_, vocab.tokenize(k_answer, false));
}

std::vector<int32_t> PasskeyTask::prompt(std::span<const int32_t> filler, size_t n_tokens,
                                         double depth, const std::string &key) const {
    CHECK(depth >= 0.0 && depth <= 1.0);
    const std::vector<int32_t> needle = vocab_.tokenize(
        fmt::format("\nThe secret number is {}. Remember it: {}.\n", key, key), false);
    const size_t n_own = before_.size() + needle.size() + behind_.size();
    if (n_own >= n_tokens) {
        fail(ErrorKind::limit, "a pass key prompt of {} tokens: its sentences alone have {}",
             n_tokens, n_own);
    }
    const size_t n_filler = n_tokens - n_own;
    if (filler.size() < n_filler) {
        fail(ErrorKind::limit,
             "a pass key prompt of {} tokens needs {} tokens of text, there are only {}: give more "
             "text, or ask for shorter prompts",
             n_tokens, n_filler, filler.size());
    }
    const auto n_first = static_cast<size_t>(std::lround(depth * static_cast<double>(n_filler)));
    std::vector<int32_t> tokens = before_;
    append(tokens, filler.first(n_first));
    append(tokens, needle);
    append(tokens, filler.subspan(n_first, n_filler - n_first));
    append(tokens, behind_);
    return tokens;
}

std::vector<int32_t> PasskeyTask::answer(const std::string &key) const {
    return vocab_.tokenize(" " + key, false);
}

}  // namespace orthorank
