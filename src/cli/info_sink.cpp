#include "cli/info_sink.h"

#include <algorithm>

#include "base/console.h"
#include "base/error.h"
#include "base/utf8.h"
#include "cli/interrupt.h"
#include "eval/streams.h"
#include "model/vocab.h"

namespace orthorank {

namespace {

constexpr size_t k_n_shown = 8;  // of other positions

std::vector<int32_t> tokens_of(const std::string &file, const Model &model) {
    std::string text = file.empty() ? read_pages(ORTHORANK_DOCS_DIR) : read_text(file, "text");
    std::erase_if(text, [](char c) { return c == '\n' || c == '\r'; });
    std::vector<int32_t> tokens =
        model.vocab().tokenize_first(k_sink_tokens, text, /*add_bos=*/true);
    if (tokens.size() < static_cast<size_t>(k_sink_tokens)) {
        fail(ErrorKind::limit, "{} has {} tokens, --sink needs {}: give a longer text", file,
             tokens.size(), k_sink_tokens);
    }
    return tokens;
}

nlohmann::ordered_json layer_or_null(const std::optional<int> &layer) {
    return layer ? nlohmann::ordered_json(*layer) : nlohmann::ordered_json(nullptr);
}

nlohmann::ordered_json number_or_null(const std::optional<double> &value) {
    return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

std::string constancy_text(const SinkReport &report) {
    return report.mean_cosine
               ? fmt::format(
                     "cosine of position 0 between layers {:.3f} in the mean, {:.3f} at least",
                     *report.mean_cosine, *report.smallest_cosine)
               : "the last: no layers to compare position 0 between";
}

std::string layer_text(const std::optional<int> &layer) {
    return layer ? fmt::format("layer {}", *layer) : "none";
}

}  // namespace

SinkReport sink_of(const Model &model, const ModelArguments &arguments, const std::string &text) {
    if (model.hparams().n_layers < 2) {
        fail(ErrorKind::format, "{} has 1 layer: --sink compares layers, it needs two",
             model.path());
    }
    if (model.hparams().n_ctx_train < k_sink_tokens) {
        fail(ErrorKind::limit, "{} has a context of {} tokens, --sink needs {}", model.path(),
             model.hparams().n_ctx_train, k_sink_tokens);
    }
    const std::vector<int32_t> tokens = tokens_of(text, model);
    catch_interrupts();
    const std::unique_ptr<Engine> engine = make_engine(model, arguments, k_sink_tokens);
    return measure_sink(*engine, tokens, is_interrupted);
}

nlohmann::ordered_json sink_json(const SinkReport &report, const Model &model) {
    nlohmann::ordered_json json;
    json["l_sink"] = report.layers.l_sink();
    json["by_activation"] = layer_or_null(report.layers.by_activation);
    json["by_cosine"] = report.layers.by_cosine;
    json["by_attention"] = layer_or_null(report.layers.by_attention);
    json["first_layer"] = report.first;
    json["over_median"] = {report.smallest_over_median, report.largest_over_median};
    json["mean_cosine"] = number_or_null(report.mean_cosine);
    json["smallest_cosine"] = number_or_null(report.smallest_cosine);
    json["growth"] = report.growth;
    json["attention"] = report.attention;
    json["scores_raw_rows"] = model.weights().layers.front().attn_norm == nullptr;
    json["other_positions"] = nlohmann::ordered_json::array();
    for (const MassivePosition &other : report.others) {
        json["other_positions"].push_back(
            {{"position", other.position},
             {"token", other.token},
             {"text", as_utf8(model.vocab().piece(other.token, true))},
             {"n_layers", other.n_layers}});
    }
    json["holds"] = report.warnings.empty();
    json["warnings"] = report.warnings;
    return json;
}

void print_sink(const SinkReport &report, const Model &model) {
    print("\nfirst token as a sink, on {} tokens\n", k_sink_tokens);
    print(
        "  l_sink           {} (massive activation: {}, largest fall of the cosines: layer {}, "
        "attention: {})\n",
        report.layers.l_sink(), layer_text(report.layers.by_activation), report.layers.by_cosine,
        layer_text(report.layers.by_attention));
    print(
        "  from layer {:<6}{}; its largest value is {:.0f} to {:.0f} times the median and grows "
        "{:.1f}-fold; it gets {:.0f}% of the attention\n",
        report.first, constancy_text(report), report.smallest_over_median,
        report.largest_over_median, report.growth, 100 * report.attention);
    std::string others;
    for (size_t i = 0; i < std::min(report.others.size(), k_n_shown); ++i) {
        const MassivePosition &other = report.others[i];
        others += fmt::format("{}{} '{}' in {} layers", i == 0 ? "" : ", ", other.position,
                              as_utf8(model.vocab().piece(other.token, true)), other.n_layers);
    }
    if (report.others.size() > k_n_shown) {
        others += fmt::format(" and {} more", report.others.size() - k_n_shown);
    }
    print("  other positions  {}\n", others.empty() ? "none with a massive activation" : others);
    if (model.weights().layers.front().attn_norm == nullptr) {
        print(
            "  scores           of rows as they are: attention of this model has no norm before "
            "it\n");
    }
    for (const std::string &warning : report.warnings) {
        print("  warning          {}\n", warning);
    }
}

}  // namespace orthorank
