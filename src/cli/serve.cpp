// The server as a command: what is loaded, reserved and printed before requests are taken, and how
// it ends. Everything else is server/.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "base/console.h"
#include "base/error.h"
#include "base/resident_memory.h"
#include "base/strings.h"
#include "base/text_file.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "graph/runner.h"
#include "select/sparsity.h"
#include "server/http_server.h"
#include "session/session.h"

namespace orthorank {

namespace {

constexpr int k_default_ctx = 4096;
constexpr int k_min_ctx = 16;
constexpr int k_warm_up_rows = 512;
constexpr double k_mib = 1 << 20;

struct ServeArguments {
    ModelArguments model;
    std::vector<std::string> plans;
    std::vector<std::string> sparsities;
    std::string name;
    int n_parallel = 4;
    int n_ctx = 0;
    HttpOptions http;
    std::string key_file;
    LoopOptions loop;
    double drain_s = 30;
};

void add_keys_from(const std::string &path, std::vector<std::string> &keys) {
    const size_t n_before = keys.size();
    for (std::string line : split_at(read_text_file(path, 1 << 20), '\n')) {
        if (line.ends_with('\r')) {
            line.pop_back();
        }
        if (!line.empty()) {
            keys.push_back(line);
        }
    }
    if (keys.size() == n_before) {
        fail(ErrorKind::usage, "--api-key-file {}: there is no key in it (one a line)", path);
    }
}

// Those named, or, without any, all of the model's file and those shipped for it.
std::vector<ServedPlan> read_served_plans(const ServeArguments &arguments, const Model &model) {
    std::vector<ServedPlan> plans;
    for (const std::string &path : arguments.plans) {
        const Plan plan = read_plan_for(model, path);
        plans.push_back({plan.name, {}, plan, plan});
    }
    std::vector<double> sparsities;
    for (const std::string &text : arguments.sparsities) {
        sparsities.push_back(sparsity_from_text(text));
    }
    if (plans.empty() && sparsities.empty()) {
        sparsities = known_sparsities(model, shipped_plans_dir());
    }
    for (const double sparsity : sparsities) {
        const std::string name = sparsity_text(sparsity);
        plans.push_back({name, sparsity, read_plan_of(model, sparsity, PlanPurpose::prompt),
                         read_plan_of(model, sparsity, PlanPurpose::every_row)});
    }
    return plans;
}

std::string served_name(const ServeArguments &arguments, const Model &model) {
    if (!arguments.name.empty()) {
        return arguments.name;
    }
    std::string name = model.hparams().name;
    std::replace(name.begin(), name.end(), ' ', '-');
    return name.empty() ? std::filesystem::path(model.path()).stem().string() : name;
}

// A prompt and a token, so that the first client does not wait for buffers and pages, and what
// cannot run is known now.
void warm_up(Engine &engine) {
    Request request;
    request.plan = dense_plan(engine.model().hparams().n_layers);
    const int n_rows = std::min(k_warm_up_rows, engine.n_ctx() - 2);
    for (int i = 0; i < n_rows; ++i) {
        request.tokens.push_back(i % engine.model().hparams().n_vocab);
    }
    request.max_new_tokens = 2;
    request.wants_text = false;
    run_request(engine, std::move(request));
}

void print_state(const ServeArguments &arguments, const Engine &engine, const PlanTable &plans) {
    const Engine::MemoryUse memory = engine.memory();
    const double hidden_mib = static_cast<double>(SessionOptions{}.n_long_prompts) *
                              engine.n_ctx() * engine.model().hparams().n_embd *
                              static_cast<double>(sizeof(float)) / k_mib;
    remark(
        "reserved: KV cache {} bytes ({:.1f} MiB: {} sequences of {} tokens, {}); compute buffers "
        "{:.1f} MiB now, kept graphs at most {:.0f} MiB more, hidden rows of prompts at most "
        "{:.1f} MiB",
        memory.kv_bytes, static_cast<double>(memory.kv_bytes) / k_mib, arguments.n_parallel,
        engine.n_ctx(), arguments.model.kv_type, static_cast<double>(memory.compute_bytes) / k_mib,
        static_cast<double>(k_max_kept_bytes) / k_mib, hidden_mib);
    remark(
        "limits: {} tokens of prompt and answer, {} requests at once and {} waiting, bodies of {} "
        "bytes, {:g} s a request, {} connections",
        engine.n_ctx(), arguments.n_parallel, arguments.loop.n_queue, arguments.http.max_body_bytes,
        arguments.loop.timeout_s, arguments.http.n_connections);
    std::vector<std::string> texts;
    for (const ServedPlan &plan : plans.plans()) {
        texts.push_back(plan.prompt.name == plan.name ? plan.name
                        : plan.prompt.name == plan.every_row.name
                            ? fmt::format("{} ({})", plan.name, plan.prompt.name)
                            : fmt::format("{} ({}; scores: {})", plan.name, plan.prompt.name,
                                          plan.every_row.name));
    }
    remark("model: {}; plans: {}", plans.name(),
           texts.empty() ? "none" : fmt::format("{}", fmt::join(texts, ", ")));
}

void wait_until(const std::function<bool()> &is_done, double seconds) {
    const Stopwatch watch;
    while (!is_done() && watch.elapsed_s() < seconds) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

// Takes requests until a signal comes, then lets running ones end.
void serve_until_told(EngineLoop &loop, HttpServer &server, double drain_s) {
    const auto is_told = [] { return is_interrupted() || is_terminated(); };
    while (!is_told()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    const auto n_running = loop.counters().n_jobs_now.load();
    remark("stopping: {} requests are running, they have {:g} s; again ends at once", n_running,
           drain_s);
    loop.drain();
    wait_until([&] { return loop.is_idle(); }, drain_s);
    loop.abort(ApiError(503, "shutting_down", "the server is shutting down"));
    wait_until([&] { return loop.is_idle(); }, drain_s + 5);
    server.stop();
}

void run_serve(ServeArguments arguments) {
    reuse_freed_memory();
    if (!arguments.key_file.empty()) {
        add_keys_from(arguments.key_file, arguments.http.keys);
    }
    arguments.http.n_connections =
        static_cast<size_t>(arguments.n_parallel) + arguments.loop.n_queue + 16;
    HttpServer server(arguments.http);
    server.start();
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const int n_ctx = arguments.n_ctx > 0 ? arguments.n_ctx
                                          : std::min(k_default_ctx, model->hparams().n_ctx_train);
    const PlanTable plans(*model, served_name(arguments, *model),
                          read_served_plans(arguments, *model));
    const std::unique_ptr<Engine> engine =
        make_engine(*model, arguments.model, n_ctx, arguments.n_parallel);
    for (const ServedPlan &plan : plans.plans()) {
        engine->check(plan.prompt);
        engine->check(plan.every_row);
    }
    warm_up(*engine);
    print_state(arguments, *engine, plans);
    const Engine::MemoryUse memory = engine->memory();
    EngineLoop loop(*engine, arguments.loop);
    server.open({{*model, plans, n_ctx, std::time(nullptr)}, loop, memory});
    catch_interrupts();
    catch_terminations();
    remark("listening on {}", server.url());
    serve_until_told(loop, server, arguments.drain_s);
    stop_if_interrupted("all requests were answered");
}

void add_limits(CLI::App &command, ServeArguments &a) {
    command.add_option("--parallel", a.n_parallel, "sequences at once")
        ->capture_default_str()
        ->check(CLI::Range(1, 256))
        ->type_name("N");
    command
        .add_option("--ctx", a.n_ctx,
                    "tokens of a prompt and its answer (default: the model's context, at most "
                    "4096)")
        ->check(CLI::Range(k_min_ctx, 1 << 30))
        ->type_name("N");
    command
        .add_option("--queue", a.loop.n_queue,
                    "requests that wait while all sequences are busy; beyond: 429")
        ->capture_default_str()
        ->check(CLI::Range(0, 10000))
        ->type_name("N");
    command.add_option("--max-body", a.http.max_body_bytes, "bytes of a request's body")
        ->capture_default_str()
        ->check(CLI::Range(1 << 10, 1 << 30))
        ->type_name("BYTES");
    command.add_option("--timeout", a.loop.timeout_s, "seconds of a request, its waiting included")
        ->capture_default_str()
        ->check(CLI::Range(0.001, 1e6))
        ->type_name("S");
    command
        .add_option("--drain", a.drain_s,
                    "seconds that running requests have after SIGTERM or Ctrl-C")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1e6))
        ->type_name("S");
}

}  // namespace

void add_serve(CLI::App &app, const Argv &) {
    CLI::App &command =
        *app.add_subcommand("serve", "answer requests over HTTP, as OpenAI's API has them");
    const auto arguments = std::make_shared<ServeArguments>();
    ServeArguments &a = *arguments;
    command
        .add_option("--plan", a.plans,
                    "plan files that requests may ask for (default: the shipped "
                    "ones for the model)")
        ->type_name("FILE");
    command
        .add_option("--sparsity", a.sparsities,
                    "plans of these sparsities that are in the model's file or shipped for it")
        ->delimiter(',')
        ->type_name(k_shipped_plan_type);
    command.add_option("--name", a.name, "the model's name for clients (default: its own)")
        ->type_name("NAME");
    command
        .add_option("--host", a.http.host,
                    "address to listen on; another than this machine's "
                    "own needs a key")
        ->capture_default_str()
        ->type_name("HOST");
    command.add_option("--port", a.http.port, "port to listen on (0: a free one)")
        ->capture_default_str()
        ->check(CLI::Range(0, 65535))
        ->type_name("N");
    command
        .add_option("--api-key", a.http.keys,
                    "a key that requests have to bring; others see it "
                    "in a list of processes")
        ->type_name("KEY");
    command.add_option("--api-key-file", a.key_file, "a file with such keys, one a line")
        ->type_name("FILE");
    command.add_option("--cors", a.http.cors_origin, "web pages of this origin may ask")
        ->type_name("ORIGIN");
    command.add_flag("--metrics,!--no-metrics", a.http.has_metrics,
                     "answer /metrics (default: yes)");
    add_limits(command, a);
    add_model_options(command, a.model);
    command.callback([arguments] { run_serve(*arguments); });
}

}  // namespace orthorank
