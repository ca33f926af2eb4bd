#include "engine/batch_checks.h"

#include "base/error.h"
#include "engine/engine_impl.h"

namespace orthorank {

namespace {

void check_layers(const Engine::Impl &engine, std::span<const Chunk> batch,
                  const ForwardOptions &options) {
    const Hparams &hparams = engine.model.hparams();
    const int end_layer = options.end_layer < 0 ? hparams.n_layers : options.end_layer;
    CHECK(0 <= options.first_layer && options.first_layer <= end_layer);
    CHECK(end_layer <= hparams.n_layers);
    const bool has_hidden = !batch.empty() && !batch.front().hidden.empty();
    CHECK(!has_hidden || hparams.start_of(options.first_layer) == options.first_layer ||
          options.first_layer == end_layer);
    for (const Chunk &chunk : batch) {
        CHECK(chunk.hidden.size() % static_cast<size_t>(hparams.n_embd) == 0);
        CHECK(chunk.hidden.empty() == batch.front().hidden.empty());
        CHECK(options.first_layer == 0 || chunk.tokens.empty() || !chunk.hidden.empty());
        const size_t n_rows = chunk.n_rows(hparams.n_embd);
        CHECK(chunk.tokens.size() == n_rows ||
              (chunk.tokens.empty() && hparams.n_embd_per_layer == 0));
        CHECK(chunk.outputs == Outputs::none || end_layer < hparams.n_layers || options.on_logits);
    }
}

void check_rows(const Engine::Impl &engine, const Chunk &chunk) {
    const Hparams &hparams = engine.model.hparams();
    const int64_t n = chunk.sequence->n_past() + static_cast<int64_t>(chunk.n_rows(hparams.n_embd));
    if (n > engine.n_ctx) {
        fail(ErrorKind::limit, "{} tokens do not fit into the context of {}", n, engine.n_ctx);
    }
    for (int32_t token : chunk.tokens) {
        if (token < 0 || token >= hparams.n_vocab) {
            fail(ErrorKind::request, "token id {} is outside the vocabulary of {}", token,
                 hparams.n_vocab);
        }
    }
}

// The attention that a row receives is known when the last queries are there.
void check_policies(const Chunk &chunk, int n_embd) {
    if (chunk.phase == Phase::decode || chunk.sequence->n_past() == 0 ||
        chunk.n_rows(n_embd) == 0) {
        return;
    }
    for (const LayerPlan &layer : chunk.sequence->plan().layers) {
        if (layer.action == Action::select && needs_whole_prompt(layer.policy.score)) {
            fail(ErrorKind::usage, "policy {} needs the whole prompt in one pass",
                 policy_name(layer.policy));
        }
    }
}

}  // namespace

std::span<const Chunk> checked(const Engine::Impl &engine, std::span<const Chunk> batch,
                               const ForwardOptions &options) {
    check_layers(engine, batch, options);
    for (size_t i = 0; i < batch.size(); ++i) {
        const Chunk &chunk = batch[i];
        CHECK(chunk.sequence != nullptr);
        for (size_t j = 0; j < i; ++j) {
            CHECK(batch[j].sequence != chunk.sequence);
        }
        if (!chunk.sequence->is_of(engine.slots)) {
            fail(ErrorKind::request, "a sequence of another engine, or one that has gone");
        }
        if (chunk.sequence->is_in_pass()) {
            fail(ErrorKind::request, "a sequence that another pass has not finished with");
        }
        check_rows(engine, chunk);
        check_policies(chunk, engine.model.hparams().n_embd);
    }
    return batch;
}

}  // namespace orthorank
