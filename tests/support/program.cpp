#include "support/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "base/descriptor.h"
#include "support/paths.h"

namespace orthorank::test {

namespace {

std::vector<char *> pointers(std::vector<std::string> &texts) {
    std::vector<char *> list;
    for (std::string &text : texts) {
        list.push_back(text.data());
    }
    list.push_back(nullptr);
    return list;
}

bool has_something(const std::string &path) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(path, ignored) &&
           std::filesystem::file_size(path, ignored) > 0;
}

// Ctrl-C as soon as the moment is there, unless the program has ended before.
void interrupt_when_there(pid_t pid, const ProgramInput &input) {
    const char *path = input.interrupt_when.c_str();
    const bool is_pipe = std::filesystem::is_fifo(path);
    siginfo_t info{};
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
        // A pipe without a reader cannot be opened so.
        const Descriptor pipe(is_pipe ? ::open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1);
        if (pipe.is_open() || has_something(path)) {
            ::kill(pid, SIGINT);
            if (pipe.is_open()) {
                write_all(pipe.fd(), input.text);
            }
            return;
        }
        ::usleep(500);
    }
}

// What standard error is on the program's side of a terminal.
std::string program_side(int terminal) {
    if (::grantpt(terminal) != 0 || ::unlockpt(terminal) != 0) {
        throw std::runtime_error("no terminal to be had");
    }
    return ::ptsname(terminal);
}

// All that is drawn, until the program ends.
std::string interrupt_at_first_output(pid_t pid, int terminal) {
    std::string text;
    std::string part(4096, '\0');
    ssize_t n = 0;
    while ((n = ::read(terminal, part.data(), part.size())) > 0) {
        if (text.empty()) {
            ::kill(pid, SIGINT);
        }
        text.append(part, 0, static_cast<size_t>(n));
    }
    return text;
}

}  // namespace

ProgramResult run_program(const std::string &program, const std::vector<std::string> &arguments,
                          const ProgramInput &input) {
    const TempDir dir;
    const std::string in = dir.file("in");
    const std::string out = input.out_path.empty() ? dir.file("out") : input.out_path;
    const std::string err = dir.file("err");
    write_bytes(in, input.text);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
    const Descriptor terminal(
        input.interrupts_at_progress ? ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) : -1);
    const std::string err_path = terminal.is_open() ? program_side(terminal.fd()) : err;
    posix_spawn_file_actions_addopen(&actions, 2, err_path.c_str(), O_RDWR | O_CREAT | O_NOCTTY,
                                     0600);
    std::vector<std::string> argv = {program};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    std::vector<std::string> environment;
    for (char **variable = environ; *variable != nullptr; ++variable) {
        environment.emplace_back(*variable);
    }
    // The first of two values counts.
    environment.insert(environment.begin(), input.environment.begin(), input.environment.end());
    pid_t pid = 0;
    const int code = posix_spawn(&pid, program.c_str(), &actions, nullptr, pointers(argv).data(),
                                 pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    if (code == 0 && !input.interrupt_when.empty()) {
        interrupt_when_there(pid, input);
    }
    ProgramResult result;
    if (code == 0 && terminal.is_open()) {
        result.err = interrupt_at_first_output(pid, terminal.fd());
    }
    int status = 0;
    if (code != 0 || ::waitpid(pid, &status, 0) != pid) {
        throw std::runtime_error("cannot run " + program);
    }
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = input.out_path.empty() ? read_bytes(out) : "";
    result.err = terminal.is_open() ? result.err : read_bytes(err);
    return result;
}

}  // namespace orthorank::test
