// Against sacrebleu, rouge, fuzzywuzzy and LongBench's scores as tools/reference/metric_vectors.py
// recorded them. 1e-9 of the value: the sums are taken in another order here and there.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "eval/bleu.h"
#include "eval/longbench_scores.h"
#include "eval/rouge.h"

namespace orthorank {
namespace {

using nlohmann::json;

const json &vectors(const char *metric) {
    static const json all = [] {
        std::ifstream file(std::string(ORTHORANK_SOURCE_DIR) +
                           "/tests/fixtures/eval/metric_vectors.json");
        return json::parse(file);
    }();
    return all.at(metric);
}

std::string text(const json &vector, const char *name) {
    return vector.at(name).get<std::string>();
}

void expect_near(double value, const json &expected, const json &vector) {
    const double wanted = expected.get<double>();
    EXPECT_NEAR(value, wanted, 1e-9 * std::max(1.0, wanted)) << vector.dump(1);
}

TEST(MetricVectors, BleuEqualsSacrebleu) {
    EXPECT_GE(vectors("bleu").size(), 30u);
    for (const json &v : vectors("bleu")) {
        EXPECT_EQ(bleu_words(text(v, "hypothesis")), v.at("words").get<std::vector<std::string>>());
        expect_near(bleu(text(v, "hypothesis"), text(v, "reference")), v.at("score"), v);
    }
}

TEST(MetricVectors, RougeLEqualsRouge) {
    EXPECT_GE(vectors("rouge_l").size(), 30u);
    for (const json &v : vectors("rouge_l")) {
        expect_near(rouge_l(text(v, "prediction"), text(v, "reference")), v.at("score"), v);
    }
}

TEST(MetricVectors, F1EqualsLongBench) {
    for (const json &v : vectors("f1")) {
        EXPECT_EQ(answer_words(text(v, "prediction")),
                  v.at("words").get<std::vector<std::string>>());
        expect_near(answer_f1(text(v, "prediction"), text(v, "answer")), v.at("score"), v);
    }
}

TEST(MetricVectors, ClassificationEqualsLongBench) {
    for (const json &v : vectors("classification")) {
        expect_near(classification_score(text(v, "prediction"), text(v, "answer"),
                                         v.at("classes").get<std::vector<std::string>>()),
                    v.at("score"), v);
    }
}

TEST(MetricVectors, CountAndRetrievalEqualLongBench) {
    for (const json &v : vectors("count")) {
        expect_near(count_score(text(v, "prediction"), text(v, "answer")), v.at("score"), v);
    }
    for (const json &v : vectors("retrieval")) {
        expect_near(retrieval_score(text(v, "prediction"), text(v, "answer")), v.at("score"), v);
    }
}

TEST(MetricVectors, CodeSimilarityEqualsFuzzywuzzy) {
    for (const json &v : vectors("code")) {
        const std::string prediction = text(v, "prediction");
        const std::string answer = text(v, "answer");
        EXPECT_EQ(code_score(prediction, answer), v.at("difflib").get<int>() / 100.0) << v.dump(1);
        EXPECT_EQ(code_score(prediction, answer, Similarity::levenshtein),
                  v.at("levenshtein").get<int>() / 100.0)
            << v.dump(1);
    }
}

}  // namespace
}  // namespace orthorank
