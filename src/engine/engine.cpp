#include "engine/engine.h"

#include "base/error.h"
#include "engine/engine_impl.h"
#include "engine/forward.h"
#include "model/devices.h"

namespace orthorank {

namespace {

int context_size(const Model &model, const EngineOptions &options) {
    const int n_ctx_train = model.hparams().n_ctx_train;
    if (options.n_ctx < 0 || options.n_sequences <= 0 || options.chunk_rows <= 0 ||
        options.body_rows <= 0) {
        fail(ErrorKind::usage, "context, sequences and chunk sizes must be positive");
    }
    if (options.n_ctx > n_ctx_train) {
        fail(ErrorKind::limit, "a context of {} tokens was asked for, the model has {}",
             options.n_ctx, n_ctx_train);
    }
    return options.n_ctx > 0 ? options.n_ctx : n_ctx_train;
}

// A removed layer has no keys that others could read.
void check_shared_keys(const Hparams &hparams, const Plan &plan) {
    for (int il = 0; il < hparams.n_layers; ++il) {
        const int source = hparams.layers[static_cast<size_t>(il)].kv_layer;
        const auto is_removed = [&](int layer) {
            return plan.layers[static_cast<size_t>(layer)].action == Action::skip;
        };
        if (source >= 0 && is_removed(source) && !is_removed(il)) {
            fail(
                ErrorKind::usage,
                "plan {} removes layer {}, whose keys layer {} reads: remove that one too, or keep "
                "both",
                plan.name, source, il);
        }
    }
}

CpuLevel level_on(const LayerSplit &split, Kernels kernels) {
    const int cpu = static_cast<int>(split.devices.size()) - 1;
    return split.has_layers(cpu) ? cpu_level_of(kernels) : CpuLevel::none;
}

BufferTypes types_of(const LayerSplit &split, const Backends &backends) {
    BufferTypes types;
    for (int i = 0; i < static_cast<int>(split.devices.size()); ++i) {
        types.push_back(split.has_layers(i) ? backends.buffer_type(i) : nullptr);
    }
    return types;
}

std::vector<ggml_backend_buffer_type_t> types_by_layer(const LayerSplit &split,
                                                       const BufferTypes &types) {
    std::vector<ggml_backend_buffer_type_t> by_layer;
    for (const int device : split.of_layer) {
        by_layer.push_back(types[static_cast<size_t>(device)]);
    }
    return by_layer;
}

}  // namespace

Engine::Impl::Impl(const Model &model_in, const EngineOptions &options_in, int n_ctx_in)
    : model(model_in),
      options(options_in),
      n_ctx(n_ctx_in),
      level(level_on(model.split(), options.kernels)),
      backends(model.devices(), options.n_threads),
      types(types_of(model.split(), backends)),
      cache(model.hparams(), types_by_layer(model.split(), types), options.kv_type, n_ctx,
            options.n_sequences),
      corrections(model, options.correction_type),
      sinks(types, model.hparams().n_embd,
            static_cast<int64_t>(model.hparams().n_layers) * options.n_sequences, "sinks"),
      runner(model, cache, backends, &sinks),
      hidden(types, model.hparams().n_embd,
             [this](const DeviceRows *rows) { runner.forget(rows); }),
      slots(std::make_shared<Slots>(options.n_sequences)) {}

Engine::Engine(const Model &model, const EngineOptions &options)
    : impl_(std::make_unique<Impl>(model, options, context_size(model, options))) {}

Engine::~Engine() {
    impl_.reset();
    count_freed_buffers();
}

const Model &Engine::model() const {
    return impl_->model;
}
int Engine::n_ctx() const {
    return impl_->n_ctx;
}
const EngineOptions &Engine::options() const {
    return impl_->options;
}

int Engine::n_threads() const {
    return impl_->backends.n_threads();
}
int Engine::n_free_sequences() const {
    return impl_->slots->n_free();
}

// What can be known without the device.
void Engine::check(const Plan &plan) const {
    const int n_layers = impl_->model.hparams().n_layers;
    if (plan.n_layers() != n_layers) {
        fail(ErrorKind::format, "plan {} has {} layers, the model has {}: made for another model?",
             plan.name, plan.n_layers(), n_layers);
    }
    check_shared_keys(impl_->model.hparams(), plan);
    for (int il : plan.layers_with(Action::select)) {
        const Policy &policy = plan.layers[il].policy;
        if (needs_whole_prompt(policy.score) && plan.apply != Apply::prefill) {
            fail(ErrorKind::usage,
                 "plan {}, layer {}: policy {} has no score for decoded tokens; apply it to the "
                 "prefill only",
                 plan.name, il, policy_name(policy));
        }
        if (plan.layers[il].policy.score == ScoreKind::probe && plan.layers[il].probe == nullptr) {
            fail(ErrorKind::usage, "plan {}, layer {}: policy probe, but no probe was fitted",
                 plan.name, il);
        }
        if (plan.layers[il].policy.score == ScoreKind::inherit && plan.inherited_from(il) < 0) {
            fail(ErrorKind::usage,
                 "plan {}, layer {}: policy inherit takes the rows of an earlier selecting layer, "
                 "and there is none",
                 plan.name, il);
        }
    }
}

void Engine::upload_corrections(Sequence &sequence) {
    const Plan &plan = sequence.plan();
    for (int il = 0; il < plan.n_layers(); ++il) {
        const LayerPlan &layer = plan.layers[il];
        const std::string where = fmt::format("plan {}, layer {}", plan.name, il);
        if (layer.action != Action::dense && layer.correction != nullptr) {
            sequence.corrections_[il] = impl_->corrections.upload(layer.correction, il, where);
        }
        if (layer.action == Action::select && layer.policy.score == ScoreKind::probe) {
            sequence.probes_[il] = impl_->corrections.upload(layer.probe, il, where);
        }
    }
}

void Engine::release_corrections() {
    if (impl_->corrections.release_unused()) {
        impl_->runner.clear();  // kept graphs may point at them
    }
}

Sequence Engine::new_sequence(const Plan &given, std::optional<Apply> apply) {
    Plan plan = given;
    plan.apply = apply.value_or(plan.apply);
    check(plan);
    const int slot = impl_->slots->take();
    if (slot < 0) {
        fail(ErrorKind::limit, "all {} sequences of this engine are in use",
             impl_->options.n_sequences);
    }
    Sequence sequence(impl_->slots, slot, std::move(plan));
    try {
        upload_corrections(sequence);
    } catch (...) {
        sequence.corrections_.clear();
        sequence.probes_.clear();
        release_corrections();  // those that were uploaded before the one that failed
        count_freed_buffers();  // that one's own
        throw;
    }
    release_corrections();
    return sequence;
}

Sequence Engine::fork(const Sequence &sequence) {
    CHECK(sequence.is_of(impl_->slots) && !sequence.is_in_pass());
    Sequence copy = new_sequence(sequence.plan());
    impl_->cache.copy_cells(sequence.slot(), copy.slot(), sequence.n_past(),
                            impl_->model.hparams().n_layers);
    copy.n_past_ = sequence.n_past_;
    copy.records_ = sequence.records_;
    copy.n_rows_offered_ = sequence.n_rows_offered_;
    copy.n_rows_computed_ = sequence.n_rows_computed_;
    const size_t n_layers = static_cast<size_t>(impl_->model.hparams().n_layers);
    for (int device = 0; device < impl_->sinks.n_devices(); ++device) {
        ggml_tensor *sinks = impl_->sinks.tensor(device);
        if (sinks == nullptr) {
            continue;
        }
        std::vector<uint8_t> bytes(sinks->nb[1] * n_layers);
        ggml_backend_tensor_get(sinks, bytes.data(),
                                bytes.size() * static_cast<size_t>(sequence.slot()), bytes.size());
        ggml_backend_tensor_set(sinks, bytes.data(),
                                bytes.size() * static_cast<size_t>(copy.slot()), bytes.size());
    }
    return copy;
}

void Engine::forward(std::span<const Chunk> batch, const ForwardOptions &options) {
    ForwardPass pass(*this, batch, options);
    while (!pass.is_done()) {
        pass.step();
    }
}

Engine::MemoryUse Engine::memory() const {
    MemoryUse use;
    use.kv_bytes = impl_->cache.bytes();
    use.hidden_bytes = impl_->sinks.bytes() + impl_->hidden.bytes();
    use.compute_bytes = impl_->runner.compute_bytes();
    use.correction_bytes = impl_->corrections.bytes();
    return use;
}

std::vector<float> forward_last(Engine &engine, Sequence &sequence, std::span<const int32_t> tokens,
                                Phase phase) {
    Chunk chunk;
    chunk.sequence = &sequence;
    chunk.tokens = tokens;
    chunk.phase = phase;
    std::vector<float> logits;
    ForwardOptions options;
    options.on_logits = [&](const LogitsBlock &block) {
        logits.assign(block.logits, block.logits + block.n_vocab);
    };
    engine.forward(std::span<const Chunk>(&chunk, 1), options);
    return logits;
}

}  // namespace orthorank
