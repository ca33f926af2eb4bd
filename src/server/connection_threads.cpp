#include "server/connection_threads.h"

#include <chrono>
#include <system_error>
#include <utility>

namespace orthorank {

namespace {

constexpr std::chrono::seconds k_patience{5};  // of a thread without a task

// Whatever a task throws has cost its own connection; out of a thread it would end the process.
void do_task(const std::function<void()> &task) {
    try {
        task();
    } catch (...) {
    }
}

}  // namespace

void ConnectionThreads::enqueue(std::function<void()> task) {
    join_ended();
    std::unique_lock lock(mutex_);
    waiting_.push_back(std::move(task));
    if (waiting_.size() <= n_idle_) {
        has_task_.notify_one();
        return;
    }
    if (running_.size() >= n_max_ || start_thread() || !running_.empty()) {
        return;
    }
    const std::function<void()> here = std::move(waiting_.front());
    waiting_.pop_front();
    lock.unlock();
    do_task(here);
}

// With the mutex held, so that a thread finds its own place in the list.
bool ConnectionThreads::start_thread() {
    const auto self = running_.emplace(running_.end());
    try {
        *self = std::thread([this, self] { run(self); });
    } catch (const std::system_error &) {
        running_.erase(self);
        return false;
    }
    return true;
}

void ConnectionThreads::run(Threads::iterator self) {
    std::unique_lock lock(mutex_);
    const auto is_due = [this] { return !waiting_.empty() || is_ending_; };
    while (true) {
        ++n_idle_;
        has_task_.wait_for(lock, k_patience, is_due);
        --n_idle_;
        if (waiting_.empty()) {
            break;
        }
        std::function<void()> task = std::move(waiting_.front());
        waiting_.pop_front();
        lock.unlock();
        do_task(task);
        task = nullptr;
        lock.lock();
    }
    ended_.splice(ended_.end(), running_, self);
    has_ended_.notify_one();
}

void ConnectionThreads::join_ended() {
    Threads ended;
    {
        const std::scoped_lock lock(mutex_);
        ended.swap(ended_);
    }
    for (std::thread &thread : ended) {
        thread.join();
    }
}

void ConnectionThreads::shutdown() {
    {
        std::unique_lock lock(mutex_);
        is_ending_ = true;
        has_task_.notify_all();
        has_ended_.wait(lock, [this] { return running_.empty(); });
    }
    join_ended();
}

}  // namespace orthorank
