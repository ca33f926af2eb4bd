// LongBench's published scores (THUDM/LongBench, metrics.py and eval.py) of one prediction and of a
// set. Single scores are 0..1, a set's is 0..100. Pure functions, thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/longbench.h"
#include "eval/similarity.h"

namespace orthorank {

// The words that F1 compares: lower case, without ASCII punctuation and the articles a, an, the.
std::vector<std::string> answer_words(std::string_view text);
// F1 over the bags of words of prediction and answer (SQuAD's).
double answer_f1(std::string_view prediction, std::string_view answer);
// 1 / (number of class names found in the prediction) if the answer is among them, else 0; names
// that are part of the answer are taken out of the finds first.
double classification_score(std::string_view prediction, std::string_view answer,
                            const std::vector<std::string> &all_classes);
// The share of the prediction's numbers that equal the answer (count), or the answer's "Paragraph
// N" (retrieval). 0 where there is none.
double count_score(std::string_view prediction, std::string_view answer);
double retrieval_score(std::string_view prediction, std::string_view answer);
// Similarity of the prediction's first line without a backquote, "#" or "//" to the answer.
double code_score(std::string_view prediction, std::string_view answer,
                  Similarity kind = Similarity::difflib);

// What is scored of a prediction: all of it, or its first line after leading newlines.
std::string scored_text(const LongBenchSet &set, std::string_view prediction);
// The best score over the answers. Throws a format Error where the set needs class names and the
// prediction has none.
double longbench_score(const LongBenchSet &set, const Prediction &prediction,
                       Similarity kind = Similarity::difflib);
// read_predictions() of a file that is to be scored as this set. Throws Error{format} also where
// there are none, and naming the line where the set needs class names and a prediction has none.
std::vector<Prediction> read_predictions_of(const LongBenchSet &set, const std::string &path);
// 100 * mean over the predictions, rounded to 2 decimals as Python's round does; 0 for none.
double longbench_set_score(const LongBenchSet &set, const std::vector<Prediction> &predictions,
                           Similarity kind = Similarity::difflib);

}  // namespace orthorank
