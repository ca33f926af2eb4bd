#include "report/result_frame.h"

#include <fmt/format.h>

#include "base/threads.h"
#include "graph/kernels.h"
#include "graph/kv_cache.h"
#include "model/backend_info.h"
#include "report/numbers_text.h"

namespace orthorank {

namespace {

nlohmann::ordered_json weight_copy_json(const WeightCopy &copy) {
    return {{"type", copy.type}, {"bytes", copy.bytes}, {"nmse", copy.nmse}};
}

nlohmann::ordered_json model_json(const Model &model) {
    const Hparams &hparams = model.hparams();
    return {{"name", hparams.name},
            {"arch", hparams.arch},
            {"file", model.path()},
            {"file_type", model.file_type()},
            {"fingerprint", model.fingerprint()},
            {"n_layers", hparams.n_layers},
            {"n_params", model.n_params()},
            {"weights",
             {{"prefill", weight_copy_json(model.weight_copy(Phase::prefill))},
              {"decode", weight_copy_json(model.weight_copy(Phase::decode))}}}};
}

}  // namespace

nlohmann::ordered_json engine_json(const Model &model, const EngineOptions &options) {
    return {{"device", device_name(model)},
            {"threads", options.n_threads > 0 ? options.n_threads : default_n_threads()},
            {"n_ctx", options.n_ctx > 0 ? options.n_ctx : model.hparams().n_ctx_train},
            {"kv_type", kv_type_name(options.kv_type)},
            {"kernels", kernels_used(model, options.kernels)}};
}

std::string kernels_used(const Model &model, Kernels kernels) {
    const int cpu = static_cast<int>(model.devices().size()) - 1;
    return model.split().has_layers(cpu) ? kernels_text(kernels) : "ggml's";
}

const char *program_version() {
    return ORTHORANK_VERSION;
}

std::string build_text() {
    return fmt::format("{} (ggml {})", program_version(), ggml_version_text());
}

nlohmann::ordered_json result_frame(const std::vector<std::string> &command, const Model &model,
                                    const Engine *engine) {
    nlohmann::ordered_json json;
    json["command"] = command;
    json["model"] = model_json(model);
    json["build"] = {{"version", program_version()}, {"ggml", ggml_version_text()}};
    json["engine"] = nullptr;
    if (engine != nullptr) {
        json["engine"] = engine_json(model, engine->options());
    }
    return json;
}

nlohmann::ordered_json plan_name_json(const Plan &plan) {
    return plan.is_dense() && plan.name == "dense" ? nlohmann::ordered_json(nullptr)
                                                   : nlohmann::ordered_json(plan.name);
}

std::string weight_copy_text(const WeightCopy &copy) {
    const std::string error = copy.nmse > 0 ? fmt::format(", NMSE {:.1e}", copy.nmse) : "";
    return fmt::format("{} ({}{})", copy.type, bytes_text(copy.bytes), error);
}

}  // namespace orthorank
