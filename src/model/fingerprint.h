// A model's identity across its quantisations.
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

}  // namespace orthorank
