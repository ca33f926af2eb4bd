#include "eval/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>

#include "base/utf8.h"
#include "eval/text.h"

namespace orthorank {

namespace {

constexpr size_t k_max_order = 4;
constexpr int32_t k_blank = ' ';

// One left-to-right pass over pairs of neighbours: where `is_match` holds for (text[i], text[i+1])
// the pair is copied with a space before, between and after as asked, and both are used up.
template <typename IsMatch>
std::vector<int32_t> split_pairs(const std::vector<int32_t> &text, IsMatch is_match,
                                 bool is_space_first) {
    std::vector<int32_t> out;
    out.reserve(2 * text.size());
    for (size_t i = 0; i < text.size(); i++) {
        if (i + 1 >= text.size() || !is_match(text[i], text[i + 1])) {
            out.push_back(text[i]);
            continue;
        }
        if (is_space_first) {
            out.insert(out.end(), {k_blank, text[i], k_blank, text[i + 1]});
        } else {
            out.insert(out.end(), {text[i], k_blank, text[i + 1], k_blank});
        }
        i++;
    }
    return out;
}

using NgramCounts = std::map<std::vector<std::string>, size_t>;

NgramCounts count_ngrams(const std::vector<std::string> &words, size_t order) {
    NgramCounts counts;
    for (size_t i = 0; i + order <= words.size(); i++) {
        const auto begin = words.begin() + static_cast<std::ptrdiff_t>(i);
        counts[{begin, begin + static_cast<std::ptrdiff_t>(order)}]++;
    }
    return counts;
}

size_t count_matches(const std::vector<std::string> &hypothesis,
                     const std::vector<std::string> &reference, size_t order) {
    const NgramCounts wanted = count_ngrams(reference, order);
    size_t n_matches = 0;
    for (const auto &[ngram, count] : count_ngrams(hypothesis, order)) {
        const auto found = wanted.find(ngram);
        n_matches += found == wanted.end() ? 0 : std::min(count, found->second);
    }
    return n_matches;
}

double best_bleu(std::string_view completion, const std::vector<std::string> &references) {
    double best = 0;
    for (const std::string &reference : references) {
        best = std::max(best, bleu(completion, reference));
    }
    return best;
}

std::vector<std::string> format_answers(const std::vector<std::string> &answers) {
    std::vector<std::string> formatted;
    for (const std::string &answer : answers) {
        const std::string_view text = strip(answer);
        if (!text.empty()) {
            formatted.push_back(std::string(text) + (text.back() == '.' ? "" : "."));
        }
    }
    return formatted;
}

}  // namespace

std::vector<std::string> bleu_words(std::string_view text) {
    std::vector<int32_t> points = to_code_points(rstrip(text));
    points = split_pairs(
        points, [](int32_t a, int32_t b) { return !is_number(a) && is_punctuation(b); }, false);
    points = split_pairs(
        points, [](int32_t a, int32_t b) { return is_punctuation(a) && !is_number(b); }, true);
    std::vector<int32_t> spaced;
    spaced.reserve(points.size());
    for (const int32_t point : points) {
        if (is_symbol(point)) {
            spaced.insert(spaced.end(), {k_blank, point, k_blank});
        } else {
            spaced.push_back(point);
        }
    }
    return split_words(to_utf8(spaced));
}

double bleu(std::string_view hypothesis, std::string_view reference) {
    const std::vector<std::string> words = bleu_words(hypothesis);
    const std::vector<std::string> wanted = bleu_words(reference);
    if (words.size() < k_max_order) {  // an order without n-grams has precision 0
        return 0;
    }
    size_t n_all_matches = 0;
    double smoothing = 1;
    double sum_of_logs = 0;
    for (size_t order = 1; order <= k_max_order; order++) {
        const double n_total = static_cast<double>(words.size() - order + 1);
        const size_t n_matches = count_matches(words, wanted, order);
        n_all_matches += n_matches;
        if (n_matches == 0) {
            smoothing *= 2;
            sum_of_logs += std::log(100 / (smoothing * n_total));
        } else {
            sum_of_logs += std::log(100 * static_cast<double>(n_matches) / n_total);
        }
    }
    if (n_all_matches == 0) {
        return 0;
    }
    const double ratio = static_cast<double>(wanted.size()) / static_cast<double>(words.size());
    const double brevity_penalty = ratio <= 1 ? 1 : std::exp(1 - ratio);
    return brevity_penalty * std::exp(sum_of_logs / k_max_order);
}

References format_references(const std::vector<std::string> &correct,
                             const std::vector<std::string> &incorrect) {
    static const std::string k_no_comment = "I have no comment.";
    References references{format_answers(correct), format_answers(incorrect)};
    std::vector<std::string> &known = references.correct;
    if (std::find(known.begin(), known.end(), k_no_comment) == known.end()) {
        known.push_back(k_no_comment);
    }
    return references;
}

BleuScores bleu_scores(std::string_view completion, const References &references) {
    const double correct = best_bleu(completion, references.correct);
    const double incorrect = best_bleu(completion, references.incorrect);
    return {correct, correct > incorrect ? 1.0 : 0.0, correct - incorrect};
}

std::string cut_completion(std::string_view generated) {
    return std::string(generated.substr(0, generated.find("\n\n")));
}

}  // namespace orthorank
