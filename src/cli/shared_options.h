// Options that commands share and what they mean. Used by one command at a time.
#pragma once

#include <CLI/CLI.hpp>
#include <initializer_list>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "engine/engine.h"
#include "engine/shipped_plans.h"
#include "model/model.h"

namespace orthorank {

// -m/--model, --rpc, --device, --split, --threads, --kv-type, --correction-type, --weights,
// --no-mmap, --kernels
struct ModelArguments {
    std::string path;
    std::string rpc;
    std::string device;
    std::string split = "auto";
    int n_threads = 0;
    std::string kv_type = "f16";
    std::string correction_type = "f16";
    std::string weights = "file";
    bool no_mmap = false;
    std::string kernels = "fast";
};

void add_model_options(CLI::App &command, ModelArguments &arguments);
void add_json_option(CLI::App &command, std::string &path);

// -m, or $ORTHORANK_MODEL, or the installed model.
std::string model_path(const ModelArguments &arguments);

// Loads that model, on devices of servers too. With --weights auto it first times or remembers, and
// says what was chosen on standard error. Throws as Model::load and connect_servers do; a server
// that is lost later ends the program with a line and exit code 1.
std::unique_ptr<Model> load_model(const ModelArguments &arguments);

// What numbers depend on, of --kernels: kernels_used().
std::string kernels_of(const Model &model, const ModelArguments &arguments);

// What the options say of an engine for sequences of n_ctx tokens (0: the model's context).
EngineOptions engine_options(const ModelArguments &arguments, int n_ctx, int n_sequences = 1);
// Such an engine.
std::unique_ptr<Engine> make_engine(const Model &model, const ModelArguments &arguments, int n_ctx,
                                    int n_sequences = 1);

// --sparsity 20%, beside --plan: sets (or adds to) what --plan sets, to a name that read_plan_for
// understands.
void add_sparsity_option(CLI::App &command, std::string &plan);
void add_sparsity_option(CLI::App &command, std::vector<std::string> &plans);
// Whether the name of a plan is such a one, and no file's.
bool is_by_sparsity(std::string_view name);

// Plan files that must fit the model, or "sparsity:20%": the plan in the model's file or a shipped
// one for the purpose. Throws as read_plan_files, check_plan_fits and plan_for_sparsity do.
Plan read_plan_for(const Model &model, const std::string &path,
                   PlanPurpose purpose = PlanPurpose::every_row);

// The plan of that sparsity in the model's file or shipped for it. Throws as plan_for_sparsity
// does.
Plan read_plan_of(const Model &model, double sparsity, PlanPurpose purpose);

// Several of them to compare, the dense plan first if wanted; those of one name are told apart by
// their paths. Throws Error{usage} when there is none, or a file is named twice.
std::vector<Plan> read_plans(const Model &model, const std::vector<std::string> &paths,
                             bool with_dense, PlanPurpose purpose = PlanPurpose::every_row);

// The text of -p, or of the file -f, or standard input if neither was given. One line end at the
// end of a file or of standard input is dropped: editors put it there.
std::string read_prompt(const CLI::Option &text, const CLI::Option &file);

// What every number that a run computes depends on beside its plan and its data: what an
// interrupted run must have in common with the one that goes on with its file.
nlohmann::ordered_json run_identity(const Model &model, const ModelArguments &arguments);

// Throws Error{usage} where is_idle and one of these options was given: "NAME does nothing:
// REASON".
void refuse_idle(const CLI::App &command, bool is_idle, std::initializer_list<const char *> options,
                 std::string_view reason);

// The same of --field where no text is JSON Lines.
void refuse_idle_field(const CLI::App &command, const std::vector<std::string> &texts);

// Writes to the file, or to standard output for its names. Nothing for an empty path.
void write_output(const std::string &path, const std::string &text);
void write_json(const std::string &path, const nlohmann::ordered_json &json);

// Whether standard output is free for people to read.
bool prints_text(const std::string &json_path);

}  // namespace orthorank
