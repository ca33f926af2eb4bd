#include "support/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "base/descriptor.h"

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

// Starts the program with these files as its standard streams.
pid_t start(const std::string &program, const std::vector<std::string> &arguments,
            const std::vector<std::string> &environment_first, const std::string &in,
            const std::string &out, const std::string &err) {
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, in.c_str(), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out.c_str(), O_WRONLY | O_CREAT, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_RDWR | O_CREAT | O_NOCTTY, 0600);
    std::vector<std::string> argv = {program};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    std::vector<std::string> environment = environment_first;  // the first of two values counts
    for (char **variable = environ; *variable != nullptr; ++variable) {
        environment.emplace_back(*variable);
    }
    pid_t pid = 0;
    const int code = posix_spawn(&pid, program.c_str(), &actions, nullptr, pointers(argv).data(),
                                 pointers(environment).data());
    posix_spawn_file_actions_destroy(&actions);
    if (code != 0) {
        throw std::runtime_error("cannot run " + program);
    }
    return pid;
}

int exit_code_of(pid_t pid) {
    int status = 0;
    if (::waitpid(pid, &status, 0) != pid) {
        throw std::runtime_error("cannot wait for a program");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace

ProgramResult run_program(const std::string &program, const std::vector<std::string> &arguments,
                          const ProgramInput &input) {
    const TempDir dir;
    const std::string in = dir.file("in");
    const std::string out = input.out_path.empty() ? dir.file("out") : input.out_path;
    const std::string err = dir.file("err");
    write_bytes(in, input.text);
    const Descriptor terminal(
        input.interrupts_at_progress ? ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC) : -1);
    const pid_t pid = start(program, arguments, input.environment, in, out,
                            terminal.is_open() ? program_side(terminal.fd()) : err);
    if (!input.interrupt_when.empty()) {
        interrupt_when_there(pid, input);
    }
    ProgramResult result;
    if (terminal.is_open()) {
        result.err = interrupt_at_first_output(pid, terminal.fd());
    }
    result.exit_code = exit_code_of(pid);
    result.out = input.out_path.empty() ? read_bytes(out) : "";
    result.err = terminal.is_open() ? result.err : read_bytes(err);
    return result;
}

RunningProgram::RunningProgram(const std::string &program,
                               const std::vector<std::string> &arguments) {
    write_bytes(dir_.file("err"), "");
    std::vector<std::string> all = {"--pdeathsig", "KILL", program};
    all.insert(all.end(), arguments.begin(), arguments.end());
    pid_ = start("/usr/bin/setpriv", all, {}, "/dev/null", dir_.file("out"), dir_.file("err"));
}

RunningProgram::~RunningProgram() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        exit_code_of(pid_);
    }
}

bool RunningProgram::says(const std::string &text) const {
    siginfo_t info{};
    for (int i = 0; i < 12000; ++i) {
        if (err().find(text) != std::string::npos) {
            return true;
        }
        if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid != 0) {
            return err().find(text) != std::string::npos;
        }
        ::usleep(5000);
    }
    return false;
}

std::string RunningProgram::err() const {
    return read_bytes(dir_.file("err"));
}

void RunningProgram::send_signal(int signal) const {
    ::kill(pid_, signal);
}

ProgramResult RunningProgram::wait() {
    ProgramResult result;
    result.exit_code = exit_code_of(pid_);
    pid_ = -1;
    result.out = read_bytes(dir_.file("out"));
    result.err = err();
    return result;
}

}  // namespace orthorank::test
