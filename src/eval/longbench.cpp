#include "eval/longbench.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/strings.h"
#include "base/text_file.h"
#include "base/utf8.h"
#include "eval/records.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

// A set of which only the start is there: longbench/NAME.firstN.jsonl, the longest N; "" if none.
std::string find_start_of_set(std::string_view name, const std::string &data_dir) {
    std::string path;
    size_t most = 0;
    const std::string prefix = fmt::format("{}.first", name);
    std::error_code ignored;
    const std::filesystem::path dir = std::filesystem::path(data_dir) / "longbench";
    for (const auto &entry : std::filesystem::directory_iterator(dir, ignored)) {
        const std::string file = entry.path().filename().string();
        if (!file.starts_with(prefix) || !file.ends_with(".jsonl")) {
            continue;
        }
        const std::string n = file.substr(prefix.size(), file.size() - prefix.size() - 6);
        const bool is_number =
            !n.empty() && n.size() < 9 && n.find_first_not_of("0123456789") == std::string::npos;
        if (is_number && std::stoul(n) > most) {
            most = std::stoul(n);
            path = entry.path().string();
        }
    }
    return path;
}

std::string find_set(std::string_view name, const std::string &data_dir) {
    const std::vector<std::string> names{fmt::format("longbench/{}.jsonl", name),
                                         fmt::format("data/{}.jsonl", name),
                                         fmt::format("{}.jsonl", name)};
    const bool is_whole = std::any_of(names.begin(), names.end(), [&](const std::string &file) {
        return has_file((std::filesystem::path(data_dir) / file).string());
    });
    const std::string start = is_whole ? "" : find_start_of_set(name, data_dir);
    if (!start.empty()) {
        return start;
    }
    return find_data_file(data_dir, names, fmt::format("data for LongBench set {}", name));
}

std::optional<std::vector<std::string>> read_classes(const Record &record) {
    if (record.field("all_classes").is_null()) {
        return std::nullopt;
    }
    return record.texts("all_classes");
}

void replace_place(std::string &out, std::string_view &rest, std::string_view value, size_t at,
                   size_t n_bytes) {
    out.append(rest.substr(0, at)).append(value);
    rest.remove_prefix(at + n_bytes);
}

}  // namespace

LongBenchData read_longbench(const LongBenchSet &set, const std::string &data_dir) {
    LongBenchData data;
    data.file = find_set(set.name, data_dir);
    const std::string text = read_text_file(data.file);
    data.hash = fnv1a_hex(text);
    for_each_record_in(text, data.file, [&](const Record &record) {
        LongBenchRecord item;
        item.index = data.records.size();
        item.input = record.text("input");
        item.context = record.text("context");
        item.answers = record.texts("answers");
        item.all_classes = read_classes(record);
        item.length = record.number("length");
        item.id = record.text("_id");
        if (set.metric == LongBenchMetric::classification && !item.all_classes) {
            record.complain("all_classes is null, but this set is scored by class names");
        }
        data.records.push_back(std::move(item));
        return true;
    });
    if (data.records.empty()) {
        fail(ErrorKind::format, "{}: no records in it", data.file);
    }
    data.is_complete = data.records.size() == set.n_records;
    return data;
}

std::string fill_prompt(const LongBenchSet &set, const LongBenchRecord &record) {
    constexpr std::string_view k_context = "{context}";
    constexpr std::string_view k_input = "{input}";
    std::string out;
    std::string_view rest = set.prompt;
    while (true) {
        const size_t context = rest.find(k_context);
        const size_t input = rest.find(k_input);
        if (context == std::string_view::npos && input == std::string_view::npos) {
            return out.append(rest);
        }
        if (context < input) {
            replace_place(out, rest, record.context, context, k_context.size());
        } else {
            replace_place(out, rest, record.input, input, k_input.size());
        }
    }
}

TruncatedPrompt truncate_middle(const std::string &prompt, size_t max_length,
                                const PromptTokenizer &tokenizer) {
    if (max_length < 2) {
        fail(ErrorKind::usage, "the longest prompt is given as {} tokens; at least 2 are needed",
             max_length);
    }
    TruncatedPrompt truncated;
    truncated.ids = tokenizer.encode(prompt);
    truncated.n_original = truncated.ids.size();
    truncated.is_cut = truncated.n_original > max_length;
    if (!truncated.is_cut) {
        return truncated;
    }
    const auto half = static_cast<std::ptrdiff_t>(max_length / 2);
    const auto decode = [&](auto begin, auto end) {
        std::string text = replace_invalid_utf8(tokenizer.decode(std::vector<int32_t>(begin, end)));
        return tokenizer.cleans_spaces ? clean_up_spaces(std::move(text)) : text;
    };
    const std::vector<int32_t> &ids = truncated.ids;
    const std::string shortened =
        decode(ids.begin(), ids.begin() + half) + decode(ids.end() - half, ids.end());
    truncated.ids = tokenizer.encode(shortened);
    return truncated;
}

std::string clean_up_spaces(std::string text) {
    static const std::pair<const char *, const char *> replacements[] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
        {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto &[from, to] : replacements) {
        text = replace_all(text, from, to);
    }
    return text;
}

Prediction make_prediction(const LongBenchRecord &record, std::string text) {
    return {std::move(text), record.answers, record.all_classes, record.length};
}

std::string prediction_line(const Prediction &prediction) {
    json line;
    line["pred"] = replace_invalid_utf8(prediction.text);
    line["answers"] = prediction.answers;
    line["all_classes"] = prediction.all_classes ? json(*prediction.all_classes) : json(nullptr);
    line["length"] = prediction.length;
    return line.dump();
}

std::vector<Prediction> predictions_in(std::string_view lines, const std::string &path) {
    std::vector<Prediction> predictions;
    for_each_record_in(lines, path, [&](const Record &record) {
        predictions.push_back({record.text("pred"), record.texts("answers"), read_classes(record),
                               record.number("length")});
        return true;
    });
    return predictions;
}

std::vector<Prediction> read_predictions(const std::string &path) {
    return predictions_in(read_text_file(path), path);
}

}  // namespace orthorank
