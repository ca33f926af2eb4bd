#include "evaluation/evaluate.h"

#include <algorithm>

#include "base/error.h"
#include "eval/bleu.h"
#include "session/answers.h"

namespace orthorank {

namespace {

// Runs what is missing in the log, batch by batch.
class Evaluation {
 public:
    Evaluation(Engine &engine, std::span<const EvalTask> tasks, std::span<const Plan> plans,
               SampleLog &log, const EvalOptions &options);
    void run();

 private:
    // Where batches of documents begin, and the end of the last.
    std::vector<size_t> batches_of(const EvalTask &task) const;
    void run_batch(const EvalTask &task, size_t first, size_t end);
    bool is_complete(const EvalTask &task, size_t first, size_t end, const Plan &plan) const;
    void choose(const EvalTask &task, size_t first, size_t end, std::span<const Plan> plans);
    void answer(const EvalTask &task, size_t first, size_t end, const Plan &plan);

    Engine &engine_;
    std::span<const EvalTask> tasks_;
    std::span<const Plan> plans_;
    SampleLog &log_;
    const EvalOptions &options_;
    size_t n_done_ = 0;
    size_t n_all_ = 0;
};

Evaluation::Evaluation(Engine &engine, std::span<const EvalTask> tasks, std::span<const Plan> plans,
                       SampleLog &log, const EvalOptions &options)
    : engine_(engine), tasks_(tasks), plans_(plans), log_(log), options_(options) {
    for (const EvalTask &task : tasks) {
        n_all_ += task.size() * plans.size();
    }
}

void Evaluation::run() {
    for (const EvalTask &task : tasks_) {
        const std::vector<size_t> batches = batches_of(task);
        for (size_t b = 0; b + 1 < batches.size(); ++b) {
            run_batch(task, batches[b], batches[b + 1]);
            n_done_ += (batches[b + 1] - batches[b]) * plans_.size();
            if (options_.on_progress) {
                options_.on_progress(n_done_, n_all_, task.name);
            }
        }
    }
}

std::vector<size_t> Evaluation::batches_of(const EvalTask &task) const {
    if (!task.is_generation()) {
        const int n_sequences =
            eval_sequences(std::span(&task, 1), static_cast<int>(options_.n_parallel));
        return choice_batches(task.inputs, n_sequences, options_.choices);
    }
    std::vector<size_t> batches;
    for (size_t first = 0; first < task.size(); first += options_.n_parallel) {
        batches.push_back(first);
    }
    batches.push_back(task.size());
    return batches;
}

// A batch of which anything is missing is run whole: the same shapes give the same bits.
void Evaluation::run_batch(const EvalTask &task, size_t first, size_t end) {
    std::vector<Plan> missing;
    for (const Plan &plan : plans_) {
        if (!is_complete(task, first, end, plan)) {
            missing.push_back(plan);
        }
    }
    if (missing.empty()) {
        return;
    }
    if (!task.is_generation()) {
        choose(task, first, end, missing);
        return;
    }
    for (const Plan &plan : missing) {
        answer(task, first, end, plan);
    }
}

bool Evaluation::is_complete(const EvalTask &task, size_t first, size_t end,
                             const Plan &plan) const {
    for (size_t i = first; i < end; ++i) {
        if (log_.find(task.name, task.doc(i), plan.name) == nullptr) {
            return false;
        }
    }
    return true;
}

void Evaluation::choose(const EvalTask &task, size_t first, size_t end,
                        std::span<const Plan> plans) {
    std::vector<Plan> scored(plans.begin(), plans.end());
    for (Plan &plan : scored) {
        plan.keep_last = ignores_kept_rows(task, plan) ? 0 : plan.keep_last;
    }
    const std::vector<LogLikelihoods> found = choice_log_likelihoods(
        engine_, scored, std::span(task.inputs).subspan(first, end - first), options_.choices);
    for (size_t p = 0; p < plans.size(); ++p) {
        for (size_t i = first; i < end; ++i) {
            log_.add(make_choice_sample(task.name, plans[p].name, task.documents[i],
                                        found[p][i - first]));
        }
    }
}

void Evaluation::answer(const EvalTask &task, size_t first, size_t end, const Plan &plan) {
    AnswerOptions options;
    options.plan = plan;
    options.max_new_tokens = task.max_new_tokens;
    options.stop = task.stop;
    const std::vector<Answer> answers =
        greedy_answers(engine_, std::span(task.prompts).subspan(first, end - first), options);
    for (size_t i = first; i < end; ++i) {
        Sample sample;
        sample.task = task.name;
        sample.doc = task.questions[i].index;
        sample.plan = plan.name;
        sample.completion = cut_completion(answers[i - first].text);
        sample.bleu = bleu_scores(sample.completion,
                                  {task.questions[i].correct, task.questions[i].incorrect});
        log_.add(sample);
    }
}

[[noreturn]] void other_document(const EvalTask &task, size_t doc) {
    fail(ErrorKind::format,
         "the samples file has a document {} of {} that is not the one in {}: name another file",
         doc, task.name, task.files.front());
}

const Sample &sample_of(const SampleLog &log, const EvalTask &task, size_t i, const Plan &plan) {
    const Sample *sample = log.find(task.name, task.doc(i), plan.name);
    CHECK(sample != nullptr);
    const bool fits = task.is_generation()
                          ? sample->log_likelihoods.empty()
                          : sample->log_likelihoods.size() == task.inputs[i].size() &&
                                sample->gold == task.documents[i].gold;
    if (!fits) {
        other_document(task, task.doc(i));
    }
    return *sample;
}

// The metric's value comes first, the others behind it.
std::vector<std::pair<std::string, double>> sample_values(const EvalTask &task, size_t i,
                                                          const Sample &sample) {
    if (task.is_generation()) {
        return {{"bleu_max", sample.bleu.max},
                {"bleu_acc", sample.bleu.acc},
                {"bleu_diff", sample.bleu.diff}};
    }
    const ChoiceScore score = score_choices(task.documents[i], sample.log_likelihoods);
    std::vector<std::pair<std::string, double>> values = {
        {std::string(metric_name(task.metric)), metric_value(score, task.metric)}};
    if (task.metric != Metric::mc2) {
        values.emplace_back("acc", score.acc);
        values.emplace_back("acc_norm", score.acc_norm);
    }
    return values;
}

EvalScore score_of(const SampleLog &log, const EvalTask &task, const Plan &plan) {
    EvalScore score;
    std::vector<std::string> names;
    std::vector<std::vector<double>> others;
    for (size_t i = 0; i < task.size(); ++i) {
        const auto values = sample_values(task, i, sample_of(log, task, i, plan));
        score.values.push_back(values.front().second);
        others.resize(values.size() - 1);
        names.resize(values.size() - 1);
        for (size_t k = 1; k < values.size(); ++k) {
            names[k - 1] = values[k].first;
            others[k - 1].push_back(values[k].second);
        }
    }
    score.value = estimate_mean(score.values);
    for (size_t k = 0; k < names.size(); ++k) {
        score.others.emplace_back(names[k], estimate_mean(others[k]));
    }
    return score;
}

}  // namespace

bool ignores_kept_rows(const EvalTask &task, const Plan &plan) {
    return !task.is_generation() && plan.apply != Apply::prefill && !plan.is_dense() &&
           plan.keep_last > 0;
}

std::vector<EvalScore> evaluate(Engine &engine, std::span<const EvalTask> tasks,
                                std::span<const Plan> plans, SampleLog &log,
                                const EvalOptions &options) {
    Evaluation(engine, tasks, plans, log, options).run();
    std::vector<EvalScore> scores;
    for (size_t t = 0; t < tasks.size(); ++t) {
        for (size_t p = 0; p < plans.size(); ++p) {
            EvalScore score = score_of(log, tasks[t], plans[p]);
            score.task = t;
            score.plan = p;
            const std::vector<double> base =
                p == 0 ? score.values : scores[t * plans.size()].values;
            score.difference = estimate_paired_difference(score.values, base);
            scores.push_back(std::move(score));
        }
    }
    return scores;
}

std::vector<FiveTaskMean> five_task_means(std::span<const EvalTask> tasks, size_t n_plans,
                                          std::span<const EvalScore> scores) {
    std::vector<size_t> five;
    for (const std::string &name : five_task_names()) {
        const auto it = std::find_if(tasks.begin(), tasks.end(),
                                     [&](const EvalTask &task) { return task.name == name; });
        if (it == tasks.end()) {
            return {};
        }
        five.push_back(static_cast<size_t>(it - tasks.begin()));
    }
    std::vector<FiveTaskMean> means;
    for (size_t p = 0; p < n_plans; ++p) {
        std::vector<Estimate> values;
        std::vector<Estimate> differences;
        for (const size_t t : five) {
            values.push_back(scores[t * n_plans + p].value);
            differences.push_back(scores[t * n_plans + p].difference);
        }
        means.push_back({mean_of_tasks(values), mean_of_tasks(differences)});
    }
    return means;
}

}  // namespace orthorank
