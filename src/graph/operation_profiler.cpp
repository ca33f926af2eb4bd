#include "graph/operation_profiler.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/backends.h"
#include "graph/segment.h"

namespace orthorank {

namespace {

using Operations = std::unordered_map<const ggml_tensor *, Operation>;

// By a part of a tensor's name; the first that fits.
constexpr std::array<std::pair<std::string_view, Operation>, 25> k_by_name = {{
    {"correction", Operation::correction},
    {"probe", Operation::score},
    {"attn_norm", Operation::norm},
    {"post_attention_norm", Operation::q_o},
    {"post_ffw_norm", Operation::ffn},
    {"pre_ffw_norm", Operation::ffn},
    {"layer_output_scale", Operation::ffn},
    {"per_layer_model_proj", Operation::ffn},
    {"per_layer_proj_norm", Operation::ffn},
    {"inp_gate", Operation::ffn},
    {".proj.weight", Operation::ffn},
    {".post_norm", Operation::ffn},
    {"attn_q", Operation::q_o},
    {"attn_output", Operation::q_o},
    {"attn_k", Operation::kv},
    {"attn_v", Operation::kv},
    {"ffn_", Operation::ffn},
    {"output", Operation::head},
    {"token_embd", Operation::head},
    {"rope_freqs", Operation::other},
    {"rope_factors", Operation::other},
    {"k_cache", Operation::kv},
    {"v_cache", Operation::kv},
    {"hidden", Operation::gather},
    {"sinks", Operation::score},
}};

const ggml_tensor *base_of(const ggml_tensor *tensor) {
    return tensor->view_src != nullptr ? tensor->view_src : tensor;
}

std::optional<Operation> by_name(const ggml_tensor *tensor) {
    const std::string_view name = ggml_get_name(base_of(tensor));
    for (const auto &[part, operation] : k_by_name) {
        if (name.find(part) != std::string_view::npos) {
            return operation;
        }
    }
    return std::nullopt;
}

bool is_weight(const ggml_tensor *tensor) {
    const std::string_view name = ggml_get_name(tensor);
    return name.ends_with(".weight") || name.ends_with(".bias") || name.ends_with(".scale");
}

bool is_view(const ggml_tensor *node) {
    return node->op == GGML_OP_NONE || node->op == GGML_OP_VIEW || node->op == GGML_OP_RESHAPE ||
           node->op == GGML_OP_PERMUTE || node->op == GGML_OP_TRANSPOSE;
}

// What a node without a weight descends from.
Operation inherited(const ggml_tensor *node, const Operations &known) {
    const auto found = known.find(node->src[0]);
    return found != known.end() ? found->second : Operation::other;
}

Operation operation_of_rows(const ggml_tensor *node, const Operations &known) {
    const std::optional<Operation> source = by_name(node->src[0]);
    if (source == Operation::head) {
        return Operation::embedding;
    }
    if (source == Operation::score) {
        return Operation::score;
    }
    const bool is_of_experts = node->src[0]->ne[0] == 1;  // their weights, one number each
    return is_of_experts ? inherited(node, known) : Operation::gather;
}

// A product with a weight is that weight's; one with the cache (attention received) or with the
// sinks makes scores.
Operation operation_of_product(const ggml_tensor *node, const Operations &known) {
    if (const auto weight = by_name(node->src[0])) {
        const std::string_view name = ggml_get_name(base_of(node->src[0]));
        const bool is_cache = name.ends_with("_cache");
        return is_cache ? Operation::score : *weight;
    }
    const auto right = known.find(node->src[1]);
    const bool has_sink = by_name(node->src[1]) == Operation::score ||
                          (right != known.end() && right->second == Operation::score);
    return has_sink ? Operation::score : Operation::other;
}

// Of cpu_matmul() and its packed rows, cpu_rows(), cpu_correction(), cpu_attention() and
// cpu_row_attention().
Operation operation_of_custom(const ggml_tensor *node, const Operations &known) {
    if (by_name(node) == Operation::gather) {
        return Operation::correction;  // in the hidden rows
    }
    if (is_weight(node->src[0])) {
        return operation_of_product(node, known);
    }
    return node->type == GGML_TYPE_I8 ? inherited(node, known) : Operation::attention;
}

// The weights that a node multiplies with, where they are several (Q, K and V): its sources before
// the first that is none.
std::vector<const ggml_tensor *> weights_of(const ggml_tensor *node) {
    std::vector<const ggml_tensor *> weights;
    if (node->op == GGML_OP_CUSTOM) {
        for (const ggml_tensor *source : node->src) {
            if (source == nullptr || !is_weight(source) || source->ne[1] == 1) {
                break;
            }
            weights.push_back(source);
        }
    }
    return weights;
}

Operation operation_of(const ggml_tensor *node, const Operations &known) {
    switch (node->op) {
        case GGML_OP_FLASH_ATTN_EXT:
            return Operation::attention;
        case GGML_OP_CUSTOM:
            return operation_of_custom(node, known);
        case GGML_OP_L2_NORM:
        case GGML_OP_SQR:
        case GGML_OP_SQRT:
            return Operation::score;
        case GGML_OP_GET_ROWS:
            return operation_of_rows(node, known);
        case GGML_OP_SET_ROWS:
        case GGML_OP_CPY:
            return by_name(node).value_or(Operation::other);  // where it writes to
        case GGML_OP_MUL_MAT:
        case GGML_OP_MUL_MAT_ID:
            return operation_of_product(node, known);
        case GGML_OP_MUL:
        case GGML_OP_ADD:
            return is_weight(node->src[1]) ? by_name(node->src[1]).value_or(Operation::other)
                                           : inherited(node, known);
        default:
            return inherited(node, known);
    }
}

}  // namespace

Operations operations_of(ggml_cgraph *graph) {
    Operations operations;
    const int n_nodes = ggml_graph_n_nodes(graph);
    for (int i = 0; i < n_nodes; ++i) {
        const ggml_tensor *node = ggml_graph_node(graph, i);
        operations[node] = operation_of(node, operations);
    }
    // A norm belongs to its weight, which the next node multiplies with.
    for (int i = 0; i + 1 < n_nodes; ++i) {
        const ggml_tensor *node = ggml_graph_node(graph, i);
        const ggml_tensor *next = ggml_graph_node(graph, i + 1);
        if (node->op == GGML_OP_RMS_NORM && next->src[0] == node) {
            operations[node] = operations[next];
        }
    }
    std::erase_if(operations, [](const auto &item) { return is_view(item.first); });
    return operations;
}

void OperationProfiler::on_graph(const SegmentGraph &graph) {
    const Operations operations = operations_of(graph.gf);
    ends_.clear();
    const ggml_tensor *last = nullptr;
    for (int i = 0; i < ggml_graph_n_nodes(graph.gf); ++i) {
        const ggml_tensor *node = ggml_graph_node(graph.gf, i);
        const auto found = operations.find(node);
        if (found == operations.end()) {
            continue;
        }
        if (last != nullptr && ends_.at(last) == found->second && weights_of(last).size() < 2) {
            ends_.erase(last);
        }
        ends_[node] = found->second;
        last = node;
    }
    stopwatch_.restart();
}

bool OperationProfiler::wants_node(const ggml_tensor *node) {
    return ends_.count(node) != 0;
}

void OperationProfiler::on_node(const ggml_tensor *node) {
    wait_for_remote(node);
    const double seconds = stopwatch_.elapsed_s();
    const std::vector<const ggml_tensor *> weights = weights_of(node);
    double n_bytes = 0;
    for (const ggml_tensor *weight : weights) {
        n_bytes += static_cast<double>(ggml_nbytes(weight));
    }
    for (const ggml_tensor *weight : weights) {
        times_[by_name(weight).value_or(Operation::other)] +=
            seconds * static_cast<double>(ggml_nbytes(weight)) / n_bytes;
    }
    if (weights.empty()) {
        times_[ends_.at(node)] += seconds;
    }
    stopwatch_.restart();
}

void OperationProfiler::on_pick(double seconds) {
    times_[Operation::pick] += seconds;
}

}  // namespace orthorank
