#include "evaluation/sample_log.h"

namespace orthorank {

SampleLog::SampleLog(const std::string &path, const nlohmann::ordered_json &run) {
    log_ = std::make_unique<LineLog>(path, run);
    for (const Sample &sample : samples_in(log_->lines(), path)) {
        samples_.emplace(Key(sample.task, sample.doc, sample.plan), sample);
    }
    n_resumed_ = samples_.size();
    log_->start();
}

const Sample *SampleLog::find(const std::string &task, size_t doc, const std::string &plan) const {
    const auto it = samples_.find(Key(task, doc, plan));
    return it == samples_.end() ? nullptr : &it->second;
}

void SampleLog::add(const Sample &sample) {
    if (samples_.emplace(Key(sample.task, sample.doc, sample.plan), sample).second && log_) {
        log_->append(sample_line(sample));
    }
}

}  // namespace orthorank
