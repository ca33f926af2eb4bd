// Reading and encoding of evaluation tasks (evaluation/evaluate.h).
#include <algorithm>

#include "base/error.h"
#include "base/fnv1a.h"
#include "evaluation/evaluate.h"

namespace orthorank {

namespace {

template <typename Document>
std::vector<Document> keep_chosen(const std::vector<Document> &all,
                                  const TaskSelection &selection) {
    std::vector<Document> chosen;
    for (const size_t index : chosen_documents(all.size(), selection.docs, selection.limit)) {
        chosen.push_back(all[index]);
    }
    return chosen;
}

std::optional<int32_t> empty_context(const Vocab &vocab) {
    const int32_t id = vocab.bos() >= 0 ? vocab.bos() : vocab.eos();
    return id >= 0 ? std::optional<int32_t>(id) : std::nullopt;
}

// The harness whose numbers these are compared with leaves BOS out, unless a model needs it.
bool needs_bos(const Vocab &vocab) {
    return vocab.window_start().has_value();
}

[[noreturn]] void too_long(const EvalTask &task, size_t doc, size_t n, size_t max_length) {
    fail(ErrorKind::limit,
         "{}: document {} has {} tokens, the context only {}: leave it out with --docs", task.name,
         doc, n, max_length);
}

// A document for messages, with the file that it is from.
std::string place_of(const EvalTask &task, size_t doc) {
    return fmt::format("{}: document {} (from 0)", task.files.front(), doc);
}

void encode_choices(EvalTask &task, const Vocab &vocab, size_t max_length) {
    const Tokenize tokenize = [&](const std::string &text) {
        return vocab.tokenize(text, needs_bos(vocab));
    };
    for (const ChoiceDocument &document : task.documents) {
        DocumentInputs inputs;
        for (const TextPair &pair : document.pairs) {
            // Nothing is cut: a document that does not fit is an error, not a lower score.
            inputs.push_back(at_place(place_of(task, document.index), [&] {
                return make_scoring_input(pair, tokenize, SIZE_MAX - 1, empty_context(vocab));
            }));
            if (inputs.back().ids.size() > max_length) {
                too_long(task, document.index, inputs.back().ids.size(), max_length);
            }
        }
        task.inputs.push_back(std::move(inputs));
    }
}

void encode_questions(EvalTask &task, const Vocab &vocab, size_t max_length) {
    for (const GenerationDocument &question : task.questions) {
        task.prompts.push_back(at_place(place_of(task, question.index), [&] {
            return vocab.tokenize(question.prompt, needs_bos(vocab));
        }));
        const size_t n = task.prompts.back().size() + task.max_new_tokens;
        if (n > max_length) {
            too_long(task, question.index, n, max_length);
        }
    }
}

void add_texts(Fnv1a &hash, const std::vector<std::string> &texts) {
    hash.integer(static_cast<int64_t>(texts.size()));
    for (const std::string &text : texts) {
        hash.text(text);
    }
}

void add_ids(Fnv1a &hash, const std::vector<int32_t> &ids) {
    hash.integer(static_cast<int64_t>(ids.size()));
    hash.bytes(ids.data(), ids.size() * sizeof(int32_t));
}

std::string hash_of(const EvalTask &task) {
    Fnv1a hash;
    for (size_t i = 0; i < task.documents.size(); ++i) {
        const ChoiceDocument &document = task.documents[i];
        hash.integer(static_cast<int64_t>(document.index));
        for (size_t c = 0; c < document.pairs.size(); ++c) {
            hash.text(document.pairs[c].context);
            hash.text(document.pairs[c].continuation);
            hash.integer(document.labels[c]);
            add_ids(hash, task.inputs[i][c].ids);
        }
        hash.integer(static_cast<int64_t>(document.gold));
    }
    for (size_t i = 0; i < task.questions.size(); ++i) {
        hash.integer(static_cast<int64_t>(task.questions[i].index));
        add_ids(hash, task.prompts[i]);
        add_texts(hash, task.questions[i].correct);
        add_texts(hash, task.questions[i].incorrect);
    }
    return hash.hex();
}

}  // namespace

EvalTask read_eval_task(const std::string &name, const TaskSelection &selection, const Vocab &vocab,
                        size_t max_length) {
    EvalTask task;
    task.name = name;
    if (is_generation_task(name)) {
        const GenerationTask read = read_generation_task(name, selection.data_dir);
        task.metric = read.metric;
        task.files = read.files;
        task.max_new_tokens = read.max_new_tokens;
        task.stop = read.stop;
        task.questions = keep_chosen(read.documents, selection);
        encode_questions(task, vocab, max_length);
    } else {
        const MultipleChoiceTask read = read_choice_task(name, selection.data_dir);
        task.metric = read.metric;
        task.files = read.files;
        task.documents = keep_chosen(read.documents, selection);
        encode_choices(task, vocab, max_length);
    }
    if (task.size() == 0) {
        fail(ErrorKind::usage, "{}: no document to evaluate", name);
    }
    task.hash = hash_of(task);
    return task;
}

int eval_context(std::span<const EvalTask> tasks) {
    size_t n_ctx = 1;
    for (const EvalTask &task : tasks) {
        n_ctx = std::max(n_ctx, longest_input(task.inputs));
        for (const std::vector<int32_t> &prompt : task.prompts) {
            n_ctx = std::max(n_ctx, prompt.size() + task.max_new_tokens);
        }
    }
    return static_cast<int>(n_ctx);
}

int eval_sequences(std::span<const EvalTask> tasks, int n_parallel) {
    size_t n = static_cast<size_t>(n_parallel);
    for (const EvalTask &task : tasks) {
        n = std::max(n, most_choices(task.inputs));
    }
    return static_cast<int>(n);
}

}  // namespace orthorank
