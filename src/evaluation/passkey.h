// The pass key task: a number stands somewhere in a long text and is asked for at its end. What a
// model must carry from a far place to its answer, which a loss over running text hardly sees. The
// task is Mohtashami and Jaggi's (arXiv 2305.16300); the words are our own. Pure functions of the
// text and the vocabulary.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "model/vocab.h"

namespace orthorank {

// Five digits, different for each number.
std::string passkey_of(uint64_t seed, uint64_t number);

// The first run of digits in an answer; empty: there is none.
std::string first_number(const std::string &text);

class PasskeyTask {
 public:
    // In the model's chat template if it has one. The vocabulary must outlive this.
    explicit PasskeyTask(const Vocab &vocab);

    // A prompt of exactly n_tokens: the question behind filler, the key in a sentence of its own
    // after the part `depth` (0 to 1) of it. It ends within the answer, before the key. Throws
    // Error{limit} when the sentences do not fit into n_tokens, or the filler is too short.
    std::vector<int32_t> prompt(std::span<const int32_t> filler, size_t n_tokens, double depth,
                                const std::string &key) const;
    // What follows a prompt in a right answer.
    std::vector<int32_t> answer(const std::string &key) const;

 private:
    const Vocab &vocab_;
    std::vector<int32_t> before_;  // the filler
    std::vector<int32_t> behind_;
};

}  // namespace orthorank
