// Threads for connections, as many as there are connections at once: one that has nothing to do for
// a while ends. cpp-httplib's own pool has as many as there may ever be, from the start, and they
// take turns; each keeps what it frees for itself (malloc's cache of a thread), so that a server
// grows for thousands of requests until all have. Beyond n_max, connections wait for one to end.
//
// Threads: enqueue() and shutdown() are the listening thread's.
#pragma once

#include <httplib.h>

#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace orthorank {

class ConnectionThreads : public httplib::TaskQueue {
 public:
    explicit ConnectionThreads(size_t n_max) : n_max_(n_max) {}

    // Where the system gives no thread, and none is there that would come to it, it is done here.
    // What a task throws ends that task alone.
    void enqueue(std::function<void()> task) override;
    // Waits until all that was given is done.
    void shutdown() override;

 private:
    using Threads = std::list<std::thread>;
    bool start_thread();
    void run(Threads::iterator self);
    void join_ended();

    const size_t n_max_;
    std::mutex mutex_;
    std::condition_variable has_task_;
    std::condition_variable has_ended_;
    std::list<std::function<void()>> waiting_;
    size_t n_idle_ = 0;  // of those running
    bool is_ending_ = false;
    Threads running_;
    Threads ended_;  // not joined yet
};

}  // namespace orthorank
