#include "graph/gradient_graph.h"

namespace orthorank {

namespace {

constexpr size_t k_n_block_nodes = 8192;  // more than a block's, forward and backward
constexpr size_t k_n_expert_nodes = 64;   // and each expert's

}  // namespace

Constants::Constants(size_t n_tensors)
    : ctx_(ggml_init({ggml_tensor_overhead() * (n_tensors + 1), nullptr, true})) {}

ggml_tensor *Constants::make(ggml_type type, const std::array<int64_t, 4> &ne) {
    return ggml_new_tensor(ctx_.get(), type, GGML_MAX_DIMS, ne.data());
}

void Constants::allocate(ggml_backend_t backend) {
    buffer_.reset(ggml_backend_alloc_ctx_tensors(ctx_.get(), backend));
    if (!buffer_) {
        fail(ErrorKind::limit, "no memory for the F32 copy of a block's weights");
    }
}

std::vector<float> download(const ggml_tensor *tensor) {
    std::vector<float> values(static_cast<size_t>(ggml_nelements(tensor)));
    ggml_backend_tensor_get(tensor, values.data(), 0, values.size() * sizeof(float));
    return values;
}

GradientGraph::GradientGraph(const Hparams &hparams) {
    const size_t n_nodes =
        k_n_block_nodes + k_n_expert_nodes * static_cast<size_t>(hparams.n_expert);
    ctx_.reset(
        ggml_init({ggml_tensor_overhead() * 2 * n_nodes + ggml_graph_overhead_custom(n_nodes, true),
                   nullptr, true}));
    gf_ = ggml_new_graph_custom(ctx_.get(), n_nodes, true);
}

void GradientGraph::run(ggml_backend_t backend, ggml_tensor *output) {
    ggml_set_output(output);
    ggml_build_forward_expand(gf_, output);
    allocate(backend);
    compute(backend);
}

void GradientGraph::run_backward(ggml_backend_t backend, ggml_tensor *loss,
                                 std::span<ggml_tensor *const> parameters) {
    ggml_set_loss(loss);
    ggml_set_output(loss);
    ggml_build_forward_expand(gf_, loss);
    ggml_build_backward_expand(ctx_.get(), gf_, nullptr);
    for (ggml_tensor *parameter : parameters) {
        ggml_set_output(ggml_graph_get_grad(gf_, parameter));
    }
    ggml_tensor *seed = ggml_graph_get_grad_acc(gf_, loss);
    ggml_set_input(seed);
    allocate(backend);
    upload(seed, std::vector<float>{1.0f});
    compute(backend);
}

std::vector<float> GradientGraph::gradient(const ggml_tensor *parameter) const {
    return download(ggml_graph_get_grad(gf_, parameter));
}

void GradientGraph::allocate(ggml_backend_t backend) {
    allocator_.reset(ggml_gallocr_new(ggml_backend_get_default_buffer_type(backend)));
    if (!ggml_gallocr_alloc_graph(allocator_.get(), gf_)) {
        fail(ErrorKind::limit, "no memory for a gradient graph");
    }
}

void GradientGraph::compute(ggml_backend_t backend) {
    if (ggml_backend_graph_compute(backend, gf_) != GGML_STATUS_SUCCESS) {
        fail(ErrorKind::device, "the CPU failed to compute a gradient");
    }
}

}  // namespace orthorank
