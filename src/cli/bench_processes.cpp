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
#include "base/text_file.h"
#include "cli/bench.h"

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

void append(const BenchResult &of_process, BenchResult &result) {
    result.seconds.insert(result.seconds.end(), of_process.seconds.begin(),
                          of_process.seconds.end());
    result.facts = of_process.facts;
    result.peak_resident_bytes =
        std::max(result.peak_resident_bytes, of_process.peak_resident_bytes);
    if (!of_process.operations) {
        return;
    }
    if (!result.operations) {
        result.operations.emplace();
    }
    for (size_t i = 0; i < k_n_operations; ++i) {
        result.operations->seconds[i] += of_process.operations->seconds[i];
    }
}

}  // namespace

Measured measure_in_processes(const BenchArguments &arguments, const Argv &argv, size_t n_results) {
    const std::vector<BenchShape> shapes = bench_shapes(arguments);
    const size_t n_arms = n_results / shapes.size();
    Measured measured;
    for (size_t i = 0; i < n_results; ++i) {
        measured.results.emplace_back();
        measured.results.back().arm = i % n_arms;
        measured.results.back().shape = shapes[i / n_arms];
    }
    for (int process = 0; process < arguments.n_processes; ++process) {
        const TemporaryFile file{(std::filesystem::temp_directory_path() /
                                  fmt::format("orthorank-bench-{}-{}.json", ::getpid(), process))
                                     .string()};
        const int exit_code = run_child(child_arguments(argv, file.path, !arguments.file.empty()));
        if (exit_code != 0) {
            fail(ErrorKind::device, "process {} of {} ended with exit code {}", process + 1,
                 arguments.n_processes, exit_code);
        }
        const auto json = nlohmann::ordered_json::parse(read_text_file(file.path));
        measured.engine = json.at("engine");
        CHECK(json.at("results").size() == n_results);
        for (size_t i = 0; i < n_results; ++i) {
            BenchResult of_process;
            read_bench_row(json.at("results")[i], of_process);
            append(of_process, measured.results[i]);
        }
    }
    for (BenchResult &result : measured.results) {
        for (size_t i = 0; result.operations && i < k_n_operations; ++i) {
            result.operations->seconds[i] /= arguments.n_processes;
        }
    }
    return measured;
}

}  // namespace orthorank
