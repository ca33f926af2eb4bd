#include "eval/samples.h"

#include <cmath>
#include <limits>

#include "base/utf8.h"
#include "eval/records.h"
#include "eval/text.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

json number_or_null(double value) {
    return std::isfinite(value) ? json(value) : json(nullptr);
}

double real(const Record &record, const json &value) {
    if (value.is_null()) {
        return std::numeric_limits<double>::quiet_NaN();
    }
    if (!value.is_number()) {
        record.complain("a score is not a number");
    }
    return value.get<double>();
}

Sample parse_sample(const Record &record) {
    Sample sample;
    sample.task = record.text("task");
    sample.doc = record.number("doc");
    sample.plan = record.text("plan");
    if (record.value().contains("text")) {
        sample.completion = record.text("text");
        sample.bleu = {real(record, record.field("bleu_max")),
                       real(record, record.field("bleu_acc")),
                       real(record, record.field("bleu_diff"))};
        return sample;
    }
    for (const json &value : record.field("ll")) {
        sample.log_likelihoods.push_back(real(record, value));
    }
    sample.gold = record.number("gold");
    sample.predicted = record.number("pred");
    sample.predicted_norm = record.number("pred_norm");
    return sample;
}

}  // namespace

Sample make_choice_sample(const std::string &task, const std::string &plan,
                          const ChoiceDocument &document,
                          const std::vector<double> &log_likelihoods) {
    const ChoiceScore score = score_choices(document, log_likelihoods);
    Sample sample;
    sample.task = task;
    sample.doc = document.index;
    sample.plan = plan;
    sample.log_likelihoods = log_likelihoods;
    sample.gold = document.gold;
    sample.predicted = score.predicted;
    sample.predicted_norm = score.predicted_norm;
    return sample;
}

std::string sample_line(const Sample &sample) {
    json line{{"task", sample.task}, {"doc", sample.doc}, {"plan", sample.plan}};
    if (sample.log_likelihoods.empty()) {
        line["text"] = replace_invalid_utf8(sample.completion);
        line["bleu_max"] = number_or_null(sample.bleu.max);
        line["bleu_acc"] = number_or_null(sample.bleu.acc);
        line["bleu_diff"] = number_or_null(sample.bleu.diff);
        return line.dump(-1, ' ', false, json::error_handler_t::replace);
    }
    json &list = line["ll"] = json::array();
    for (const double value : sample.log_likelihoods) {
        list.push_back(number_or_null(value));
    }
    line["gold"] = sample.gold;
    line["pred"] = sample.predicted;
    line["pred_norm"] = sample.predicted_norm;
    return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<Sample> samples_in(std::string_view lines, const std::string &path) {
    std::vector<Sample> samples;
    for_each_record_in(lines, path, [&](const Record &record) {
        samples.push_back(parse_sample(record));
        return true;
    });
    return samples;
}

}  // namespace orthorank
