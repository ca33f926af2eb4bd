#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "cli/command_files.h"
#include "cli/interrupt.h"
#include "cli/shared_options.h"
#include "engine/plan_files.h"
#include "model/export_model.h"
#include "report/numbers_text.h"

namespace orthorank {

namespace {

struct ExportArguments {
    ModelArguments model;
    std::string plan;
    std::string out;
    bool embed = false;
};

void check_output(const ExportArguments &arguments) {
    if (std::filesystem::path(arguments.out).extension() == ".json") {
        fail(ErrorKind::usage, "{}: what is written is a GGUF file: name it so", arguments.out);
    }
}

void run_export(const ExportArguments &arguments) {
    catch_interrupts();
    check_output(arguments);
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const Plan plan = read_plan_for(*model, arguments.plan);
    GgufChanges changes;
    if (arguments.embed) {
        changes = embedding_of(plan, correction_type_from_name(arguments.model.correction_type));
    } else {
        const std::vector<int> selecting = plan.layers_with(Action::select);
        if (!selecting.empty()) {
            fail(ErrorKind::usage,
                 "{}: layer {} selects, which weights alone cannot say: only a plan that removes "
                 "layers becomes a smaller model; --embed stores any plan in the file",
                 plan.name, selecting.front());
        }
        changes.removed_layers = plan.layers_with(Action::skip);
        for (const int il : changes.removed_layers) {
            if (plan.layers[static_cast<size_t>(il)].correction != nullptr) {
                fail(
                    ErrorKind::usage,
                    "{}: layer {} is removed with a correction, which a smaller model has no place "
                    "for; --embed stores any plan in the file",
                    plan.name, il);
            }
        }
        if (changes.removed_layers.empty()) {
            fail(ErrorKind::usage, "{}: removes no layer; --embed stores a plan in the file",
                 plan.name);
        }
        if (static_cast<int>(changes.removed_layers.size()) == plan.n_layers()) {
            fail(ErrorKind::usage, "{}: removes every layer", plan.name);
        }
    }
    const int64_t n_bytes =
        export_gguf(model->path(), arguments.out, changes, [] { stop_if_interrupted(); });
    if (prints_text(arguments.out)) {
        print("{}: {} layers, {}{}\n", arguments.out,
              model->hparams().n_layers - static_cast<int>(changes.removed_layers.size()),
              bytes_text(n_bytes), arguments.embed ? ", with the plan " + plan.name : "");
    }
}

}  // namespace

void add_export(CLI::App &app, const Argv &) {
    CLI::App &command = *app.add_subcommand(
        "export", "a smaller GGUF without the layers that a plan removes, or one with its plan");
    const auto arguments = std::make_shared<ExportArguments>();
    ExportArguments &a = *arguments;
    command.add_option("--plan", a.plan, "plan file")->type_name("FILE");
    add_sparsity_option(command, a.plan);
    command.add_option("-o,--output", a.out, "the GGUF file to write")
        ->required()
        ->type_name(k_output_type);
    command.add_flag("--embed", a.embed, "keep all weights and store the plan in the metadata");
    add_model_options(command, a.model);
    command.callback([arguments] {
        if (arguments->plan.empty()) {
            fail(ErrorKind::usage, "export what? name a --plan or a --sparsity");
        }
        arguments->out = arguments->out == "-" ? "/dev/stdout" : arguments->out;
        run_export(*arguments);
    });
}

}  // namespace orthorank
