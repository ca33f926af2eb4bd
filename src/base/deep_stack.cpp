#include "base/deep_stack.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <exception>
#include <vector>

#include "base/error.h"

namespace orthorank {

namespace {

// Memory for a stack, its lowest page closed: running over the end faults and harms nothing else.
class StackMemory {
 public:
    explicit StackMemory(size_t n_bytes) {
        n_bytes_ = (n_bytes + page_ - 1) / page_ * page_ + page_;
        memory_ = ::mmap(nullptr, n_bytes_, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
        if (memory_ == MAP_FAILED) {
            fail(ErrorKind::limit, "no address space for a stack of {} bytes", n_bytes);
        }
        ::mprotect(memory_, page_, PROT_NONE);
        ::madvise(memory_, n_bytes_, MADV_NOHUGEPAGE);  // a huge page would cost what it holds
    }
    ~StackMemory() { ::munmap(memory_, n_bytes_); }
    StackMemory(const StackMemory &) = delete;
    StackMemory &operator=(const StackMemory &) = delete;

    void *lowest() const { return static_cast<char *>(memory_) + page_; }
    size_t size() const { return n_bytes_ - page_; }

    // From the first page in memory to the upper end: a stack grows down.
    size_t n_used() const {
        std::vector<unsigned char> is_there(size() / page_);
        if (::mincore(lowest(), size(), is_there.data()) != 0) {
            return size();
        }
        const auto first = std::find_if(is_there.begin(), is_there.end(),
                                        [](unsigned char page) { return (page & 1) != 0; });
        return static_cast<size_t>(is_there.end() - first) * page_;
    }

 private:
    size_t page_ = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    size_t n_bytes_ = 0;
    void *memory_ = nullptr;
};

struct Job {
    const std::function<void()> &work;
    std::exception_ptr error;
};

void *run_job(void *argument) {
    Job &job = *static_cast<Job *>(argument);
    try {
        job.work();
    } catch (...) {
        job.error = std::current_exception();
    }
    return nullptr;
}

}  // namespace

size_t run_on_stack(size_t n_bytes, const std::function<void()> &work) {
    const StackMemory stack(n_bytes);
    Job job{work, nullptr};
    pthread_attr_t attributes;
    CHECK(::pthread_attr_init(&attributes) == 0);
    pthread_t thread;
    const bool is_started =
        ::pthread_attr_setstack(&attributes, stack.lowest(), stack.size()) == 0 &&
        ::pthread_create(&thread, &attributes, run_job, &job) == 0;
    ::pthread_attr_destroy(&attributes);
    if (!is_started) {
        fail(ErrorKind::limit, "no thread with a stack of {} bytes could be started", n_bytes);
    }
    CHECK(::pthread_join(thread, nullptr) == 0);
    if (job.error) {
        std::rethrow_exception(job.error);
    }
    return stack.n_used();
}

}  // namespace orthorank
