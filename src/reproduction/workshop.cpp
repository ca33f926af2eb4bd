#include "reproduction/workshop.h"

#include <filesystem>

#include "base/error.h"
#include "base/fnv1a.h"
#include "calibration/partial_file.h"

namespace orthorank {

namespace {

using Json = nlohmann::ordered_json;

void make_folder(const std::filesystem::path &folder) {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    if (!std::filesystem::is_directory(folder)) {
        fail(ErrorKind::file, "{} cannot be made a folder: {}", folder.string(),
             error ? error.message() : "there is something else");
    }
}

}  // namespace

const PlanFindings &Findings::of(const std::string &plan) const {
    static const PlanFindings nothing;
    const auto found = plans.find(plan);
    return found == plans.end() ? nothing : found->second;
}

Workshop::Workshop(const Model &model, const Budget &budget, const WorkshopOptions &options)
    : model_(model),
      budget_(budget),
      options_(options),
      recipes_(budget, model.hparams().n_layers),
      key_(fnv1a_hex(options.identity.dump() + budget_json(budget).dump())) {
    findings_.plans["dense"].plan = dense_plan(model.hparams().n_layers);
}

Engine &Workshop::engine(int n_ctx, int n_sequences) {
    if (!engine_ || engine_->n_ctx() != n_ctx || engine_->options().n_sequences != n_sequences) {
        engine_.reset();  // before the next one, so that memory holds one
        EngineOptions options = options_.engine;
        options.n_ctx = n_ctx;
        options.n_sequences = n_sequences;
        engine_ = std::make_unique<Engine>(model_, options);
    }
    return *engine_;
}

std::string Workshop::file(const std::string &name) const {
    const auto path = std::filesystem::path(options_.folder) / "work" / key_ / name;
    make_folder(path.parent_path());
    return path.string();
}

void Workshop::forget() const {
    std::error_code ignored;
    std::filesystem::remove_all(std::filesystem::path(options_.folder) / "work" / key_, ignored);
}

const Plan &Workshop::plan(const std::string &name) const {
    const auto found = findings_.plans.find(name);
    CHECK(found != findings_.plans.end());
    return found->second.plan;
}

void Workshop::check_stop() const {
    if (options_.should_stop && options_.should_stop()) {
        throw Interrupted("interrupted");
    }
}

Json Workshop::kept(const std::string &name, const Json &key,
                    const std::function<Json()> &make) const {
    const std::string path = file(name);
    if (!read_partial_json(path, key)) {
        write_partial_json(path, key, {{"result", make()}});
    }
    const std::optional<Json> read = read_partial_json(path, key);
    if (!read || !read->contains("result")) {
        fail_no_partial(path, "it has no result");
    }
    return read->at("result");
}

}  // namespace orthorank
