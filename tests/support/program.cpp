#include "support/program.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>

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

// Ctrl-C as soon as the file has something in it, unless the program has ended before.
void interrupt_when_there(pid_t pid, const std::string &path) {
    siginfo_t info{};
    std::error_code ignored;
    while (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
           info.si_pid == 0) {
        if (std::filesystem::exists(path, ignored) &&
            std::filesystem::file_size(path, ignored) > 0) {
            ::kill(pid, SIGINT);
            return;
        }
        ::usleep(500);
    }
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
    posix_spawn_file_actions_addopen(&actions, 2, err.c_str(), O_WRONLY | O_CREAT, 0600);
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
        interrupt_when_there(pid, input.interrupt_when);
    }
    int status = 0;
    if (code != 0 || ::waitpid(pid, &status, 0) != pid) {
        throw std::runtime_error("cannot run " + program);
    }
    ProgramResult result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.out = input.out_path.empty() ? read_bytes(out) : "";
    result.err = read_bytes(err);
    return result;
}

}  // namespace orthorank::test
