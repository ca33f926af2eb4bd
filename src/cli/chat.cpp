// A conversation in a terminal: lines in, answers out as they come, the same session that a server
// runs.
#include <fmt/format.h>
#include <unistd.h>

#include <iostream>
#include <memory>
#include <optional>

#include "base/console.h"
#include "base/error.h"
#include "cli/apply_options.h"
#include "cli/interrupt.h"
#include "cli/sampler_options.h"
#include "cli/shared_options.h"
#include "model/vocab.h"
#include "select/sparsity.h"
#include "session/session.h"

namespace orthorank {

namespace {

constexpr int k_default_ctx = 4096;

struct ChatArguments {
    ModelArguments model;
    std::string plan;
    ApplyArguments apply;
    std::string system;
    int n_ctx = 0;
    int n_predict = -1;
    SamplerOptions sampler;
};

class Chat {
 public:
    Chat(const ChatArguments &arguments, const Model &model, Engine &engine)
        : arguments_(arguments), model_(model), engine_(engine), session_(engine) {
        plan_ = arguments.plan.empty()
                    ? dense_plan(model.hparams().n_layers)
                    : checked(read_plan_for(model, arguments.plan,
                                            arguments.apply.purpose(PlanPurpose::prompt)));
        clear();
    }

    // One line of the user's; false: the end.
    bool take(const std::string &line) {
        if (line == "/quit") {
            return false;
        }
        try {
            if (line.starts_with('/')) {
                command(line);
            } else if (!line.empty()) {
                say(line);
            }
        } catch (const Error &error) {
            remark("{}", error.what());
        }
        return true;
    }

 private:
    Plan checked(Plan plan) const {
        plan = arguments_.apply.applied_to(std::move(plan));
        engine_.check(plan);
        return plan;
    }

    void clear() {
        messages_.clear();
        if (!arguments_.system.empty()) {
            messages_.push_back({"system", arguments_.system});
        }
    }

    void command(const std::string &line) {
        const std::string sparsity = "/sparsity ";
        if (line == "/stats") {
            print_stats();
        } else if (line == "/clear") {
            clear();
        } else if (line == "/dense") {
            plan_ = dense_plan(model_.hparams().n_layers);
        } else if (line.starts_with(sparsity)) {
            const double level = sparsity_from_text(line.substr(sparsity.size()));
            const PlanPurpose purpose = arguments_.apply.purpose(PlanPurpose::prompt);
            plan_ = checked(read_plan_of(model_, level, purpose));
            remark("plan: {}", plan_.name);
        } else {
            remark(
                "/sparsity S: the plan of this sparsity, such as 20%; /dense: none; /stats: the "
                "last answer's numbers; /clear: a new conversation; /quit or Ctrl-D: the end");
        }
    }

    // An answer that Ctrl-C ends stays in the conversation as far as it came.
    void say(const std::string &line) {
        messages_.push_back({"user", line});
        Request request;
        try {
            request.plan = plan_;
            request.tokens = model_.vocab().tokenize_chat(messages_);
            request.max_new_tokens = arguments_.n_predict;
            request.sampler = arguments_.sampler;
            n_prompt_ = request.tokens.size();
            messages_.push_back({"assistant", answer(std::move(request))});
        } catch (const Error &) {
            messages_.pop_back();  // nothing was said
            throw;
        }
    }

    std::string answer(Request request) {
        const RequestId id = session_.submit(std::move(request));
        last_.reset();
        std::string text;
        catch_interrupts();
        while (!session_.is_idle() && !is_interrupted()) {
            for (Event &event : session_.step()) {
                if (event.kind == Event::Kind::failed) {
                    leave_interrupts();
                    throw Error(event.error, event.message);
                }
                text += event.text;
                write_stdout(event.text);
                flush_stdout();
                if (event.kind == Event::Kind::finished) {
                    last_ = std::move(event.result);
                }
            }
        }
        session_.cancel(id);
        leave_interrupts();
        write_stdout("\n");
        flush_stdout();
        if (last_ && last_->stop_reason == StopReason::context) {
            remark("The context of {} tokens is full: /clear begins again.", engine_.n_ctx());
        }
        return text;
    }

    void print_stats() const {
        if (!last_) {
            remark("There is no answer yet that came to its end.");
            return;
        }
        const auto rate = [](int64_t n, double seconds) {
            return n > 0 && seconds > 0
                       ? fmt::format("{:.1f} tokens/s", static_cast<double>(n) / seconds)
                       : "-";
        };
        const std::string rows =
            last_->n_rows_offered > 0
                ? fmt::format("{:.1f}% of the rows computed in selecting layers",
                              100.0 * static_cast<double>(last_->n_rows_computed) /
                                  static_cast<double>(last_->n_rows_offered))
                : "every row computed";
        remark("{}: prompt {} tokens, {} | answer {} tokens, {} | {} | context {} of {}",
               plan_.is_dense() ? "dense" : plan_.name, n_prompt_,
               rate(static_cast<int64_t>(n_prompt_), last_->prefill_s), last_->tokens.size(),
               rate(last_->n_decoded, last_->decode_s), rows, n_prompt_ + last_->tokens.size(),
               engine_.n_ctx());
    }

    const ChatArguments &arguments_;
    const Model &model_;
    Engine &engine_;
    Session session_;
    Plan plan_;
    std::vector<ChatMessage> messages_;
    std::optional<RequestResult> last_;
    size_t n_prompt_ = 0;
};

void run_chat(const ChatArguments &arguments) {
    arguments.apply.check();
    (void)Sampler(arguments.sampler);  // refuses bad options before the model is loaded
    const std::unique_ptr<Model> model = load_model(arguments.model);
    if (!model->vocab().has_chat_template()) {
        fail(ErrorKind::format, "{} has no chat template: use `orthorank generate`", model->path());
    }
    const int n_ctx = arguments.n_ctx > 0 ? arguments.n_ctx
                                          : std::min(k_default_ctx, model->hparams().n_ctx_train);
    const std::unique_ptr<Engine> engine = make_engine(*model, arguments.model, n_ctx);
    Chat chat(arguments, *model, *engine);
    const bool is_terminal = ::isatty(STDIN_FILENO) != 0;
    if (is_terminal) {
        remark("Ctrl-C ends an answer, Ctrl-D or /quit the conversation; /help lists more.");
    }
    std::string line;
    bool goes_on = true;
    while (goes_on) {
        if (is_terminal) {
            write_stderr("> ");
        }
        goes_on = std::getline(std::cin, line) && chat.take(line);
    }
}

}  // namespace

void add_chat(CLI::App &app, const Argv &) {
    CLI::App &command = *app.add_subcommand("chat", "a conversation in a terminal");
    const auto arguments = std::make_shared<ChatArguments>();
    ChatArguments &a = *arguments;
    command.add_option("--system", a.system, "what the model is told first")->type_name("TEXT");
    command
        .add_option("-n,--n-predict", a.n_predict,
                    "tokens of an answer at most (-1: until the context is full)")
        ->capture_default_str()
        ->check(CLI::Range(-1, 1 << 30))
        ->type_name("N");
    add_sampler_options(command, a.sampler);
    command
        .add_option("--plan", a.plan, "plan file: what each layer computes (default: all of it)")
        ->type_name("FILE");
    add_sparsity_option(command, a.plan);
    add_apply_options(command, a.apply);
    command
        .add_option("--ctx", a.n_ctx,
                    "tokens of the conversation (default: the model's context, at most 4096)")
        ->check(CLI::Range(16, 1 << 30))
        ->type_name("N");
    add_model_options(command, a.model);
    command.callback([arguments] { run_chat(*arguments); });
}

}  // namespace orthorank
