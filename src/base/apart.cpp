#include "base/apart.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <new>

#include "base/deep_stack.h"
#include "base/descriptor.h"
#include "base/error.h"

namespace orthorank {

namespace {

// The first byte of an answer: this, or k_result + 1 + the kind of an Error whose text follows.
constexpr char k_result = 'A';

std::string failed(ErrorKind kind, const std::string &message) {
    return static_cast<char>(k_result + 1 + static_cast<int>(kind)) + message;
}

// Of the address space, which is what can be limited.
size_t bytes_in_use() {
    size_t n_pages = 0;
    std::ifstream("/proc/self/statm") >> n_pages;
    return n_pages * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

void limit_this_process(const ApartLimits &limits) {
    for (const int signal : {SIGALRM, SIGSEGV, SIGBUS}) {
        std::signal(signal, SIG_DFL);
    }
    const rlim_t n_bytes = bytes_in_use() + limits.n_bytes;
    const rlimit memory{n_bytes, n_bytes}, core{0, 0};
    ::setrlimit(RLIMIT_AS, &memory);
    ::setrlimit(RLIMIT_CORE, &core);
    ::alarm(limits.seconds);
}

std::string answer_of(const std::function<std::string()> &work) {
    try {
        return k_result + work();
    } catch (const Error &error) {
        return failed(error.kind(), error.what());
    } catch (const std::bad_alloc &) {
        return failed(ErrorKind::limit, "it takes too much memory");
    } catch (const std::exception &error) {
        return failed(ErrorKind::format, error.what());
    }
}

// In the copy. Nothing that others registered for the end of the process is run.
[[noreturn]] void answer_and_end(int pipe, const ApartLimits &limits,
                                 const std::function<std::string()> &work) {
    limit_this_process(limits);
    const int code = write_all(pipe, answer_of(work));
    ::_exit(code == 0 ? 0 : 1);
}

std::string all_from(int pipe) {
    std::string text;
    std::string part(size_t{1} << 16, '\0');
    ssize_t n = 0;
    while ((n = ::read(pipe, part.data(), part.size())) > 0 || (n < 0 && errno == EINTR)) {
        text.append(part, 0, static_cast<size_t>(n < 0 ? 0 : n));
    }
    return text;
}

int status_of(pid_t process) {
    int status = 0;
    while (::waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

[[noreturn]] void fail_ended(int status, const ApartLimits &limits) {
    const int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (signal == SIGALRM) {
        fail(ErrorKind::limit, "it takes more than {} s", limits.seconds);
    }
    if (signal == SIGSEGV || signal == SIGBUS) {
        fail(ErrorKind::limit, "it is nested too deep");
    }
    fail(ErrorKind::limit, "it was ended ({} {})", signal != 0 ? "signal" : "exit code",
         signal != 0 ? signal : WEXITSTATUS(status));
}

std::string run_copy(const ApartLimits &limits, const std::function<std::string()> &work) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) {
        fail(ErrorKind::limit, "no pipe can be made: {}", errno_text(errno));
    }
    const Descriptor out(ends[0]);
    Descriptor in(ends[1]);
    const pid_t process = ::fork();
    if (process == 0) {
        answer_and_end(in.fd(), limits, work);
    }
    if (process < 0) {
        fail(ErrorKind::limit, "no process can be made: {}", errno_text(errno));
    }
    in.close_now();
    const std::string answer = all_from(out.fd());
    const int status = status_of(process);
    if (status != 0 || answer.empty()) {
        fail_ended(status, limits);
    }
    if (answer.front() != k_result) {
        throw Error(static_cast<ErrorKind>(answer.front() - k_result - 1), answer.substr(1));
    }
    return answer.substr(1);
}

}  // namespace

std::string run_apart(const ApartLimits &limits, const std::function<std::string()> &work) {
    std::string result;
    // The copy has the one thread that made it, and its stack.
    run_on_stack(limits.stack_bytes, [&] { result = run_copy(limits, work); });
    return result;
}

}  // namespace orthorank
