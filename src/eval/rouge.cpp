#include "eval/rouge.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/strings.h"
#include "eval/text.h"

namespace orthorank {

namespace {

// Words as numbers, so that comparing them is cheap: the table below is |r| * |h| for each pair of
// sentences.
using Sentence = std::vector<uint32_t>;
using WordNumbers = std::unordered_map<std::string, uint32_t>;

// The pieces between periods, each with single blanks between its words. A piece of whitespace only
// stays as a sentence of one empty word; a piece of length 0 is dropped.
std::vector<Sentence> split_sentences(std::string_view text, WordNumbers &numbers) {
    std::vector<Sentence> sentences;
    for (const std::string &piece : split_at(text, '.')) {
        if (piece.empty()) {
            continue;
        }
        std::vector<std::string> words = split_words(piece);
        if (words.empty()) {
            words.emplace_back();
        }
        Sentence &sentence = sentences.emplace_back();
        for (const std::string &word : words) {
            sentence.push_back(
                numbers.emplace(word, static_cast<uint32_t>(numbers.size())).first->second);
        }
    }
    return sentences;
}

// Adds the words of one longest common subsequence; which one, the walk's order of choices says.
void add_common_words(const Sentence &r, const Sentence &h, std::set<uint32_t> &common) {
    const size_t n_columns = h.size() + 1;
    std::vector<uint32_t> table((r.size() + 1) * n_columns, 0);
    const auto at = [&](size_t i, size_t j) -> uint32_t & { return table[i * n_columns + j]; };
    for (size_t i = 1; i <= r.size(); i++) {
        for (size_t j = 1; j <= h.size(); j++) {
            at(i, j) =
                r[i - 1] == h[j - 1] ? at(i - 1, j - 1) + 1 : std::max(at(i - 1, j), at(i, j - 1));
        }
    }
    for (size_t i = r.size(), j = h.size(); i > 0 && j > 0;) {
        if (r[i - 1] == h[j - 1]) {
            common.insert(r[i - 1]);
            i--;
            j--;
        } else if (at(i - 1, j) > at(i, j - 1)) {
            i--;
        } else {
            j--;
        }
    }
}

size_t n_distinct_words(const std::vector<Sentence> &sentences) {
    std::set<uint32_t> words;
    for (const Sentence &sentence : sentences) {
        words.insert(sentence.begin(), sentence.end());
    }
    return words.size();
}

}  // namespace

double rouge_l(std::string_view prediction, std::string_view reference) {
    WordNumbers numbers;
    const std::vector<Sentence> hypothesis = split_sentences(prediction, numbers);
    const std::vector<Sentence> wanted = split_sentences(reference, numbers);
    if (hypothesis.empty() || wanted.empty()) {
        return 0;
    }
    std::set<uint32_t> common;
    for (const Sentence &r : wanted) {
        for (const Sentence &h : hypothesis) {
            add_common_words(r, h, common);
        }
    }
    const double n_common = static_cast<double>(common.size());
    const double recall = n_common / static_cast<double>(n_distinct_words(wanted));
    const double precision = n_common / static_cast<double>(n_distinct_words(hypothesis));
    return 2.0 * ((precision * recall) / (precision + recall + 1e-8));
}

}  // namespace orthorank
