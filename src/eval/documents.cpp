#include "eval/documents.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "eval/readers.h"
#include "eval/records.h"

namespace orthorank {

namespace {

using Names = std::vector<std::string>;

struct TaskForm {
    std::string name;
    Metric metric;
    Names files;  // looked for in this order below the data directory
};

const std::vector<TaskForm> &task_forms() {
    static const Names k_choices{"truthfulqa/mc_task.json", "TruthfulQA/data/mc_task.json",
                                 "mc_task.json"};
    static const std::vector<TaskForm> forms{
        {"piqa",
         Metric::acc_norm,
         {"piqa/valid.jsonl", "piqa/data/valid.jsonl", "physicaliqa-train-dev/dev.jsonl",
          "valid.jsonl"}},
        {"winogrande",
         Metric::acc,
         {"winogrande/dev.jsonl", "winogrande_1.1/dev.jsonl",
          "winogrande/winogrande_xl-validation.jsonl", "winogrande_xl-validation.jsonl"}},
        {"hellaswag",
         Metric::acc_norm,
         {"hellaswag/hellaswag_val.jsonl", "hellaswag/data/hellaswag_val.jsonl",
          "hellaswag_val.jsonl", "hellaswag/hellaswag_val_full.txt", "hellaswag_val_full.txt"}},
        {"arc-easy",
         Metric::acc_norm,
         {"arc/ARC-Easy-Test.jsonl", "ARC-V1-Feb2018-2/ARC-Easy/ARC-Easy-Test.jsonl",
          "ARC-Easy/ARC-Easy-Test.jsonl", "ARC-Easy-Test.jsonl"}},
        {"arc-challenge",
         Metric::acc_norm,
         {"arc/ARC-Challenge-Test.jsonl", "ARC-V1-Feb2018-2/ARC-Challenge/ARC-Challenge-Test.jsonl",
          "ARC-Challenge/ARC-Challenge-Test.jsonl", "ARC-Challenge-Test.jsonl"}},
        {"truthfulqa-mc1", Metric::acc, k_choices},
        {"truthfulqa-mc2", Metric::mc2, k_choices},
        {"truthfulqa-gen",
         Metric::bleu_max,
         {"truthfulqa/TruthfulQA.csv", "TruthfulQA/TruthfulQA.csv", "TruthfulQA.csv"}},
    };
    return forms;
}

const TaskForm &form_of(std::string_view name) {
    for (const TaskForm &form : task_forms()) {
        if (form.name == name) {
            return form;
        }
    }
    fail(ErrorKind::usage, "unknown task '{}' (known: {})", name, fmt::join(task_names(), ", "));
}

// "dir/valid.jsonl" has its labels in "dir/valid-labels.lst", "dir/dev.jsonl" in "dev-labels.lst".
std::string piqa_labels_path(const std::string &path) {
    const std::filesystem::path records(path);
    return find_data_file(records.parent_path().string(), {records.stem().string() + "-labels.lst"},
                          "PIQA labels");
}

std::vector<ChoiceDocument> read_documents(const TaskForm &form, const std::string &path,
                                           Names &files) {
    if (form.name == "piqa") {
        files.push_back(piqa_labels_path(path));
        return read_piqa(path, files.back());
    }
    if (form.name == "winogrande") {
        return read_winogrande(path);
    }
    if (form.name == "hellaswag") {
        return path.ends_with(".txt") ? read_hellaswag_text(path) : read_hellaswag(path);
    }
    if (form.name.starts_with("truthfulqa")) {
        return read_truthfulqa_choices(
            path, form.name == "truthfulqa-mc1" ? "mc1_targets" : "mc2_targets");
    }
    return read_arc(path);
}

size_t parse_index(std::string_view text, std::string_view list) {
    size_t index = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), index);
    if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size()) {
        fail(ErrorKind::usage,
             "'{}' in the document list '{}' is not an index (expected such as 3,17,20-25)", text,
             list);
    }
    return index;
}

std::set<size_t> parse_indices(std::string_view list, size_t n_documents) {
    std::set<size_t> indices;
    for (size_t begin = 0; begin <= list.size();) {
        const size_t end = std::min(list.find(',', begin), list.size());
        const std::string_view item = list.substr(begin, end - begin);
        const size_t dash = item.find('-');
        const size_t first = parse_index(item.substr(0, dash), list);
        const size_t last =
            dash == std::string_view::npos ? first : parse_index(item.substr(dash + 1), list);
        if (last < first) {
            fail(ErrorKind::usage, "'{}' in the document list runs backwards", item);
        }
        if (last >= n_documents) {
            fail(ErrorKind::usage, "there is no document {}: the file has {}, from 0", last,
                 n_documents);
        }
        for (size_t index = first; index <= last; index++) {
            indices.insert(index);
        }
        begin = end + 1;
    }
    return indices;
}

}  // namespace

std::string_view metric_name(Metric metric) {
    switch (metric) {
        case Metric::acc:
            return "acc";
        case Metric::acc_norm:
            return "acc_norm";
        case Metric::mc2:
            return "mc2";
        case Metric::bleu_max:
            return "bleu_max";
    }
    check_failed("unknown metric", __FILE__, __LINE__);
}

const std::vector<std::string> &task_names() {
    static const std::vector<std::string> names = [] {
        std::vector<std::string> all;
        for (const TaskForm &form : task_forms()) {
            all.push_back(form.name);
        }
        return all;
    }();
    return names;
}

const std::vector<std::string> &five_task_names() {
    static const std::vector<std::string> names{"piqa", "winogrande", "hellaswag", "arc-easy",
                                                "arc-challenge"};
    return names;
}

bool is_generation_task(std::string_view name) {
    return form_of(name).metric == Metric::bleu_max;
}

MultipleChoiceTask read_choice_task(std::string_view name, const std::string &data_dir) {
    const TaskForm &form = form_of(name);
    CHECK(form.metric != Metric::bleu_max);
    MultipleChoiceTask task{form.name, form.metric, {}, {}};
    const std::string path =
        find_data_file(data_dir, form.files, fmt::format("data for task {}", name));
    task.files.push_back(path);
    task.documents = read_documents(form, path, task.files);
    if (task.documents.empty()) {
        fail(ErrorKind::format, "{}: no documents in it", path);
    }
    return task;
}

GenerationTask read_generation_task(std::string_view name, const std::string &data_dir) {
    const TaskForm &form = form_of(name);
    CHECK(form.metric == Metric::bleu_max);
    GenerationTask task;
    task.name = form.name;
    task.files.push_back(
        find_data_file(data_dir, form.files, fmt::format("data for task {}", name)));
    task.documents = read_truthfulqa_generation(task.files.front());
    if (task.documents.empty()) {
        fail(ErrorKind::format, "{}: no documents in it", task.files.front());
    }
    return task;
}

std::vector<size_t> chosen_documents(size_t n_documents, std::string_view list,
                                     std::optional<size_t> limit) {
    if (limit && *limit == 0) {
        fail(ErrorKind::usage, "a limit of 0 documents leaves nothing to evaluate");
    }
    std::vector<size_t> chosen;
    if (list.empty()) {
        for (size_t index = 0; index < n_documents; index++) {
            chosen.push_back(index);
        }
    } else {
        const std::set<size_t> indices = parse_indices(list, n_documents);
        chosen.assign(indices.begin(), indices.end());
    }
    if (limit && *limit < chosen.size()) {
        chosen.resize(*limit);
    }
    return chosen;
}

}  // namespace orthorank
