// Any bytes as the body of a request: its first letter says which. It is refused with an error of
// 400 or 404, or becomes requests that keep the limits.
#include <algorithm>

#include "fuzz/fuzz_file.h"
#include "server/api_error.h"
#include "server/fields.h"
#include "server/generation.h"
#include "server/token_routes.h"
#include "support/tiny_gguf.h"

using namespace orthorank;
using namespace orthorank::test;

namespace {

constexpr int k_n_ctx = 128;

Plan selecting(int n_layers, Apply apply) {
    Plan plan = dense_plan(n_layers);
    plan.layers[1].action = Action::select;
    plan.layers[1].ratio = 0.4;
    plan.apply = apply;
    return plan;
}

// Without a chat template, which would run in a process of its own: chats are read up to there.
const ServedModel &served() {
    static const TempDir dir;
    static const std::unique_ptr<Model> model = [] {
        write_tiny_gguf(tiny_llama(), dir.file("m.gguf"));
        return Model::load(dir.file("m.gguf"));
    }();
    static const int n_layers = model->hparams().n_layers;
    static const Plan every_row = selecting(n_layers, Apply::both);
    static const PlanTable plans(*model, "m",
                                 {{"p.json", {}, every_row, every_row},
                                  {"20%", 0.2, selecting(n_layers, Apply::prefill), every_row}});
    static const ServedModel served{*model, plans, k_n_ctx, 1};
    return served;
}

void check(const Generation &generation) {
    const size_t n_choices = generation.prompts.size() * static_cast<size_t>(generation.n);
    promise(n_choices > 0 && n_choices <= static_cast<size_t>(k_max_choices));
    promise(generation.requests.size() == n_choices);
    promise(generation.n_top >= 0 && generation.n_top <= k_max_top);
    for (const Request &request : generation.requests) {
        promise(!request.tokens.empty() && request.tokens.size() <= static_cast<size_t>(k_n_ctx));
        promise(std::all_of(request.tokens.begin(), request.tokens.end(),
                            [](int32_t id) { return id >= 0 && id < served().n_vocab(); }));
        promise(request.n_prompt <= static_cast<int64_t>(request.tokens.size()));
        promise(request.targets.empty() || request.targets.size() == request.tokens.size());
        promise(request.stop.size() <= k_max_stop_strings);
    }
}

void read(char kind, const nlohmann::json &body) {
    switch (kind) {
        case 'c':
            return check(read_chat(body, served()));
        case 't':
            promise(tokenize(body, served()).at("count") >= 0);
            return;
        case 'd':
            promise(detokenize(body, served()).at("prompt").is_string());
            return;
        default:
            return check(read_completion(body, served()));
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const auto *text = reinterpret_cast<const char *>(data);
    try {
        read(text[0], parse_body(std::string_view(text + 1, size - 1)));
    } catch (const ApiError &error) {
        promise(error.status() == 400 || error.status() == 404);
        promise(error.json().at("error").at("message").is_string());
    } catch (const Error &) {
    }
    return 0;
}
