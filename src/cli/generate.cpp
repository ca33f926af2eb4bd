#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "base/console.h"
#include "base/error.h"
#include "cli/apply_options.h"
#include "cli/interrupt.h"
#include "cli/sampler_options.h"
#include "cli/shared_options.h"
#include "model/vocab.h"
#include "report/result_frame.h"
#include "session/generate.h"

namespace orthorank {

namespace {

struct GenerateArguments {
    ModelArguments model;
    std::string prompt;
    std::string prompt_file;
    std::string plan;
    ApplyArguments apply;
    std::string json;
    bool is_chat = false;
    int n_ctx = 0;
    int n_predict = 128;
    SamplerOptions sampler;
    CLI::Option *prompt_option = nullptr;
    CLI::Option *file_option = nullptr;
    CLI::Option *chat_option = nullptr;
};

bool uses_chat(const GenerateArguments &arguments, const Vocab &vocab) {
    if (arguments.chat_option->count() > 0) {
        return arguments.is_chat;
    }
    return vocab.has_chat_template() && ::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0;
}

std::vector<int32_t> chat_tokens(const std::string &prompt, const Vocab &vocab) {
    if (vocab.has_chat_template() && !runs_chat_templates()) {
        remark(
            "note: the chat template is not run, only told from libllama's list of forms: "
            "this build has no headers of libllama-common (docs/building.md)");
    }
    const ChatMessage message{"user", prompt};
    return vocab.tokenize_chat(std::span(&message, 1));
}

std::vector<int32_t> prompt_tokens(const std::string &prompt, bool is_chat, const Vocab &vocab) {
    if (is_chat) {
        return chat_tokens(prompt, vocab);
    }
    std::vector<int32_t> tokens = vocab.tokenize(prompt, /*add_bos=*/true, /*parse_special=*/true);
    if (tokens.empty() && vocab.bos() >= 0) {
        tokens.push_back(vocab.bos());
    }
    if (tokens.size() > 1 && vocab.bos() >= 0 && tokens[0] == vocab.bos() &&
        tokens[1] == vocab.bos()) {
        remark("note: the prompt begins with two BOS tokens: the model adds one, leave it out");
    }
    return tokens;
}

// Refused before it is tokenized, which takes minutes for a file that is no text.
void check_prompt_fits(const std::string &prompt, int n_ctx, const Vocab &vocab) {
    const size_t n_tokens = vocab.fewest_tokens(prompt.size());
    if (n_tokens > static_cast<size_t>(n_ctx)) {
        fail(ErrorKind::limit,
             "the prompt of {} bytes has at least {} tokens, the context only {}: shorten it",
             prompt.size(), n_tokens, n_ctx);
    }
}

// null where nothing was measured.
nlohmann::ordered_json rate_json(int64_t n, double seconds) {
    return n > 0 && seconds > 0 ? nlohmann::ordered_json(static_cast<double>(n) / seconds)
                                : nlohmann::ordered_json(nullptr);
}

std::string rate_text(int64_t n, double seconds) {
    return n > 0 && seconds > 0 ? fmt::format("{:.1f} tokens/s", static_cast<double>(n) / seconds)
                                : "-";
}

nlohmann::ordered_json fraction_json(const GenerateResult &result) {
    return result.n_rows_offered > 0
               ? nlohmann::ordered_json(static_cast<double>(result.n_rows_computed) /
                                        static_cast<double>(result.n_rows_offered))
               : nlohmann::ordered_json(nullptr);
}

// What the run's plan costs, if it is run as it was measured: behind a prompt with the plan's own
// kept rows, of every row with none.
std::string cost_text(int keep_last_of_file, const Plan &plan, size_t n_prompt) {
    const bool is_for_prompt = plan.apply == Apply::prefill;
    const std::string loss =
        loss_text(plan, is_for_prompt ? PlanPurpose::prompt : PlanPurpose::every_row, n_prompt);
    const bool is_other =
        plan.apply == Apply::decode || plan.keep_last != (is_for_prompt ? keep_last_of_file : 0);
    return loss.empty() || !is_other
               ? loss
               : "what it costs was measured with another --apply or --keep-last";
}

// The closing line.
void print_summary(const GenerateResult &result, const Plan &plan, int keep_last_of_file,
                   int n_ctx) {
    if (result.stop_reason == StopReason::context) {
        remark("The context of {} tokens is full.", n_ctx);
    }
    std::string rows = "dense";
    if (result.n_rows_offered > 0) {
        rows = fmt::format("{}: {:.1f}% of {}rows computed in {} selecting layers", plan.name,
                           100.0 * static_cast<double>(result.n_rows_computed) /
                               static_cast<double>(result.n_rows_offered),
                           plan.apply == Apply::prefill ? "the prompt's " : "",
                           plan.layers_with(Action::select).size());
    } else if (plan.apply == Apply::decode) {
        rows = fmt::format("{}: no step was decoded under it", plan.name);
    } else if (!plan.is_dense()) {
        rows =
            fmt::format("{}: {} layers removed", plan.name, plan.layers_with(Action::skip).size());
    }
    remark("prefill {} tokens, {} | decode {} tokens, {} | {}", result.n_prompt,
           rate_text(result.n_prompt, result.prefill_s), result.n_decoded,
           rate_text(result.n_decoded, result.decode_s), rows);
    const std::string cost =
        cost_text(keep_last_of_file, plan, static_cast<size_t>(result.n_prompt));
    if (!cost.empty()) {
        remark("{}: {}", plan.name, cost);
    }
}

nlohmann::ordered_json result_json(const GenerateResult &result, const Plan &plan) {
    nlohmann::ordered_json json;
    json["plan"] = plan_name_json(plan);
    json["effective_sparsity"] = plan.effective_sparsity();
    json["text"] = result.text;
    json["tokens"] = result.tokens;
    json["stop_reason"] = stop_reason_name(result.stop_reason);
    json["n_prompt"] = result.n_prompt;
    json["n_generated"] = result.tokens.size();
    json["n_decoded"] = result.n_decoded;
    json["prefill_seconds"] = result.prefill_s;
    json["decode_seconds"] = result.decode_s;
    json["prefill_tokens_per_s"] = rate_json(result.n_prompt, result.prefill_s);
    json["decode_tokens_per_s"] = rate_json(result.n_decoded, result.decode_s);
    json["fraction_of_rows_computed"] = fraction_json(result);
    return json;
}

// As its file has it.
Plan plan_of(const GenerateArguments &arguments, const Model &model) {
    if (arguments.plan.empty()) {
        return dense_plan(model.hparams().n_layers);
    }
    const PlanPurpose purpose = arguments.apply.purpose(PlanPurpose::prompt);
    return read_plan_for(model, arguments.plan, purpose);
}

void run_generate(const GenerateArguments &arguments, const Argv &argv) {
    GenerateOptions options;
    arguments.apply.check();
    options.n_predict = arguments.n_predict;
    options.sampler = arguments.sampler;
    (void)Sampler(options.sampler);  // refuses bad options before the model is loaded
    const std::unique_ptr<Model> model = load_model(arguments.model);
    const Plan plan = plan_of(arguments, *model);
    options.plan = arguments.apply.applied_to(plan);
    const std::string prompt = read_prompt(*arguments.prompt_option, *arguments.file_option);
    check_prompt_fits(prompt, std::max(arguments.n_ctx, model->hparams().n_ctx_train),
                      model->vocab());
    const std::vector<int32_t> tokens =
        prompt_tokens(prompt, uses_chat(arguments, model->vocab()), model->vocab());
    const int n_ctx = arguments.n_ctx > 0 ? arguments.n_ctx
                                          : context_for(tokens.size(), arguments.n_predict,
                                                        model->hparams().n_ctx_train);
    const std::unique_ptr<Engine> engine = make_engine(*model, arguments.model, n_ctx);
    const bool prints = prints_text(arguments.json);
    catch_interrupts();  // not before: Ctrl-C ends the reading of a prompt from a terminal
    options.on_text = [prints](std::string_view text) {
        if (prints) {
            write_stdout(text);
            flush_stdout();
        }
    };
    options.on_step = [] { stop_if_interrupted("the text ends here"); };
    const GenerateResult result = generate(*engine, tokens, options);
    if (prints) {
        write_stdout("\n");
        flush_stdout();
    }
    nlohmann::ordered_json json = result_frame(argv, *model, engine.get());
    json["results"] = nlohmann::ordered_json::array({result_json(result, options.plan)});
    write_json(arguments.json, json);
    print_summary(result, options.plan, plan.keep_last, engine->n_ctx());
}

}  // namespace

void add_generate(CLI::App &app, const Argv &argv) {
    CLI::App &command = *app.add_subcommand("generate", "continue a text, or answer it");
    const auto arguments = std::make_shared<GenerateArguments>();
    GenerateArguments &a = *arguments;
    a.prompt_option = command.add_option("-p,--prompt", a.prompt, "the prompt (default: stdin)")
                          ->type_name("TEXT");
    a.file_option = command.add_option("-f,--file", a.prompt_file, "read the prompt from a file")
                        ->excludes(a.prompt_option)
                        ->type_name("FILE");
    command
        .add_option("-n,--n-predict", a.n_predict, "tokens at most (-1: until the context is full)")
        ->capture_default_str()
        ->check(CLI::Range(-1, 1 << 30))
        ->type_name("N");
    add_sampler_options(command, a.sampler);
    a.chat_option = command.add_flag(
        "--chat,!--no-chat", a.is_chat,
        "put the prompt into the model's chat template (default: if it has one and stdin and "
        "stdout are terminals)");
    command
        .add_option("--plan", a.plan, "plan file: what each layer computes (default: all of it)")
        ->type_name("FILE");
    add_sparsity_option(command, a.plan);
    add_apply_options(command, a.apply);
    command.add_option("--ctx", a.n_ctx, "context in tokens (default: what -n needs)")
        ->check(CLI::Range(1, 1 << 30))
        ->type_name("N");
    add_model_options(command, a.model);
    add_json_option(command, a.json);
    command.callback([arguments, &command, &argv] {
        refuse_idle(command, arguments->plan.empty(), {"--apply", "--keep-last"},
                    "there is no --plan");
        run_generate(*arguments, argv);
    });
}

}  // namespace orthorank
