// Of `orthorank bench --processes N`: this program again, several times, one after the other.
// Memory lies elsewhere in each process, and some weight types are 20% faster in one than in
// another.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>

#include "base/error.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "cli/bench.h"
#include "cli/interrupt.h"

extern char **environ;

namespace orthorank {

namespace {

// Options that only the first process has to do with; each has a value. --field is the text's too.
constexpr std::array<const char *, 10> k_own_options = {
    "--processes",  "--json",    "--markdown",        "--csv",        "--svg", "--svg-scale",
    "--svg-memory", "--quality", "--quality-windows", "--quality-ctx"};

Argv child_arguments(const Argv &argv, const std::string &json_path, bool has_file) {
    Argv arguments;
    for (size_t i = 0; i < argv.size(); ++i) {
        const std::string name = argv[i].substr(0, argv[i].find('='));
        const bool is_own =
            std::find(k_own_options.begin(), k_own_options.end(), name) != k_own_options.end() ||
            (name == "--field" && !has_file);
        if (argv[i] == "--roofline") {
            continue;
        }
        if (!is_own) {
            arguments.push_back(argv[i]);
        } else if (name == argv[i]) {
            ++i;  // the value comes next
        }
    }
    arguments.insert(arguments.end(), {"--json", json_path});
    return arguments;
}

// Runs it with nothing on standard output; its exit code, or 128 + signal.
int run_child(Argv arguments) {
    std::vector<char *> pointers;
    for (std::string &argument : arguments) {
        pointers.push_back(argument.data());
    }
    pointers.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    pid_t child = 0;
    const int error =
        posix_spawn(&child, "/proc/self/exe", &actions, nullptr, pointers.data(), environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        fail(ErrorKind::device, "no process can be started: {}", std::strerror(error));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// A file that goes away.
struct TemporaryFile {
    std::string path;
    ~TemporaryFile() {
        std::error_code ignored;
        std::filesystem::remove(path, ignored);
    }
};

}  // namespace

Measured measure_in_processes(const BenchArguments &arguments, const BenchStudy &study,
                              const Argv &argv) {
    const size_t n_arms = study.arms.size();
    std::vector<std::vector<BenchResult>> processes;
    Measured measured;
    for (int process = 0; process < arguments.n_processes; ++process) {
        const TemporaryFile file{(std::filesystem::temp_directory_path() /
                                  fmt::format("orthorank-bench-{}-{}.json", ::getpid(), process))
                                     .string()};
        const int exit_code =
            run_child(child_arguments(argv, file.path, !arguments.text.file.empty()));
        stop_if_interrupted();
        if (exit_code != 0) {
            fail(ErrorKind::device, "process {} of {} ended with exit code {}", process + 1,
                 arguments.n_processes, exit_code);
        }
        const nlohmann::ordered_json json = parse_json(read_text_file(file.path), file.path);
        measured.engine = json.at("engine");
        CHECK(json.at("results").size() == n_arms * study.shapes.size());
        processes.emplace_back(json.at("results").size());
        for (size_t i = 0; i < processes.back().size(); ++i) {
            BenchResult &result = processes.back()[i];
            result.arm = i % n_arms;
            result.shape = study.shapes[i / n_arms];
            read_bench_row(json.at("results")[i], result);
        }
    }
    measured.results = merge_processes(processes);
    return measured;
}

}  // namespace orthorank
