// The readers of the single data sets, one function a form; documents.cpp chooses among them. Each
// takes the path of the file it reads. Throws Error as documents.h says. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "eval/documents.h"

namespace orthorank {

// A multiple-choice document: one context, " " + choice as the continuations, one right choice.
ChoiceDocument make_choice_document(size_t index, const std::string &context,
                                    const std::vector<std::string> &choices, size_t gold);

// PIQA: goal, sol1, sol2 a line; labels (0 or 1) a line in `labels_path`.
std::vector<ChoiceDocument> read_piqa(const std::string &path, const std::string &labels_path);
// WinoGrande: sentence with "_", option1, option2, answer "1" or "2". The pairs differ in their
// contexts and share the continuation (partial evaluation).
std::vector<ChoiceDocument> read_winogrande(const std::string &path);
// ARC: question.stem, question.choices [{text, label}], answerKey.
std::vector<ChoiceDocument> read_arc(const std::string &path);
// HellaSwag as published: activity_label, ctx_a, ctx_b, endings, label; cleaned.
std::vector<ChoiceDocument> read_hellaswag(const std::string &path);
// HellaSwag preprocessed: six lines an item (context, label, four endings), used as they are.
std::vector<ChoiceDocument> read_hellaswag_text(const std::string &path);
// TruthfulQA multiple choice: mc_task.json, the choices in the order of the file's keys.
// `targets` is "mc1_targets" or "mc2_targets".
std::vector<ChoiceDocument> read_truthfulqa_choices(const std::string &path, const char *targets);
// TruthfulQA generation: TruthfulQA.csv.
std::vector<GenerationDocument> read_truthfulqa_generation(const std::string &path);

}  // namespace orthorank
