#include "cli/select_layers.h"

namespace orthorank {

void add_calibration_options(CLI::App &command, SelectLayersArguments &a) {
    command
        .add_option("--calibration", a.calibration.files,
                    "calibration texts: raw, or JSON Lines (*.jsonl, *.ndjson, *.json)")
        ->type_name("FILE");
    command.add_option("--field", a.calibration.field, "the text's field in JSON Lines")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_option("--protocol", a.protocol,
                    "windows: of each file; sleb: of 128 rows shuffled with seed 0; crops: 10 "
                    "random crops of 128 tokens")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--seqlen", a.calibration.seqlen, "tokens in a window (default: 2048)")
        ->check(CLI::Range(2, 1 << 30))
        ->type_name("N");
    command
        .add_option("--stride", a.calibration.stride,
                    "a window starts every N tokens (default: --seqlen)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command
        .add_option("--windows", a.calibration.n_windows,
                    "the first N windows of each file (default: all)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
}

void add_method_options(CLI::App &command, SelectLayersArguments &a) {
    command.add_option("--method", a.method, "sleb, shortened-ppl or shortened-taylor")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_option("--convert", a.convert,
                    "what becomes of a chosen layer: select (OrthoRank) or skip (removed)")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--ratio", a.ratio, "with select: fraction of the tokens computed")
        ->capture_default_str()
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("P");
    command.add_option("--policy", a.policy, "with select: which tokens")
        ->capture_default_str()
        ->type_name("NAME");
    command.add_option("--seed", a.seed, "of policy random")->type_name("N");
    command
        .add_option("--query-window", a.query_window,
                    "of policy query: a prompt's last rows whose attention counts")
        ->capture_default_str()
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command
        .add_option("--sparsity", a.sparsity,
                    "such as 20%: removes that part of the layers, or makes as many selecting as "
                    "save the same")
        ->type_name("S");
    command.add_option("--layers", a.n_layers, "choose so many layers")
        ->check(CLI::Range(1, 65536))
        ->type_name("N");
    command.add_flag("--no-plus", a.no_plus,
                     "shortened-*: also the first four and the last two layers");
}

void add_objective_options(CLI::App &command, SelectLayersArguments &a) {
    command
        .add_option("--objective", a.objective,
                    "what the loss is of: all (tokens of a window), or continuation: its last "
                    "tokens, computed densely behind a prompt under the plan, which becomes one "
                    "for prompts")
        ->capture_default_str()
        ->type_name("NAME");
    command
        .add_option("--continuation", a.continuation,
                    "with --objective continuation or --weigh: so many last tokens (default: 256)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    command
        .add_option("--keep-last", a.keep_last,
                    "with --objective continuation, or for the plan of --refit: a prompt's last "
                    "rows that selecting layers compute in any case (default: 0, or the plan's). "
                    "Several, such as 0,64: the layers are found with the first, and the plan "
                    "keeps what loses least")
        ->delimiter(',')
        ->check(CLI::Range(0, 1 << 30))
        ->type_name("W,...");
    command.add_flag("--inherit", a.inherits,
                     "selecting layers behind the first one compute the rows that it picked");
    command
        .add_option("--retrieval", a.calibration.n_retrieval,
                    "with --objective continuation: add N windows that end in a question for a "
                    "number that stands before, and count its loss as theirs")
        ->check(CLI::Range(1, 1 << 20))
        ->type_name("N");
}

void add_correction_options(CLI::App &command, SelectLayersArguments &a) {
    command
        .add_option("--correct", a.correct,
                    "fit a correction of this rank for the rows that changed layers do not compute "
                    "(0: the mean alone); --policy probe: and a score that picks the rows that "
                    "selecting layers compute")
        ->check(CLI::Range(0, 1 << 20))
        ->type_name("RANK");
    command
        .add_option("--ridge", a.ridge, "of the fits, relative to the mean square (default: 0.01)")
        ->check(CLI::Range(0.0, 1e9))
        ->type_name("X");
    command
        .add_option("--weigh", a.weigh,
                    "of the fits: the part of a row's weight that is the attention which the "
                    "continuation pays to it; the rest counts all alike (default: 0)")
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("X");
    command
        .add_option("--refit", a.refit,
                    "no search: fit corrections for the changed layers of this plan (default rank: "
                    "64)")
        ->type_name("PLAN");
}

Policy policy_of(const SelectLayersArguments &arguments, const std::string &name) {
    Policy policy = policy_from_name(name);
    if (policy.score == ScoreKind::hash) {
        policy.seed = arguments.seed;
    }
    if (policy.score == ScoreKind::query) {
        policy.window = arguments.query_window;
    }
    return policy;
}

}  // namespace orthorank
