// A model's identity across its quantisations, and that of a file's weights.
#pragma once

#include <string>
#include <vector>

#include "model/file_bytes.h"
#include "model/gguf_file.h"
#include "model/hparams.h"
#include "model/weight_list.h"

namespace orthorank {

// 16 hex digits: FNV-1a (64 bits) over the hyper-parameters (not the name), the token strings and
// the norm tensors as F32, none of which quantising changes.
std::string model_fingerprint(const GgufFile &gguf, const Hparams &hparams,
                              const std::vector<WeightRequest> &requests, const FileBytes &file);

// 16 hex digits of what matrices are and hold: their names, types and shapes, and of each the first
// 4 KiB. Another file of the same model, or the same model trained on, has another.
std::string weights_digest(const std::vector<WeightRequest> &requests, const FileBytes &file);

}  // namespace orthorank
