// The one thread that runs the engine: jobs in, events out. A job is what one client asked for: one
// or more requests of a session. Jobs wait in a queue of bounded length and take free sequences in
// turns, one request at a time, so that a job of many requests does not keep others from starting.
// A job that is cancelled, late or wrong ends by itself; the others do not see it.
//
// Threads: submit(), cancel(), next() and the counters may be used by any; the engine belongs to
// the loop's own thread until the loop is destroyed.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/stopwatch.h"
#include "server/api_error.h"
#include "session/session.h"

namespace orthorank {

struct LoopOptions {
    size_t n_queue = 64;     // jobs that wait while all sequences are busy; beyond: 429
    double timeout_s = 600;  // from a job's arrival to its end
};

// What became of one request of a job, or of all that are left of it.
struct JobEvent {
    size_t index = 0;               // of the request in its job
    Event event;                    // Kind::token or Kind::finished
    std::optional<ApiError> error;  // instead of the event, and the last one of the job
};

class EngineLoop;

class Job {
 public:
    // The next event, or nothing when none comes in this time.
    std::optional<JobEvent> next(std::chrono::milliseconds patience);
    // Nobody waits for it any more: it ends before the engine's next graph.
    void cancel();

 private:
    friend class EngineLoop;
    void tell(JobEvent event);

    std::mutex mutex_;
    std::condition_variable has_event_;
    std::deque<JobEvent> events_;
    std::atomic<bool> is_cancelled_ = false;
    // What follows belongs to the loop's thread.
    std::vector<Request> requests_;
    std::vector<RequestId> running_;
    size_t n_started_ = 0;
    bool is_over_ = false;
    Stopwatch age_;
};

using JobPtr = std::shared_ptr<Job>;

// Numbers that only grow, but for the last two.
struct LoopCounters {
    std::atomic<int64_t> n_jobs = 0;
    std::atomic<int64_t> n_refused = 0;    // queue full or draining
    std::atomic<int64_t> n_cancelled = 0;  // clients that went away
    std::atomic<int64_t> n_failed = 0;     // errors told to clients after they were taken
    std::atomic<int64_t> n_prompt_tokens = 0;
    std::atomic<int64_t> n_new_tokens = 0;
    std::atomic<int64_t> n_rows_offered = 0;
    std::atomic<int64_t> n_rows_computed = 0;
    std::atomic<int64_t> n_steps = 0;
    std::atomic<double> prefill_s = 0;
    std::atomic<double> decode_s = 0;
    std::atomic<int64_t> n_jobs_now = 0;       // taken and not over
    std::atomic<int64_t> n_sequences_now = 0;  // in use
};

class EngineLoop {
 public:
    // Starts the thread. The engine must outlive this.
    EngineLoop(Engine &engine, const LoopOptions &options);
    ~EngineLoop();
    EngineLoop(const EngineLoop &) = delete;
    EngineLoop &operator=(const EngineLoop &) = delete;

    // Takes the requests of one client. Throws ApiError: 429 when the queue is full, 503 once it
    // drains.
    JobPtr submit(std::vector<Request> requests);
    // No more jobs are taken.
    void drain();
    // Is nothing taken that is not over?
    bool is_idle() const { return counters_.n_jobs_now == 0; }
    // All jobs end with this error.
    void abort(const ApiError &error);
    const LoopCounters &counters() const { return counters_; }

 private:
    friend class Job;
    struct Owner {
        JobPtr job;
        size_t index = 0;
    };

    void run();
    // Waits until there is something to do and takes what was submitted; false: to end.
    bool take_work();
    void end_unwanted();
    void start_requests();
    bool start_next_of(const JobPtr &job);
    void run_step();
    void deliver(Event event);
    void end_job(Job &job, std::optional<ApiError> error);
    void fail_all(const ApiError &error);
    void count(const RequestResult &result, int64_t n_prompt);

    Engine &engine_;
    LoopOptions options_;
    LoopCounters counters_;

    std::mutex mutex_;
    std::condition_variable has_work_;
    std::vector<JobPtr> arrived_;
    std::optional<ApiError> abort_with_;
    bool is_draining_ = false;
    bool is_stopping_ = false;

    // What follows belongs to the loop's thread.
    std::optional<Session> session_;
    std::list<JobPtr> jobs_;  // the next to start a request first
    std::map<RequestId, Owner> owners_;
    Stopwatch since_memory_returned_;
    std::thread thread_;
};

}  // namespace orthorank
