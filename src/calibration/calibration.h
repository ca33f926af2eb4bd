// Calibration text: files become the windows of tokens whose loss decides which layers a plan
// changes (docs/layer-selection.md). Three protocols: plain windows of a stream, SLEB's shuffled
// rows, Shortened LLaMA's crops. Pure functions of the files and the vocabulary. They throw
// Error{file}, Error{format}, and Error{limit} when there is not one window in the text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "evaluation/windows.h"
#include "model/vocab.h"

namespace orthorank {

enum class CalibrationProtocol {
    windows,  // each file one stream, cut into windows
    sleb,     // 128 rows of a file, shuffled with seed 0, joined by blank lines, cut into windows
    crops,    // 10 crops of 128 tokens at random places of random rows
};

// "windows", "sleb" or "crops". Throws Error{usage} that lists them.
CalibrationProtocol calibration_protocol_from_name(std::string_view name);
const char *calibration_protocol_name(CalibrationProtocol protocol);

struct CalibrationOptions {
    std::vector<std::string> files;  // raw text, or JSON Lines (*.jsonl, *.json)
    std::string field = "text";      // of JSON Lines
    CalibrationProtocol protocol = CalibrationProtocol::windows;
    int seqlen = 0;          // tokens in a window; 0: 2048, crops 128
    int stride = 0;          // a window starts every so many tokens; 0: seqlen
    int n_windows = 0;       // of each file at most; 0: all, crops 10
    int n_continuation = 0;  // the last tokens of each window that are its targets; 0: all but one
    int n_retrieval = 0;     // windows added that ask for a number (calibration/retrieval.h)
};

struct Calibration {
    Windows windows;
    std::vector<size_t> n_windows_of_file;
    int64_t n_tokens = 0;  // of the text that the windows were cut from
    // What is recorded in plans: files, protocol, seqlen, stride, windows, tokens, a hash of them.
    nlohmann::ordered_json description;
};

Calibration read_calibration(const CalibrationOptions &options, const Vocab &vocab);

// The rows of a window's prompt, of all its tokens without a continuation.
int n_prompt_rows(const CalibrationOptions &options);

// Throws Error{limit} that says how many windows each file has, unless they all have as many.
void check_equal_parts(const Calibration &calibration);

// The rows of a file: the texts of JSON Lines; of raw text its lines with their line ends, those
// of white space alone as empty rows.
std::vector<std::string> read_rows(const std::string &path, const std::string &field = "text");

// SLEB's text: the first 128 rows after a shuffle with seed 0, joined by "\n\n".
std::string sleb_text(const std::vector<std::string> &rows);

}  // namespace orthorank
