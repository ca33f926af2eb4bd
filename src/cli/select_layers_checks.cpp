// Which options of select-layers go together. What would be passed over silently is refused.
#include <algorithm>
#include <array>

#include "base/error.h"
#include "base/output_file.h"
#include "calibration/partial_file.h"
#include "cli/command_files.h"
#include "cli/select_layers.h"
#include "engine/plan_files.h"

namespace orthorank {

namespace {

constexpr const char *k_probe = "probe";

// What a run does, as bits of a set.
enum Mode : unsigned {
    k_search = 1,
    k_from = 2,
    k_refit = 4,
    k_joint = 8,
    k_sweep = 16,
};
constexpr unsigned k_computes = k_search | k_refit | k_joint | k_sweep;
constexpr unsigned k_fits = k_search | k_refit | k_joint;

struct ModeName {
    Mode mode;
    const char *option;
    const char *reason;  // why others do nothing beside it
};
constexpr std::array<ModeName, 4> k_modes = {{
    {k_from, "--from", "--from computes nothing; add corrections with --refit"},
    {k_refit, "--refit", "--refit takes the layers of its plan"},
    {k_joint, "--joint", "--joint decides what becomes of which layer"},
    {k_sweep, "--sweep", "--sweep changes each layer alone, in four ways, and writes no plan"},
}};

struct OptionUse {
    const char *option;
    unsigned modes;  // where it changes something
};
constexpr std::array<OptionUse, 36> k_uses = {{
    {"--objective", k_search | k_joint},
    {"--continuation", k_fits},
    {"--keep-last", k_fits},
    {"--retrieval", k_search | k_joint},
    {"--calibration", k_computes},
    {"--field", k_computes},
    {"--protocol", k_computes},
    {"--seqlen", k_computes},
    {"--stride", k_computes},
    {"--windows", k_computes},
    {"--memory", k_computes},
    {"--json", k_computes},
    {"--output", k_fits | k_from},
    {"--method", k_search},
    {"--convert", k_search},
    {"--ratio", k_search | k_sweep},
    {"--policy", k_fits},
    {"--seed", k_fits},
    {"--query-window", k_fits},
    {"--inherit", k_fits},
    {"--sparsity", k_search | k_from | k_joint},
    {"--layers", k_search | k_from},
    {"--no-plus", k_search},
    {"--exact", k_search},
    {"--race", k_search},
    {"--brute-force", k_search | k_joint},
    {"--restart", k_search | k_joint},
    {"--correct", k_fits},
    {"--ridge", k_fits},
    {"--weigh", k_fits},
    {"--target-time", k_joint},
    {"--choices", k_joint},
    {"--kl-windows", k_joint},
    {"--moves", k_joint},
    {"--csv", k_sweep},
    {"--svg", k_sweep},
}};

Mode mode_of(const CLI::App &command) {
    const ModeName *found = nullptr;
    for (const ModeName &mode : k_modes) {
        if (command.count(mode.option) == 0) {
            continue;
        }
        if (found != nullptr) {
            fail(ErrorKind::usage, "{} and {} exclude each other", found->option, mode.option);
        }
        found = &mode;
    }
    return found != nullptr ? found->mode : k_search;
}

std::string reason_of(Mode mode, const OptionUse &use) {
    for (const ModeName &name : k_modes) {
        if (name.mode == mode) {
            return name.reason;
        }
    }
    std::string names;
    for (const ModeName &name : k_modes) {
        if ((use.modes & name.mode) != 0) {
            names += fmt::format("{}{}", names.empty() ? "" : " or ", name.option);
        }
    }
    return "it goes with " + names;
}

void refuse_options_of_other_modes(const CLI::App &command, Mode mode) {
    for (const OptionUse &use : k_uses) {
        if ((use.modes & mode) == 0) {
            refuse_idle(command, true, {use.option}, reason_of(mode, use));
        }
    }
}

bool only_removes(const SelectLayersArguments &arguments, Mode mode) {
    const std::vector<std::string> &choices = arguments.joint.choices;
    const auto is_skip = [](const std::string &choice) { return choice == "skip"; };
    return mode == k_joint
               ? !choices.empty() && std::all_of(choices.begin(), choices.end(), is_skip)
               : mode == k_search && arguments.convert == "skip";
}

// What goes with --objective continuation, or with fits for it.
void check_objective(const CLI::App &command, const SelectLayersArguments &arguments, Mode mode) {
    if (arguments.objective != "all" && arguments.objective != "continuation") {
        fail(ErrorKind::usage, "unknown objective '{}' (known: all, continuation)",
             arguments.objective);
    }
    refuse_idle(command, arguments.objective == "all", {"--retrieval"},
                "it goes with --objective continuation");
    refuse_idle(
        command, arguments.objective == "all" && (mode != k_refit || arguments.weigh == 0.0),
        {"--continuation"}, "it goes with --objective continuation, or --refit with --weigh");
    refuse_idle(command, arguments.objective == "all" && mode != k_refit, {"--weigh"},
                "it goes with --objective continuation, or --refit");
    refuse_idle(command, mode == k_search && !arguments.correct, {"--weigh"},
                "it goes with --correct RANK or --refit PLAN");
    refuse_idle(command, arguments.objective == "all" && mode != k_refit, {"--keep-last"},
                "it goes with --objective continuation, or --refit");
    if (arguments.keep_last.size() > 1 && mode == k_refit) {
        fail(ErrorKind::usage, "--refit searches nothing: --keep-last takes one number with it");
    }
    for (size_t i = 0; i < arguments.keep_last.size(); ++i) {
        const auto end = arguments.keep_last.begin() + static_cast<std::ptrdiff_t>(i);
        if (std::find(arguments.keep_last.begin(), end, *end) != end) {
            fail(ErrorKind::usage, "--keep-last names {} twice", *end);
        }
    }
    if (arguments.objective == "continuation" && arguments.method == "shortened-taylor") {
        fail(ErrorKind::usage,
             "--objective continuation compares losses, which shortened-taylor has not");
    }
}

void refuse_idle_options(const CLI::App &command, const SelectLayersArguments &arguments,
                         Mode mode) {
    const bool is_sleb = arguments.method == "sleb";
    refuse_idle(command, only_removes(arguments, mode),
                {"--ratio", "--policy", "--seed", "--query-window", "--inherit", "--keep-last"},
                "a removed layer computes no row");
    refuse_idle(command, arguments.policy != "random", {"--seed"}, "only policy random draws");
    refuse_idle(command, arguments.policy != "query", {"--query-window"},
                "only policy query asks the last rows");
    refuse_idle(command, is_sleb, {"--no-plus"}, "it goes with the methods shortened-*");
    refuse_idle(command, !is_sleb, {"--race", "--exact"},
                "the methods shortened-* give no candidate up");
    refuse_idle(command, arguments.method == "shortened-taylor" && !arguments.correct, {"--memory"},
                "shortened-taylor keeps what it needs");
    refuse_idle(command, arguments.protocol == "crops", {"--stride"}, "crops lie at random places");
    refuse_idle(command, mode == k_joint && arguments.brute_force, {"--moves"},
                "--brute-force measures every move");
    check_objective(command, arguments, mode);
    if (policy_from_name(arguments.policy).score == ScoreKind::inherit) {
        fail(ErrorKind::usage,
             "--policy inherit takes the rows of an earlier layer, which must pick them by another "
             "policy: say that one, and --inherit");
    }
    if (arguments.policy == k_probe && mode != k_refit && !arguments.correct) {
        fail(ErrorKind::usage,
             "a probe estimates what computing a row gains over correcting it: --policy probe goes "
             "with --correct RANK (0: the mean alone)");
    }
    if (arguments.ridge && mode != k_refit && !arguments.correct) {
        fail(ErrorKind::usage, "--ridge goes with --correct RANK or --refit PLAN");
    }
    if (arguments.brute_force && arguments.method == "shortened-taylor") {
        fail(ErrorKind::usage, "--brute-force compares losses, which shortened-taylor has not");
    }
    if (arguments.race && arguments.exact) {
        fail(ErrorKind::usage, "--race and --exact exclude each other");
    }
}

void check_outputs(const CLI::App &command, const SelectLayersArguments &arguments, Mode mode) {
    if (mode == k_sweep) {
        if (arguments.json.empty() && arguments.csv.empty() && arguments.svg.empty()) {
            fail(ErrorKind::usage, "--sweep writes no plan: name a --json, --csv or --svg file");
        }
        return;
    }
    if (arguments.out.empty()) {
        fail(ErrorKind::usage, "no output: name the plan file to write with -o");
    }
    const bool has_numbers = arguments.correct.has_value() || mode == k_refit;
    check_plan_output(arguments.out, has_numbers);
    CommandFiles files(command);
    if (has_numbers) {
        files.writes(plan_tensors_path(arguments.out), "the numbers of -o");
    }
    if (mode == k_search || mode == k_joint) {
        if (!becomes_file(arguments.out)) {
            fail(ErrorKind::usage,
                 "{} is no file: a search keeps what is finished beside its plan; name a file "
                 "with -o",
                 arguments.out);
        }
        files.writes(partial_path(arguments.out), "the partial file of -o");
    }
}

}  // namespace

bool prints_text(const SelectLayersArguments &arguments) {
    return prints_text(arguments.json) && prints_text(arguments.out);
}

void check_arguments(const CLI::App &command, const SelectLayersArguments &arguments) {
    const Mode mode = mode_of(command);
    refuse_options_of_other_modes(command, mode);
    refuse_idle_options(command, arguments, mode);
    refuse_idle_field(command, arguments.calibration.files);
    check_outputs(command, arguments, mode);
}

}  // namespace orthorank
