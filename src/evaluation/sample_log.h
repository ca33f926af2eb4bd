// The samples of an evaluation (eval/samples.h), in memory and, if wanted, in a file that is
// written as the run goes on and that an interrupted run resumes from. Owned by one thread.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>

#include "eval/samples.h"
#include "evaluation/line_log.h"

namespace orthorank {

class SampleLog {
 public:
    // Keeps samples in memory only.
    SampleLog() = default;
    // Reads what is there and appends from then on. `run` says what the samples depend on; throws
    // as LineLog and samples_in do.
    SampleLog(const std::string &path, const nlohmann::ordered_json &run);

    // nullptr: not there yet.
    const Sample *find(const std::string &task, size_t doc, const std::string &plan) const;
    // A sample that is there already is left as it is.
    void add(const Sample &sample);
    // Samples that were there when the log was opened.
    size_t n_resumed() const { return n_resumed_; }

 private:
    using Key = std::tuple<std::string, size_t, std::string>;

    std::unique_ptr<LineLog> log_;
    std::map<Key, Sample> samples_;
    size_t n_resumed_ = 0;
};

}  // namespace orthorank
