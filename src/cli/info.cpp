#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>

#include "base/console.h"
#include "base/error.h"
#include "cli/info_plan.h"
#include "cli/info_sink.h"
#include "cli/shared_options.h"
#include "engine/plan_files.h"
#include "engine/shipped_plans.h"
#include "model/backend_info.h"
#include "model/devices.h"
#include "report/numbers_text.h"
#include "report/result_frame.h"

namespace orthorank {

namespace {

struct InfoArguments {
    ModelArguments model;
    std::vector<std::string> plans;
    int n_ctx = 0;
    bool sink = false;
    std::string text;  // of --sink; empty: the documentation
    std::string json;
};

// Each that there is, ascending.
std::set<int> of_layers(const Hparams &hparams, int LayerSpec::*number) {
    std::set<int> numbers;
    for (const LayerSpec &layer : hparams.layers) {
        numbers.insert(layer.*number);
    }
    return numbers;
}

std::string layers_text(const Hparams &hparams, int LayerSpec::*number) {
    return fmt::format("{}", fmt::join(of_layers(hparams, number), ", "));
}

// One number, or where layers differ a list by layer.
nlohmann::ordered_json layers_json(const Hparams &hparams, int LayerSpec::*number) {
    if (of_layers(hparams, number).size() == 1) {
        return hparams.layers.front().*number;
    }
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const LayerSpec &layer : hparams.layers) {
        list.push_back(layer.*number);
    }
    return list;
}

// Of layers that rotate, each once: local ones may have another than the rest.
std::set<float> rope_bases(const Hparams &hparams) {
    std::set<float> bases;
    for (const LayerSpec &layer : hparams.layers) {
        bases.insert(layer.rotation.freq_base);
    }
    return bases;
}

nlohmann::ordered_json rope_base_json(const Hparams &hparams) {
    const std::set<float> bases = rope_bases(hparams);
    return bases.size() == 1 ? nlohmann::ordered_json(*bases.begin())
                             : nlohmann::ordered_json(bases);
}

// "512 in 15 of 18 layers", or nothing.
std::string windows_text(const Hparams &hparams) {
    std::string text;
    for (const int window : hparams.windows) {
        const auto n =
            std::count_if(hparams.layers.begin(), hparams.layers.end(),
                          [window](const LayerSpec &layer) { return layer.window == window; });
        if (window > 0) {
            text += fmt::format("{}{} in {} of {} layers", text.empty() ? "" : ", ", window, n,
                                hparams.n_layers);
        }
    }
    return text;
}

nlohmann::ordered_json hparams_json(const Hparams &hparams) {
    return {{"n_layers", hparams.n_layers},
            {"n_embd", hparams.n_embd},
            {"n_head", layers_json(hparams, &LayerSpec::n_head)},
            {"n_head_kv", layers_json(hparams, &LayerSpec::n_head_kv)},
            {"head_dim", layers_json(hparams, &LayerSpec::head_dim)},
            {"n_ff", layers_json(hparams, &LayerSpec::n_ff)},
            {"n_vocab", hparams.n_vocab},
            {"n_ctx_train", hparams.n_ctx_train},
            {"n_expert", hparams.n_expert},
            {"n_expert_used", hparams.n_expert_used},
            {"rope_freq_base", rope_base_json(hparams)},
            {"window", layers_json(hparams, &LayerSpec::window)},
            {"n_layers_with_keys", hparams.tail_begin()},
            {"n_embd_per_layer", hparams.n_embd_per_layer},
            {"rms_eps", hparams.rms_eps}};
}

// Of the KV cache of one sequence, what lies with the layers of a device.
int64_t kv_bytes_of(const Model &model, const DeviceShare &share, const InfoArguments &arguments,
                    int n_ctx) {
    int64_t bytes = 0;
    for (const int il : share.layers) {
        bytes += kv_layer_bytes(model.hparams(), kv_type_from_name(arguments.model.kv_type), il,
                                n_ctx, 1);
    }
    return bytes;
}

nlohmann::ordered_json model_json(const Model &model, const InfoArguments &arguments, int n_ctx,
                                  int64_t kv_bytes) {
    nlohmann::ordered_json json;
    json["hparams"] = hparams_json(model.hparams());
    json["tensor_types"] = nlohmann::ordered_json::array();
    for (const TensorTypeCount &count : model.tensor_types()) {
        json["tensor_types"].push_back(
            {{"type", count.type}, {"n_tensors", count.n_tensors}, {"bytes", count.bytes}});
    }
    json["buffers"] = nlohmann::ordered_json::array();
    for (const auto &[name, bytes] : model.buffer_bytes()) {
        json["buffers"].push_back({{"name", name}, {"bytes", bytes}});
    }
    json["kv_cache"] = {{"n_ctx", n_ctx}, {"type", arguments.model.kv_type}, {"bytes", kv_bytes}};
    json["shares"] = nlohmann::ordered_json::array();
    for (const DeviceShare &share : model.shares()) {
        json["shares"].push_back({{"device", share.device},
                                  {"layers", share.layers},
                                  {"weight_bytes", share.weight_bytes},
                                  {"kv_bytes", kv_bytes_of(model, share, arguments, n_ctx)}});
    }
    json["kernels"] = kernels_of(model, arguments.model);
    json["device"] = device_name(model);
    json["devices"] = nlohmann::ordered_json::array();
    for (const DeviceInfo &device : list_devices()) {
        json["devices"].push_back({{"name", device.name},
                                   {"description", device.description},
                                   {"type", device.type},
                                   {"bytes_free", device.bytes_free},
                                   {"bytes_total", device.bytes_total}});
    }
    json["modules_not_loaded"] = nlohmann::ordered_json::array();
    for (const UnloadedModule &module : unloaded_modules()) {
        json["modules_not_loaded"].push_back({{"file", module.file}, {"reason", module.reason}});
    }
    return json;
}

void print_model(const Model &model) {
    const Hparams &hparams = model.hparams();
    print("model        {}\n", hparams.name.empty() ? "(no name)" : hparams.name);
    print("file         {}\n", model.path());
    print("architecture {}, {}, {:.1f} M parameters\n", hparams.arch, model.file_type(),
          static_cast<double>(model.n_params()) / 1e6);
    print("fingerprint  {}\n", model.fingerprint());
    print("layers       {}, width {}, feed-forward {}{}\n", hparams.n_layers, hparams.n_embd,
          layers_text(hparams, &LayerSpec::n_ff),
          hparams.n_expert > 0
              ? fmt::format(", {} of {} experts", hparams.n_expert_used, hparams.n_expert)
              : "");
    print("heads        {} of {}, {} for keys and values\n",
          layers_text(hparams, &LayerSpec::n_head), layers_text(hparams, &LayerSpec::head_dim),
          layers_text(hparams, &LayerSpec::n_head_kv));
    print("vocabulary   {} tokens\n", hparams.n_vocab);
    print("context      {} tokens, rope base {}\n", hparams.n_ctx_train,
          fmt::format("{}", fmt::join(rope_bases(hparams), ", ")));
    if (const std::string windows = windows_text(hparams); !windows.empty()) {
        print("windows      {}\n", windows);
    }
    if (const int tail = hparams.tail_begin(); tail < hparams.n_layers) {
        print(
            "tail         layers {} to {} read the keys of earlier ones; of a prompt they compute "
            "the rows whose logits are wanted\n",
            tail, hparams.n_layers - 1);
    }
}

// "layers 0-14", "layer 3", or "no layers": a device has a range of them.
std::string range_text(const std::vector<int> &layers) {
    if (layers.empty()) {
        return "no layers";
    }
    return layers.size() == 1 ? fmt::format("layer {}", layers.front())
                              : fmt::format("layers {}-{}", layers.front(), layers.back());
}

void print_devices(const Model &model, const InfoArguments &arguments, int n_ctx) {
    const std::vector<DeviceShare> shares = model.shares();
    print("\ndevices\n");
    for (const DeviceInfo &device : list_devices()) {
        const bool is_used =
            std::any_of(shares.begin(), shares.end(), [&](const DeviceShare &share) {
                return share.device == device.name && !share.layers.empty();
            });
        const std::string memory =
            device.bytes_total > 0 ? fmt::format(", {}, {} free", bytes_text(device.bytes_total),
                                                 bytes_text(device.bytes_free))
                                   : "";
        print("  {:<10} {}, {}{}{}\n", device.name, device.type, device.description, memory,
              is_used ? "  (used)" : "");
    }
    for (const UnloadedModule &module : unloaded_modules()) {
        print("  {} cannot be loaded: {}\n", module.file, module.reason);
    }
    print("\nwho holds what\n");
    for (const DeviceShare &share : shares) {
        print("  {:<10} {:<14} weights {:>10}, KV cache {:>10}\n", share.device,
              range_text(share.layers), bytes_text(share.weight_bytes),
              bytes_text(kv_bytes_of(model, share, arguments, n_ctx)));
    }
}

void print_storage(const Model &model, const InfoArguments &arguments, int n_ctx,
                   int64_t kv_bytes) {
    if (model.weight_types() == WeightTypes{}) {
        print("matrices     as in the file, {}\n",
              bytes_text(model.weight_copy(Phase::prefill).bytes));
    } else {
        print("matrices     prefill {}, decode {}\n",
              weight_copy_text(model.weight_copy(Phase::prefill)),
              weight_copy_text(model.weight_copy(Phase::decode)));
    }
    print("KV cache     {} in {} at {} tokens\n", bytes_text(kv_bytes), arguments.model.kv_type,
          n_ctx);
    print("kernels      {}\n", kernels_of(model, arguments.model));
    print("\ntensor types\n");
    for (const TensorTypeCount &count : model.tensor_types()) {
        print("  {:<10} {:>5} tensors  {:>10}\n", count.type, count.n_tensors,
              bytes_text(count.bytes));
    }
    print("\nbuffers of weights\n");
    for (const auto &[name, bytes] : model.buffer_bytes()) {
        print("  {:<18} {:>10}\n", name, bytes_text(bytes));
    }
    print_devices(model, arguments, n_ctx);
}

void run_info(const InfoArguments &arguments, const Argv &argv) {
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const Hparams &hparams = model->hparams();
    const int n_ctx = arguments.n_ctx > 0 ? arguments.n_ctx : hparams.n_ctx_train;
    const int64_t kv_bytes =
        kv_cache_bytes(hparams, kv_type_from_name(arguments.model.kv_type), n_ctx, 1);
    std::vector<PlanInfo> plans;
    for (const std::string &path : arguments.plans) {
        plans.push_back(plan_info(*model, path));
    }
    if (std::optional<Plan> plan = embedded_plan(*model)) {
        plans.push_back({std::move(*plan), ""});
    }
    std::optional<SinkReport> sink;
    if (arguments.sink) {
        sink = sink_of(*model, arguments.model, arguments.text);
    }
    nlohmann::ordered_json json = result_frame(argv, *model, nullptr);
    nlohmann::ordered_json result = model_json(*model, arguments, n_ctx, kv_bytes);
    result["plans"] = nlohmann::ordered_json::array();
    for (const PlanInfo &plan : plans) {
        result["plans"].push_back(plan_json(plan, *model, n_ctx));
    }
    result["sink"] = nullptr;
    if (sink) {
        result["sink"] = sink_json(*sink, *model);
    }
    json["results"] = nlohmann::ordered_json::array({result});
    write_json(arguments.json, json);
    if (prints_text(arguments.json)) {
        print_model(*model);
        print_storage(*model, arguments, n_ctx, kv_bytes);
        for (const PlanInfo &plan : plans) {
            print_plan(plan, *model, n_ctx);
        }
        if (sink) {
            print_sink(*sink, *model);
        }
    }
}

}  // namespace

void add_info(CLI::App &app, const Argv &argv) {
    CLI::App &command =
        *app.add_subcommand("info", "a model's numbers, the devices, and what plans do");
    const auto arguments = std::make_shared<InfoArguments>();
    InfoArguments &a = *arguments;
    command.add_option("--plan", a.plans, "plan file to describe; may be given several times")
        ->type_name("FILE");
    add_sparsity_option(command, a.plans);
    command.add_option("--ctx", a.n_ctx, "context for the KV cache's size (default: the model's)")
        ->check(CLI::Range(1, 1 << 24))
        ->type_name("N");
    command.add_flag("--sink", a.sink,
                     "measure the first token as a sink on 101 tokens: where it begins, how "
                     "constant it is, whether others are like it");
    command.add_option("-f,--file", a.text, "text for --sink (default: the documentation)")
        ->type_name("FILE");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &argv, &command] {
        refuse_idle(command, !arguments->sink, {"--file"}, "it is the text of --sink");
        run_info(*arguments, argv);
    });
}

}  // namespace orthorank
