// Evaluation documents, read from data sets as their authors publish them (docs/evaluation.md has
// the table of files) and laid out as lm-evaluation-harness 0.4 lays them out, zero-shot. The
// caller owns what is returned; nothing here is shared, so all of it is thread-safe. Everything
// throws Error: usage for an unknown task or document, file for a missing file (naming every place
// that was looked at), format for a bad record (naming file and line).
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// What a task reports. bleu_max belongs to the generation task only.
enum class Metric { acc, acc_norm, mc2, bleu_max };
std::string_view metric_name(Metric metric);

// A model scores how likely the continuation is after the context. The continuation begins with
// the blank that parts the two.
struct TextPair {
    std::string context;
    std::string continuation;
};

// One question with its choices.
struct ChoiceDocument {
    size_t index = 0;             // place in the file, from 0
    std::vector<TextPair> pairs;  // one for each choice
    // Unicode characters of each choice, without the blank before it: what acc_norm divides by.
    std::vector<size_t> choice_characters;
    size_t gold = 0;          // the right choice; the first of them in truthfulqa-mc2
    std::vector<int> labels;  // 1 for each right choice, else 0
};

struct MultipleChoiceTask {
    std::string name;
    Metric metric = Metric::acc;
    std::vector<std::string> files;  // read for it
    std::vector<ChoiceDocument> documents;
};

// One question that the model answers in its own words (TruthfulQA).
struct GenerationDocument {
    size_t index = 0;
    std::string prompt;
    std::vector<std::string> correct;  // references, formatted (bleu.h)
    std::vector<std::string> incorrect;
};

struct GenerationTask {
    std::string name;
    Metric metric = Metric::bleu_max;
    size_t max_new_tokens = 256;
    std::string stop = "\n\n";  // ends the answer and is cut off
    std::vector<std::string> files;
    std::vector<GenerationDocument> documents;
};

// Every known task: piqa, winogrande, hellaswag, arc-easy, arc-challenge, truthfulqa-mc1,
// truthfulqa-mc2 and truthfulqa-gen, in this order.
const std::vector<std::string> &task_names();
// The five of the paper's Tables 2 and 7, whose plain mean is the tables' last column.
const std::vector<std::string> &five_task_names();
// Whether a known task is answered by generation; throws for an unknown name.
bool is_generation_task(std::string_view name);

// Reads all documents of a task from below `data_dir`. The name is of the matching kind.
MultipleChoiceTask read_choice_task(std::string_view name, const std::string &data_dir);
GenerationTask read_generation_task(std::string_view name, const std::string &data_dir);

// The indices of the documents to evaluate, of n in the file: the listed ones ("3,17,20-25",
// sorted, each once), else all; then at most the first `limit` of them.
std::vector<size_t> chosen_documents(size_t n_documents, std::string_view list,
                                     std::optional<size_t> limit);

// HellaSwag's cleaning (evaluation of rowanz/hellaswag in the harness): strip, " [title]" becomes
// ". ", bracketed tags go, each two spaces become one in a single pass.
std::string clean_hellaswag(std::string_view text);

}  // namespace orthorank
