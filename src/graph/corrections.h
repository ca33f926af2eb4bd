// Corrections and probes (select/correction.h) as tensors in device buffers: each is uploaded once
// and shared by the sequences and graphs that use it. The store belongs to an engine, whose kept
// graphs borrow the tensors: forget those graphs when release_unused() says so. One thread at a
// time. Throws Error{format} for numbers that do not fit the model or the type, Error{limit}.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ggml-cpp.h"
#include "model/model.h"
#include "select/correction.h"

namespace orthorank {

struct CorrectionTensors {
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;
    ggml_tensor *down = nullptr;  // F16 or F32 [n_embd, rank]; null for rank 0
    ggml_tensor *up = nullptr;    // the same type [rank, n_embd]; null for rank 0
    ggml_tensor *bias = nullptr;  // F32 [n_embd]
};

struct ProbeTensors {
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;
    ggml_tensor *weight = nullptr;  // F32 [n_embd]
};

class CorrectionStore {
 public:
    // type: of down and up on the device.
    CorrectionStore(const Model &model, CorrectionType type) : model_(model), type_(type) {}

    // On the device that has the weights of layer il, unless it is there already. `where`: the
    // layer of the plan, for messages.
    std::shared_ptr<const CorrectionTensors> upload(const CorrectionPtr &correction, int il,
                                                    const std::string &where);
    std::shared_ptr<const ProbeTensors> upload(const ProbePtr &probe, int il,
                                               const std::string &where);
    // Frees what only the store holds; true when there was any.
    bool release_unused();
    int64_t bytes() const;

 private:
    // The key is kept alive, so that its address stays its own.
    template <typename Data, typename Tensors>
    struct Entry {
        std::shared_ptr<const Data> data;
        std::shared_ptr<const Tensors> tensors;
    };

    // And the device of the layers that it is for.
    template <typename Data>
    using Key = std::pair<const Data *, int>;

    const Model &model_;
    CorrectionType type_;
    std::map<Key<Correction>, Entry<Correction, CorrectionTensors>> corrections_;
    std::map<Key<Probe>, Entry<Probe, ProbeTensors>> probes_;
};

}  // namespace orthorank
