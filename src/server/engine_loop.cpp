#include "server/engine_loop.h"

#include <utility>

#include "base/resident_memory.h"

namespace orthorank {

namespace {

// An idle loop looks up so often, for jobs that are late.
constexpr std::chrono::milliseconds k_idle_wait{500};
// So often what dropped graphs left between those in use goes back to the system.
constexpr double k_return_memory_s = 10;

}  // namespace

std::optional<JobEvent> Job::next(std::chrono::milliseconds patience) {
    std::unique_lock lock(mutex_);
    if (!has_event_.wait_for(lock, patience, [this] { return !events_.empty(); })) {
        return {};
    }
    JobEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

void Job::tell(JobEvent event) {
    const std::scoped_lock lock(mutex_);
    events_.push_back(std::move(event));
    has_event_.notify_one();
}

void Job::cancel() {
    is_cancelled_ = true;
}

EngineLoop::EngineLoop(Engine &engine, const LoopOptions &options)
    : engine_(engine), options_(options) {
    session_.emplace(engine_);
    thread_ = std::thread([this] { run(); });
}

EngineLoop::~EngineLoop() {
    {
        const std::scoped_lock lock(mutex_);
        is_stopping_ = true;
        has_work_.notify_one();
    }
    thread_.join();
}

JobPtr EngineLoop::submit(std::vector<Request> requests) {
    const std::scoped_lock lock(mutex_);
    if (is_draining_ || is_stopping_) {
        ++counters_.n_refused;
        throw ApiError(503, "shutting_down", "the server is shutting down");
    }
    const size_t capacity = options_.n_queue + static_cast<size_t>(engine_.options().n_sequences);
    if (static_cast<size_t>(counters_.n_jobs_now) >= capacity) {
        ++counters_.n_refused;
        throw ApiError(429, "queue_full",
                       fmt::format("{} requests are running or waiting: try again later",
                                   counters_.n_jobs_now.load()));
    }
    auto job = std::make_shared<Job>();
    job->requests_ = std::move(requests);
    job->running_.resize(job->requests_.size());
    arrived_.push_back(job);
    ++counters_.n_jobs;
    ++counters_.n_jobs_now;
    has_work_.notify_one();
    return job;
}

void EngineLoop::drain() {
    const std::scoped_lock lock(mutex_);
    is_draining_ = true;
}

void EngineLoop::abort(const ApiError &error) {
    const std::scoped_lock lock(mutex_);
    abort_with_ = error;
    has_work_.notify_one();
}

void EngineLoop::run() {
    while (take_work()) {
        try {
            end_unwanted();
            start_requests();
            run_step();
        } catch (const std::exception &error) {
            // A mistake of ours: nobody's request is known to be sound any more, the model is.
            session_.reset();
            session_.emplace(engine_);
            fail_all(ApiError(500, "internal_error", fmt::format("a bug: {}", error.what())));
        }
        counters_.n_sequences_now = engine_.options().n_sequences - engine_.n_free_sequences();
        if (since_memory_returned_.elapsed_s() > k_return_memory_s) {
            return_freed_memory();
            since_memory_returned_.restart();
        }
    }
    session_.reset();
}

bool EngineLoop::take_work() {
    std::unique_lock lock(mutex_);
    const auto is_due = [this] {
        return is_stopping_ || abort_with_ || !arrived_.empty() || !jobs_.empty();
    };
    has_work_.wait_for(lock, k_idle_wait, is_due);
    jobs_.insert(jobs_.end(), arrived_.begin(), arrived_.end());
    arrived_.clear();
    const std::optional<ApiError> error = std::exchange(abort_with_, std::nullopt);
    const bool goes_on = !is_stopping_;
    lock.unlock();
    if (error) {
        fail_all(*error);
    } else if (!goes_on) {
        fail_all(ApiError(503, "shutting_down", "the server has stopped"));
    }
    return goes_on;
}

// Of clients that went away, and of those that waited too long.
void EngineLoop::end_unwanted() {
    for (const JobPtr &job : jobs_) {
        if (job->is_cancelled_) {
            ++counters_.n_cancelled;
            end_job(*job, {});
        } else if (job->age_.elapsed_s() > options_.timeout_s) {
            end_job(*job, ApiError(504, "timeout",
                                   fmt::format("the request was not done within {:g} s",
                                               options_.timeout_s)));
        }
    }
    jobs_.remove_if([](const JobPtr &job) { return job->is_over_; });
}

void EngineLoop::start_requests() {
    // Once round without a request to start, and there is none.
    size_t n_tried = 0;
    while (engine_.n_free_sequences() > 0 && n_tried < jobs_.size()) {
        const JobPtr job = jobs_.front();
        jobs_.splice(jobs_.end(), jobs_, jobs_.begin());
        n_tried = start_next_of(job) ? 0 : n_tried + 1;
    }
    jobs_.remove_if([](const JobPtr &job) { return job->is_over_; });
}

bool EngineLoop::start_next_of(const JobPtr &job) {
    if (job->is_over_ || job->n_started_ == job->requests_.size()) {
        return false;
    }
    const size_t index = job->n_started_++;
    try {
        const RequestId id = session_->submit(job->requests_[index]);
        job->running_[index] = id;
        owners_[id] = {job, index};
    } catch (const Error &error) {
        end_job(*job, refusal_of(error.kind(), error.what()));
    } catch (const std::bad_alloc &) {
        end_job(*job, failure_of(ErrorKind::limit, "no memory"));
    }
    return true;
}

void EngineLoop::run_step() {
    if (owners_.empty()) {
        return;
    }
    ++counters_.n_steps;
    for (Event &event : session_->step()) {
        deliver(std::move(event));
    }
    jobs_.remove_if([](const JobPtr &job) { return job->is_over_; });
}

void EngineLoop::deliver(Event event) {
    const auto found = owners_.find(event.request);
    if (found == owners_.end()) {
        return;  // its job ended with an earlier event of the same step
    }
    const Owner owner = found->second;
    Job &job = *owner.job;
    if (event.kind == Event::Kind::failed) {
        owners_.erase(found);
        job.running_[owner.index] = 0;
        end_job(job, failure_of(event.error, event.message));
        return;
    }
    const bool is_finished = event.kind == Event::Kind::finished;
    if (is_finished) {
        owners_.erase(found);
        job.running_[owner.index] = 0;
        count(event.result, static_cast<int64_t>(job.requests_[owner.index].tokens.size()));
    }
    job.tell({owner.index, std::move(event), {}});
    const bool is_running =
        std::any_of(job.running_.begin(), job.running_.end(), [](RequestId id) { return id != 0; });
    if (is_finished && !is_running && job.n_started_ == job.requests_.size()) {
        end_job(job, {});
    }
}

void EngineLoop::end_job(Job &job, std::optional<ApiError> error) {
    if (std::exchange(job.is_over_, true)) {
        return;
    }
    for (const RequestId id : job.running_) {
        if (id != 0) {
            session_->cancel(id);
            owners_.erase(id);
        }
    }
    if (error) {
        ++counters_.n_failed;
        job.tell({0, {}, std::move(error)});
    }
    --counters_.n_jobs_now;
}

void EngineLoop::fail_all(const ApiError &error) {
    for (const JobPtr &job : jobs_) {
        end_job(*job, error);
    }
    jobs_.clear();
    owners_.clear();
}

void EngineLoop::count(const RequestResult &result, int64_t n_prompt) {
    counters_.n_prompt_tokens += n_prompt;
    counters_.n_new_tokens += static_cast<int64_t>(result.tokens.size());
    counters_.n_rows_offered += result.n_rows_offered;
    counters_.n_rows_computed += result.n_rows_computed;
    counters_.prefill_s = counters_.prefill_s + result.prefill_s;
    counters_.decode_s = counters_.decode_s + result.decode_s;
}

}  // namespace orthorank
