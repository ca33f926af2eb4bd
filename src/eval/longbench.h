// LongBench v1 (Bai et al. 2023), the 16 English and code sets: what each set is, its records, its
// prompts and the file of predictions. Scores are in longbench_scores.h. Thread-safe as far as the
// given tokenizer is; the errors are those of documents.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

enum class LongBenchMetric { f1, rouge_l, classification, count, retrieval, code };

struct LongBenchSet {
    std::string_view name;
    std::string_view label;  // the paper's short name (Table 8)
    size_t n_records;        // of the published test split
    size_t max_new_tokens;
    bool is_first_line_only;  // what is scored: the first line of the prediction
    bool stops_at_newline;    // SAMSum: a newline token ends the answer, but not as its first token
    LongBenchMetric metric;
    std::string_view prompt;  // with {context} and {input}
};

// All 16 in the paper's order; one by name (throws: unknown, listing the known).
const std::vector<LongBenchSet> &longbench_sets();
const LongBenchSet &longbench_set(std::string_view name);

struct LongBenchRecord {
    size_t index = 0;  // place in the file, from 0
    std::string input;
    std::string context;
    std::vector<std::string> answers;
    std::optional<std::vector<std::string>> all_classes;  // TREC only
    size_t length = 0;                                    // words, as published
    std::string id;
};

struct LongBenchData {
    std::string file;
    std::string hash;         // of the file's bytes
    bool is_complete = true;  // whether it has as many records as the published split
    std::vector<LongBenchRecord> records;
};
// Looks below `data_dir` for longbench/NAME.jsonl, data/NAME.jsonl, NAME.jsonl, then for the start
// of a set, longbench/NAME.firstN.jsonl.
LongBenchData read_longbench(const LongBenchSet &set, const std::string &data_dir);

// The set's prompt for a record: one pass, braces inside the values are not expanded.
std::string fill_prompt(const LongBenchSet &set, const LongBenchRecord &record);

// The tokenizer as the benchmark uses it: encode with the model's default special tokens (BOS where
// the model has one), decode without special tokens. decode may return half a character.
struct PromptTokenizer {
    std::function<std::vector<int32_t>(const std::string &)> encode;
    std::function<std::string(const std::vector<int32_t> &)> decode;
    bool cleans_spaces = false;  // tokenizer.json's clean_up_tokenization_spaces
};

struct TruncatedPrompt {
    std::vector<int32_t> ids;  // what the model reads
    size_t n_original = 0;     // ids before the middle was cut out
    bool is_cut = false;
};
// If the prompt has more than max_length ids, the text of the first and the text of the last
// max_length / 2 ids, joined, are encoded again (so the result may differ from max_length by a few
// ids). A character that the cut splits becomes U+FFFD, as in the benchmark: no half character
// reaches the tokenizer. Throws usage if max_length < 2.
TruncatedPrompt truncate_middle(const std::string &prompt, size_t max_length,
                                const PromptTokenizer &tokenizer);

// What decoders with clean_up_tokenization_spaces do at the end: " ." to ".", " n't" to "n't", ...
std::string clean_up_spaces(std::string text);

// One line of the file of predictions that the benchmark's own eval.py reads.
struct Prediction {
    std::string text;
    std::vector<std::string> answers;
    std::optional<std::vector<std::string>> all_classes;
    size_t length = 0;
};
Prediction make_prediction(const LongBenchRecord &record, std::string text);
// {"pred": ..., "answers": [...], "all_classes": [...] or null, "length": ...}, no line end.
std::string prediction_line(const Prediction &prediction);
std::vector<Prediction> read_predictions(const std::string &path);

// Those of a file's lines; `path` is for messages.
std::vector<Prediction> predictions_in(std::string_view lines, const std::string &path);

}  // namespace orthorank
