#include "model/weight_list.h"

#include <ggml.h>

#include "base/error.h"
#include "model/architecture.h"
#include "model/tensor_list.h"

namespace orthorank {

std::vector<WeightRequest> list_weights(const GgufFile &file, const Hparams &hparams,
                                        Weights &weights) {
    const Architecture &architecture = architecture_named(hparams.arch);
    TensorList list(file, hparams, weights);
    list.ends();
    for (int il = 0; il < hparams.n_layers; ++il) {
        list.begin_layer(il);
        if (architecture.rope_factors == RopeFactors::one) {
            list.rope_freqs();
        } else if (architecture.rope_factors == RopeFactors::by_context) {
            list.rope_by_context();
        }
        architecture.list_layer(list);
    }
    return list.finish();
}

void hold_as(std::vector<WeightRequest> &requests, const std::string &type) {
    if (type == k_file_weights) {
        return;
    }
    const int to = ggml_type_of(type);
    const int64_t n_block = ggml_blck_size(static_cast<ggml_type>(to));
    for (WeightRequest &request : requests) {
        if (!request.is_convertible) {
            continue;
        }
        if (request.info.ne[0] % n_block != 0) {
            fail(ErrorKind::usage,
                 "weights cannot be held as {}: it needs rows divisible by {}, tensor {} has rows "
                 "of {}",
                 type, n_block, request.info.name, request.info.ne[0]);
        }
        request.type = to;
    }
}

}  // namespace orthorank
