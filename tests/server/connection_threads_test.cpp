// Threads for connections: as many as there are at once, up to a limit, and used again.
#include "server/connection_threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <set>
#include <stdexcept>

#include "server/server_fixture.h"

namespace orthorank::test {
namespace {

class ConnectionThreadsTest : public testing::Test {
 protected:
    // A task that waits until it may end.
    void enqueue(ConnectionThreads &threads, std::shared_future<void> may_end) {
        threads.enqueue([this, may_end] {
            {
                const std::scoped_lock lock(mutex_);
                ids_.insert(std::this_thread::get_id());
            }
            ++n_begun_;
            may_end.wait();
            ++n_done_;
        });
    }

    std::mutex mutex_;
    std::set<std::thread::id> ids_;
    std::atomic<int> n_begun_ = 0;
    std::atomic<int> n_done_ = 0;
};

TEST_F(ConnectionThreadsTest, BeyondTheLimitOnesWaitAndComeInTheirTurn) {
    ConnectionThreads threads(2);
    std::promise<void> may_end;
    const std::shared_future<void> future = may_end.get_future().share();
    for (int i = 0; i < 3; ++i) {
        enqueue(threads, future);
    }
    ASSERT_TRUE(comes_true([this] { return n_begun_ == 2; }));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_EQ(n_begun_, 2);
    EXPECT_EQ(n_done_, 0);
    may_end.set_value();
    threads.shutdown();
    EXPECT_EQ(n_done_, 3) << "the end waits for all";
    EXPECT_EQ(ids_.size(), 2u);
}

TEST_F(ConnectionThreadsTest, OneAfterTheOtherNeedsFewThreads) {
    ConnectionThreads threads(100);
    std::promise<void> may_end;
    may_end.set_value();
    const std::shared_future<void> future = may_end.get_future().share();
    for (int i = 1; i <= 40; ++i) {
        enqueue(threads, future);
        ASSERT_TRUE(comes_true([&] { return n_done_ == i; }));
    }
    EXPECT_LT(ids_.size(), 20u);
    threads.shutdown();
}

TEST_F(ConnectionThreadsTest, OneThatThrowsEndsAlone) {
    ConnectionThreads threads(1);
    std::promise<void> may_end;
    may_end.set_value();
    threads.enqueue([] { throw std::runtime_error("of one connection"); });
    enqueue(threads, may_end.get_future().share());
    threads.shutdown();
    EXPECT_EQ(n_done_, 1);
}

}  // namespace
}  // namespace orthorank::test
