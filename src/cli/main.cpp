// The program: commands, and the one place where errors become exit codes (0 done, 1 the world,
// 2 usage, 3 our own bug) and one line on standard error.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <new>
#include <sstream>
#include <system_error>

#include "base/console.h"
#include "base/error.h"
#include "cli/command_files.h"
#include "cli/commands.h"
#include "cli/spin_limit.h"
#include "report/result_frame.h"

namespace {

constexpr int k_exit_world = 1;
constexpr int k_exit_usage = 2;
constexpr int k_exit_bug = 3;
constexpr int k_exit_interrupted = 130;  // as a shell reports Ctrl-C

int report(int code, const char *message) {
    std::fflush(stdout);
    orthorank::remark("orthorank: {}", message);
    return code;
}

int run(int argc, char **argv) {
    const orthorank::Argv arguments(argv, argv + argc);
    CLI::App app("Token selection (OrthoRank) for GGUF models: see the README.");
    app.name("orthorank");
    app.require_subcommand(1);
    app.set_version_flag("--version", [] { return "orthorank " + orthorank::build_text(); });
    orthorank::add_generate(app, arguments);
    orthorank::add_perplexity(app, arguments);
    orthorank::add_eval(app, arguments);
    orthorank::add_longbench(app, arguments);
    orthorank::add_chat(app, arguments);
    orthorank::add_serve(app, arguments);
    orthorank::add_rpc_server(app, arguments);
    orthorank::add_trace(app, arguments);
    orthorank::add_bench(app, arguments);
    orthorank::add_info(app, arguments);
    orthorank::add_select_layers(app, arguments);
    orthorank::add_export(app, arguments);
    orthorank::add_analyze(app, arguments);
    orthorank::add_reproduce(app, arguments);
    for (CLI::App *command : app.get_subcommands({})) {
        command->parse_complete_callback([command] { orthorank::CommandFiles files(*command); });
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError &error) {
        if (error.get_exit_code() == 0) {  // --help and --version
            std::ostringstream text;
            app.exit(error, text, text);
            orthorank::write_stdout(text.str());
            orthorank::flush_stdout();
            return 0;
        }
        return report(k_exit_usage, fmt::format("{} (see --help)", error.what()).c_str());
    }
    orthorank::flush_stdout();
    return 0;
}

}  // namespace

int main(int argc, char **argv) {
    orthorank::limit_spinning(argv);
    try {
        return run(argc, argv);
    } catch (const orthorank::Error &error) {
        return report(error.kind() == orthorank::ErrorKind::usage ? k_exit_usage : k_exit_world,
                      error.what());
    } catch (const orthorank::Interrupted &error) {
        return report(k_exit_interrupted, error.what());
    } catch (const std::system_error &error) {  // of the file system's library, of threads
        return report(k_exit_world, error.what());
    } catch (const std::bad_alloc &) {
        return report(k_exit_world, "out of memory");
    } catch (const std::exception &error) {
        return report(k_exit_bug, fmt::format("internal error: {}", error.what()).c_str());
    }
}
