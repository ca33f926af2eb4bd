#include "cli/shared_options.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/console.h"
#include "base/error.h"
#include "base/output_file.h"
#include "base/text_file.h"
#include "base/threads.h"
#include "base/utf8.h"
#include "calibration/select_layers.h"
#include "cli/command_files.h"
#include "cli/environment.h"
#include "engine/plan_files.h"
#include "eval/streams.h"
#include "model/backend_info.h"
#include "model/devices.h"
#include "model/rpc_servers.h"
#include "model/vocab.h"
#include "report/json_text.h"
#include "report/result_frame.h"
#include "select/sparsity.h"
#include "timing/weight_choice.h"

namespace orthorank {

namespace {

constexpr int k_max_threads = 1024;
constexpr std::string_view k_by_sparsity = "sparsity:";

void print_timings(const WeightChoice &choice) {
    if (!choice.note.empty()) {
        remark("note: {}", choice.note);
    }
    std::string text;
    for (const WeightTiming &timing : choice.timings) {
        if (!timing.can_hold) {
            text +=
                fmt::format(", {} (not taken: it cannot hold the largest weights)", timing.type);
            continue;
        }
        text += fmt::format("{} {} {:.2f} + {:.3f} ms{}", text.empty() ? "" : ",", timing.type,
                            timing.prefill_ms, timing.decode_ms,
                            timing.nmse > k_max_choice_nmse
                                ? fmt::format(" (not taken: NMSE {:.1e})", timing.nmse)
                                : "");
    }
    remark("weights: a layer, 512 rows + one row{}:{}",
           choice.is_remembered ? " (timed before)" : "", text);
}

void print_choice(const Model &model) {
    const WeightCopy &prefill = model.weight_copy(Phase::prefill);
    const WeightCopy &decode = model.weight_copy(Phase::decode);
    remark("weights: {}", prefill.type == decode.type
                              ? weight_copy_text(prefill)
                              : fmt::format("prefill {}, decode {}", weight_copy_text(prefill),
                                            weight_copy_text(decode)));
}

[[noreturn]] void end_without_server(const std::string &message) {
    remark("orthorank: {}; what was finished and written is kept", message);
    ::_exit(1);  // other threads are in the middle of anything
}

// A GPU that leaves attention to the CPU is slower than one would think.
void say_where_attention_is(const Model &model, KvType kv_type) {
    std::set<std::pair<std::string, int>> said;
    for (int il = 0; il < model.hparams().n_layers; ++il) {
        ggml_backend_dev_t device = model.split().device(il);
        const LayerSpec &layer = model.hparams().layers[static_cast<size_t>(il)];
        const Heads heads = {layer.head_dim, layer.n_head, layer.n_head_kv};
        if (!computes_attention(device, heads, static_cast<ggml_type>(ggml_type_of(kv_type))) &&
            said.emplace(ggml_backend_dev_name(device), heads.width).second) {
            remark(
                "note: {} computes no attention over heads of {} with a cache of {}: the CPU "
                "does, and keys and values cross over every time",
                ggml_backend_dev_name(device), heads.width, kv_type_name(kv_type));
        }
    }
}

}  // namespace

std::string model_path(const ModelArguments &arguments) {
    if (!arguments.path.empty()) {
        return arguments.path;
    }
    return default_model_path();
}

void add_model_options(CLI::App &command, ModelArguments &arguments) {
    command
        .add_option("-m,--model", arguments.path,
                    "model, a GGUF file (default: $ORTHORANK_MODEL, else the installed model)")
        ->type_name("FILE");
    command
        .add_option("--rpc", arguments.rpc,
                    "RPC servers whose devices are used too, separated by commas (see rpc-server)")
        ->type_name("HOST:PORT");
    command
        .add_option("--device", arguments.device,
                    "devices to compute on, as `info` lists them, separated by commas (default: "
                    "all GPUs and devices of RPC servers, or CPU)")
        ->type_name("NAME");
    command
        .add_option("--split", arguments.split,
                    "layers over these devices: auto, by their free memory; none, all on the "
                    "first; or a share for each, such as 3,1")
        ->capture_default_str()
        ->type_name("SHARES");
    command
        .add_option("--threads", arguments.n_threads,
                    "CPU threads (default: one per processor that is granted)")
        ->check(CLI::Range(1, k_max_threads))
        ->type_name("N");
    command.add_option("--kv-type", arguments.kv_type, "type of the KV cache: f16, f32 or q8_0")
        ->capture_default_str()
        ->type_name("TYPE");
    command
        .add_option("--correction-type", arguments.correction_type,
                    "type of a plan's corrections on the device: f16 or f32")
        ->capture_default_str()
        ->type_name("TYPE");
    command
        .add_option("--weights", arguments.weights,
                    "what the matrices are held in: file, a type such as bf16, "
                    "prefill=TYPE,decode=TYPE, or auto: the fastest here that changes little")
        ->capture_default_str()
        ->type_name("TYPE");
    command.add_flag("--no-mmap", arguments.no_mmap,
                     "read the weights into memory (huge pages) instead of mapping the file");
    command
        .add_option(
            "--kernels", arguments.kernels,
            "kernels on a CPU: fast (our own), exact (ggml's bits), or our own up to a level: "
            "avx2, avx512, avx512-bf16, amx")
        ->capture_default_str()
        ->type_name("KIND");
}

void add_json_option(CLI::App &command, std::string &path) {
    command.add_option("--json", path, "write the results as JSON to this file ('-': to stdout)")
        ->type_name(k_output_type);
}

std::unique_ptr<Model> load_model(const ModelArguments &arguments) {
    const KvType kv_type = kv_type_from_name(arguments.kv_type);  // before the long work
    correction_type_from_name(arguments.correction_type);
    const Kernels kernels = kernels_from_name(arguments.kernels);
    ModelOptions options;
    options.plain_copies = cpu_level_of(kernels) != CpuLevel::none;
    options.weights = weight_types_from_text(arguments.weights);
    options.use_mmap = !arguments.no_mmap;
    const std::string path = model_path(arguments);
    if (::access(path.c_str(), F_OK) != 0) {
        fail(ErrorKind::file,
             "no model at {}: name one with -m, or run `make deps` to install the default model",
             path);
    }
    if (!arguments.rpc.empty()) {
        connect_servers(arguments.rpc, end_without_server);
    }
    options.device = arguments.device;
    options.split = arguments.split;
    const bool is_auto = options.weights.is_auto();
    if (is_auto) {
        const WeightChoice choice = choose_weights_for(path, arguments.device, arguments.n_threads,
                                                       weight_cache_path(), kernels);
        print_timings(choice);
        options.weights = choice.types;
    }
    std::unique_ptr<Model> model = Model::load(path, options);
    for (const std::string &warning : model->vocab().warnings()) {
        remark("note: vocabulary: {}", warning);
    }
    if (is_auto) {
        print_choice(*model);
    }
    check_kv_type(model->hparams(), kv_type);
    say_where_attention_is(*model, kv_type);
    return model;
}

std::string kernels_of(const Model &model, const ModelArguments &arguments) {
    return kernels_used(model, kernels_from_name(arguments.kernels));
}

EngineOptions engine_options(const ModelArguments &arguments, int n_ctx, int n_sequences) {
    EngineOptions options;
    options.n_ctx = n_ctx;
    options.n_sequences = n_sequences;
    options.n_threads = arguments.n_threads;
    options.kv_type = kv_type_from_name(arguments.kv_type);
    options.correction_type = correction_type_from_name(arguments.correction_type);
    options.kernels = kernels_from_name(arguments.kernels);
    return options;
}

std::unique_ptr<Engine> make_engine(const Model &model, const ModelArguments &arguments, int n_ctx,
                                    int n_sequences) {
    return std::make_unique<Engine>(model, engine_options(arguments, n_ctx, n_sequences));
}

void add_sparsity_option(CLI::App &command, std::string &plan) {
    command
        .add_option_function<std::string>(
            "--sparsity",
            [&plan](const std::string &text) { plan = fmt::format("{}{}", k_by_sparsity, text); },
            "use the plan of this sparsity that is in the model's file or shipped for it, such as "
            "20%")
        ->type_name(k_shipped_plan_type)
        ->excludes("--plan");
}

void add_sparsity_option(CLI::App &command, std::vector<std::string> &plans) {
    command
        .add_option_function<std::vector<std::string>>(
            "--sparsity",
            [&plans](const std::vector<std::string> &texts) {
                for (const std::string &text : texts) {
                    plans.push_back(fmt::format("{}{}", k_by_sparsity, text));
                }
            },
            "add the plan of this sparsity that is in the model's file or shipped for it")
        ->type_name(k_shipped_plan_type);
}

bool is_by_sparsity(std::string_view name) {
    return name.starts_with(k_by_sparsity);
}

Plan read_plan_of(const Model &model, double sparsity, PlanPurpose purpose) {
    FoundPlan found = plan_for_sparsity(model, sparsity, shipped_plans_dir(), purpose);
    for (const std::string &note : found.notes) {
        remark("note: {}", note);
    }
    return std::move(found.plan);
}

Plan read_plan_for(const Model &model, const std::string &path, PlanPurpose purpose) {
    if (is_by_sparsity(path)) {
        return read_plan_of(model, sparsity_from_text(path.substr(k_by_sparsity.size())), purpose);
    }
    Plan plan = read_plan_files(path);
    check_plan_fits(plan, model.hparams().n_layers, model.hparams().n_embd, model.fingerprint(),
                    model.hparams().name);
    return plan;
}

std::vector<Plan> read_plans(const Model &model, const std::vector<std::string> &paths,
                             bool with_dense, PlanPurpose purpose) {
    if (!with_dense && paths.empty()) {
        fail(ErrorKind::usage, "--no-dense leaves nothing to run: name a --plan");
    }
    std::vector<Plan> plans;
    if (with_dense) {
        plans.push_back(dense_plan(model.hparams().n_layers));
    }
    for (const std::string &path : paths) {
        plans.push_back(read_plan_for(model, path, purpose));
    }
    // Two files of one name in different folders: the paths tell them apart.
    const size_t n_dense = plans.size() - paths.size();
    std::vector<std::string> names(plans.size());
    std::transform(plans.begin(), plans.end(), names.begin(),
                   [](const Plan &plan) { return plan.name; });
    for (size_t i = n_dense; i < plans.size(); ++i) {
        if (std::count(names.begin(), names.end(), names[i]) > 1) {
            plans[i].name = as_utf8(paths[i - n_dense]);
        }
        if (std::count(paths.begin(), paths.end(), paths[i - n_dense]) > 1) {
            fail(ErrorKind::usage, "--plan {} is named twice", paths[i - n_dense]);
        }
    }
    return plans;
}

std::string read_prompt(const CLI::Option &text, const CLI::Option &file) {
    if (text.count() > 0) {
        return text.as<std::string>();
    }
    std::string prompt;
    if (file.count() > 0) {
        prompt = read_text_file(file.as<std::string>());
    } else {
        if (::isatty(STDIN_FILENO) != 0) {
            remark("Type a prompt; Ctrl-D on an empty line ends it.");
        }
        prompt = read_text_file("/dev/stdin");
    }
    if (prompt.ends_with('\n')) {
        prompt.pop_back();
        if (prompt.ends_with('\r')) {
            prompt.pop_back();
        }
    }
    return prompt;
}

nlohmann::ordered_json run_identity(const Model &model, const ModelArguments &arguments) {
    return {{"model", model.fingerprint()},
            {"file_type", model.type_in_use()},
            {"kv_type", arguments.kv_type},
            {"kernels", kernels_of(model, arguments)},
            {"correction_type", arguments.correction_type},
            {"device", device_identity(model)},
            // One row's attention to 512 tokens and more is summed in as many parts.
            {"threads", arguments.n_threads > 0 ? arguments.n_threads : default_n_threads()},
            {"build", build_text()}};
}

void refuse_idle(const CLI::App &command, bool is_idle, std::initializer_list<const char *> options,
                 std::string_view reason) {
    for (const char *option : options) {
        if (is_idle && command.count(option) > 0) {
            fail(ErrorKind::usage, "{} does nothing: {}", option, reason);
        }
    }
}

void refuse_idle_field(const CLI::App &command, const std::vector<std::string> &texts) {
    refuse_idle(command, std::none_of(texts.begin(), texts.end(), is_json_lines), {"--field"},
                "no text is JSON Lines by its name (*.jsonl, *.ndjson, *.json)");
}

bool prints_text(const std::string &json_path) {
    return !is_stdout(json_path);
}

void write_output(const std::string &path, const std::string &text) {
    if (is_stdout(path)) {
        write_stdout(text);
    } else if (!path.empty()) {
        write_file_atomically(path, text);
    }
}

void write_json(const std::string &path, const nlohmann::ordered_json &json) {
    write_output(path, json_text(json));
}

}  // namespace orthorank
