#include "graph/weight_race.h"

#include <ggml.h>

#include <algorithm>
#include <limits>

#include "base/error.h"
#include "base/stopwatch.h"
#include "base/threads.h"
#include "graph/backends.h"
#include "graph/cpu_matmul.h"
#include "graph/cpu_rows.h"
#include "model/devices.h"
#include "model/layer_sample.h"
#include "model/weight_conversion.h"

namespace orthorank {

namespace {

constexpr int k_n_rounds = 4;  // the first warms up
constexpr int k_prefill_rows = 512;
constexpr size_t k_flush_bytes = 128u << 20;

// The block's matrices times n rows each.
class Product {
 public:
    Product(const Backends &backends, const std::vector<ggml_tensor *> &matrices, int n_rows,
            CpuLevel level) {
        const size_t n = matrices.size();
        const size_t n_nodes = 6 * n + 16;
        ctx_.reset(ggml_init(
            {ggml_tensor_overhead() * n_nodes + ggml_graph_overhead_custom(n_nodes, false), nullptr,
             true}));
        graph_ = ggml_new_graph_custom(ctx_.get(), n_nodes, false);
        std::vector<ggml_tensor *> inputs;
        for (ggml_tensor *matrix : matrices) {
            inputs.push_back(ggml_new_tensor_2d(ctx_.get(), GGML_TYPE_F32, matrix->ne[0], n_rows));
            ggml_set_input(inputs.back());
            ggml_build_forward_expand(graph_, product(matrix, inputs.back(), level));
        }
        scheduler_ = backends.make_scheduler(n_nodes);
        if (!ggml_backend_sched_alloc_graph(scheduler_.get(), graph_)) {
            fail(ErrorKind::limit, "no memory to time the weights' types");
        }
        for (ggml_tensor *input : inputs) {
            const std::vector<float> ones(static_cast<size_t>(ggml_nelements(input)), 1.0f);
            ggml_backend_tensor_set(input, ones.data(), 0, ggml_nbytes(input));
        }
    }

    double time_ms() {
        const Stopwatch stopwatch;
        if (ggml_backend_sched_graph_compute(scheduler_.get(), graph_) != GGML_STATUS_SUCCESS) {
            fail(ErrorKind::device, "the device failed to compute a graph");
        }
        wait();
        return stopwatch.elapsed_ms();
    }

    // For all that its device was asked to do so far.
    void wait() const { wait_for_remote(ggml_graph_node(graph_, -1)); }

 private:
    // As BlockBuilder computes it.
    ggml_tensor *product(ggml_tensor *matrix, ggml_tensor *x, CpuLevel level) {
        if (level != CpuLevel::none && x->ne[1] < k_min_panel_rows && fits_cpu_rows(matrix)) {
            return cpu_rows(ctx_.get(), level, {{matrix, nullptr}}, {x, nullptr, 0});
        }
        if (level != CpuLevel::none && x->ne[1] >= k_min_panel_rows && fits_cpu_matmul(matrix)) {
            return CpuMatmul(level).multiply(ctx_.get(), matrix, x);
        }
        return ggml_mul_mat(ctx_.get(), matrix, x);
    }

    ggml_context_ptr ctx_;
    ggml_cgraph *graph_ = nullptr;
    ggml_backend_sched_ptr scheduler_;
};

struct Candidate {
    WeightTiming timing;
    LayerSample::Matrices matrices;
    std::unique_ptr<Product> prefill;
    std::unique_ptr<Product> decode;
};

std::vector<Candidate> candidates_of(const LayerSample &sample, const Backends &backends,
                                     CpuLevel level) {
    const double largest = sample.largest_weight();
    std::vector<Candidate> candidates;
    for (const char *type : {"file", "bf16", "f16", "q8_0", "q4_0", "q4_k"}) {
        if (type != k_file_weights && (!sample.can_hold(type) || sample.is_held_as(type))) {
            continue;
        }
        Candidate candidate;
        candidate.timing.type = type;
        if (type != k_file_weights && largest > largest_held(ggml_type_of(type))) {
            candidate.timing.can_hold = false;
            candidates.push_back(std::move(candidate));
            continue;
        }
        // Our own kernels read what the file has.
        candidate.matrices = sample.load(type, level == CpuLevel::none);
        candidate.timing.nmse = candidate.matrices.nmse;
        candidate.timing.bytes = candidate.matrices.model_bytes;
        candidate.timing.prefill_ms = std::numeric_limits<double>::infinity();
        candidate.timing.decode_ms = std::numeric_limits<double>::infinity();
        const std::vector<ggml_tensor *> &tensors = candidate.matrices.tensors;
        candidate.prefill = std::make_unique<Product>(backends, tensors, k_prefill_rows, level);
        candidate.decode = std::make_unique<Product>(backends, tensors, 1, level);
        candidates.push_back(std::move(candidate));
    }
    return candidates;
}

}  // namespace

std::vector<WeightTiming> race_weights(const std::string &gguf_path, const std::string &device,
                                       int n_threads, Kernels kernels) {
    const LayerSample sample(gguf_path, device);
    const Backends backends(sample.devices(), n_threads);
    std::vector<Candidate> candidates =
        candidates_of(sample, backends, cpu_level_of(sample.devices().front(), kernels));
    // Decoding reads every weight from memory: writing this much drives them out of the caches.
    const ggml_backend_buffer_ptr flush(
        ggml_backend_buft_alloc_buffer(backends.buffer_type(), k_flush_bytes));
    for (int round = 0; round < k_n_rounds; ++round) {
        for (Candidate &candidate : candidates) {
            WeightTiming &timing = candidate.timing;
            if (!timing.can_hold) {
                continue;
            }
            const double prefill_ms = candidate.prefill->time_ms();
            if (flush) {
                ggml_backend_buffer_clear(flush.get(), static_cast<uint8_t>(round));
                candidate.prefill->wait();
            }
            const double decode_ms = candidate.decode->time_ms();
            if (round > 0) {
                timing.prefill_ms = std::min(timing.prefill_ms, prefill_ms);
                timing.decode_ms = std::min(timing.decode_ms, decode_ms);
            }
        }
    }
    std::vector<WeightTiming> timings;
    for (const Candidate &candidate : candidates) {
        timings.push_back(candidate.timing);
    }
    return timings;
}

namespace {

// The kernels that a backend was built for, such as "AVX2, AVX512_VNNI, REPACK".
std::string features_of(ggml_backend_dev_t device) {
    const auto features_at =
        reinterpret_cast<ggml_backend_get_features_t>(ggml_backend_reg_get_proc_address(
            ggml_backend_dev_backend_reg(device), "ggml_backend_get_features"));
    std::string text;
    if (features_at == nullptr) {
        return text;
    }
    for (const ggml_backend_feature *feature = features_at(ggml_backend_dev_backend_reg(device));
         feature != nullptr && feature->name != nullptr; ++feature) {
        text += fmt::format("{}{}", text.empty() ? "" : ", ", feature->name);
    }
    return text;
}

}  // namespace

RaceKey race_key(const std::string &gguf_path, const std::string &device, int n_threads,
                 Kernels kernels) {
    const LayerSample sample(gguf_path, device);
    RaceKey key;
    key.device = ggml_backend_dev_name(sample.devices().front());
    key.is_remote = is_remote(sample.devices().front());
    for (ggml_backend_dev_t used : sample.devices()) {
        key.description +=
            fmt::format("{} ({}), ", ggml_backend_dev_description(used), features_of(used));
    }
    key.description += fmt::format("kernels {}, {} threads, ggml {}: {}", kernels_text(kernels),
                                   n_threads > 0 ? n_threads : default_n_threads(), ggml_version(),
                                   sample.description());
    return key;
}

}  // namespace orthorank
