#include "eval/longbench_scores.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "base/error.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "eval/records.h"
#include "eval/rouge.h"
#include "eval/text.h"

namespace orthorank {

namespace {

constexpr std::string_view k_ascii_punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

bool is_article(std::string_view word) {
    return word == "a" || word == "an" || word == "the";
}

// re.sub(r"\b(a|an|the)\b", " "): runs of word characters that are an article become a blank.
std::string without_articles(std::string_view text) {
    std::string out;
    std::string word;
    const auto end_word = [&] {
        out += is_article(word) ? " " : word;
        word.clear();
    };
    for (const int32_t point : to_code_points(text)) {
        if (is_word(point)) {
            append_utf8(word, point);
        } else {
            end_word();
            append_utf8(out, point);
        }
    }
    end_word();
    return out;
}

// re.findall(r"\d+"): maximal runs of decimal digits of any script.
std::vector<std::string> digit_runs(std::string_view text) {
    std::vector<std::string> runs;
    bool is_inside = false;
    for (const int32_t point : to_code_points(text)) {
        if (is_decimal_digit(point)) {
            if (!is_inside) {
                runs.emplace_back();
            }
            append_utf8(runs.back(), point);
            is_inside = true;
        } else {
            is_inside = false;
        }
    }
    return runs;
}

std::string_view without_leading_newlines(std::string_view text) {
    return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}

}  // namespace

std::vector<std::string> answer_words(std::string_view text) {
    std::string kept = lower(text);
    std::erase_if(kept, [](char c) { return k_ascii_punctuation.find(c) != std::string::npos; });
    return split_words(without_articles(kept));
}

double answer_f1(std::string_view prediction, std::string_view answer) {
    const std::vector<std::string> predicted = answer_words(prediction);
    const std::vector<std::string> wanted = answer_words(answer);
    std::map<std::string, size_t> n_left;
    for (const std::string &word : wanted) {
        n_left[word]++;
    }
    size_t n_same = 0;
    for (const std::string &word : predicted) {
        const auto found = n_left.find(word);
        if (found != n_left.end() && found->second > 0) {
            found->second--;
            n_same++;
        }
    }
    if (n_same == 0) {
        return 0;
    }
    const double same = static_cast<double>(n_same);
    const double precision = same / static_cast<double>(predicted.size());
    const double recall = same / static_cast<double>(wanted.size());
    return (2 * precision * recall) / (precision + recall);
}

double classification_score(std::string_view prediction, std::string_view answer,
                            const std::vector<std::string> &all_classes) {
    std::vector<std::string> found;
    for (const std::string &name : all_classes) {
        if (prediction.find(name) != std::string_view::npos) {
            found.push_back(name);
        }
    }
    // The published code deletes from the list it walks over: the name after a deleted one is
    // passed over. list.remove takes the first equal name.
    for (size_t i = 0; i < found.size(); i++) {
        const std::string name = found[i];
        if (name != answer && answer.find(name) != std::string_view::npos) {
            found.erase(std::find(found.begin(), found.end(), name));
        }
    }
    const bool is_found = std::find(found.begin(), found.end(), answer) != found.end();
    return is_found ? 1.0 / static_cast<double>(found.size()) : 0;
}

double count_score(std::string_view prediction, std::string_view answer) {
    const std::vector<std::string> numbers = digit_runs(prediction);
    if (numbers.empty()) {
        return 0;
    }
    const auto n_right = std::count(numbers.begin(), numbers.end(), answer);
    return static_cast<double>(n_right) / static_cast<double>(numbers.size());
}

double retrieval_score(std::string_view prediction, std::string_view answer) {
    constexpr std::string_view k_paragraph = "Paragraph ";
    for (size_t at = answer.find(k_paragraph); at != std::string_view::npos;
         at = answer.find(k_paragraph, at + 1)) {
        const std::string_view rest = answer.substr(at + k_paragraph.size());
        const std::vector<std::string> numbers = digit_runs(rest);
        if (!numbers.empty() && rest.starts_with(numbers.front())) {
            return count_score(prediction, numbers.front());
        }
    }
    return 0;
}

double code_score(std::string_view prediction, std::string_view answer, Similarity kind) {
    std::string code;
    for (const std::string &line : split_at(without_leading_newlines(prediction), '\n')) {
        if (line.find_first_of("`#") == std::string::npos && line.find("//") == std::string::npos) {
            code = line;
            break;
        }
    }
    return similarity_ratio(code, answer, kind) / 100.0;
}

std::string scored_text(const LongBenchSet &set, std::string_view prediction) {
    if (!set.is_first_line_only) {
        return std::string(prediction);
    }
    const std::string_view text = without_leading_newlines(prediction);
    return std::string(text.substr(0, text.find('\n')));
}

double longbench_score(const LongBenchSet &set, const Prediction &prediction, Similarity kind) {
    if (set.metric == LongBenchMetric::classification && !prediction.all_classes) {
        fail(ErrorKind::format, "a prediction of set {} has no all_classes", set.name);
    }
    const std::string text = scored_text(set, prediction.text);
    const auto score = [&](const std::string &answer) -> double {
        switch (set.metric) {
            case LongBenchMetric::f1:
                return answer_f1(text, answer);
            case LongBenchMetric::rouge_l:
                return rouge_l(text, answer);
            case LongBenchMetric::classification:
                return classification_score(text, answer, *prediction.all_classes);
            case LongBenchMetric::count:
                return count_score(text, answer);
            case LongBenchMetric::retrieval:
                return retrieval_score(text, answer);
            case LongBenchMetric::code:
                return code_score(text, answer, kind);
        }
        return 0;
    };
    double best = 0;
    for (const std::string &answer : prediction.answers) {
        best = std::max(best, score(answer));
    }
    return best;
}

std::vector<Prediction> read_predictions_of(const LongBenchSet &set, const std::string &path) {
    size_t n = 0;
    for_each_record(path, [&](const Record &record) {
        if (set.metric == LongBenchMetric::classification &&
            record.field("all_classes").is_null()) {
            record.complain("all_classes is null, but this set is scored by class names");
        }
        n++;
        return true;
    });
    if (n == 0) {
        fail(ErrorKind::format, "{}: no predictions in it", path);
    }
    return read_predictions(path);
}

double longbench_set_score(const LongBenchSet &set, const std::vector<Prediction> &predictions,
                           Similarity kind) {
    if (predictions.empty()) {
        return 0;
    }
    double total = 0;
    for (const Prediction &prediction : predictions) {
        total += longbench_score(set, prediction, kind);
    }
    const double score = 100 * total / static_cast<double>(predictions.size());
    return std::stod(fmt::format("{:.2f}", score));
}

}  // namespace orthorank
