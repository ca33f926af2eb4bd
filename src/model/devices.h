// The devices that ggml's registry offers, and where on them a weight may live. Stateless: the
// registry is ggml's own and lives as long as the process.
#pragma once

#include <ggml-backend.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/gguf_file.h"

namespace orthorank {

// What a weight is used for; decides which buffer types can hold it.
enum class WeightUse {
    rows,     // get_rows: the embedding
    matrix,   // mul_mat
    experts,  // mul_mat_id
    vector,   // norms, biases, rope factors: always F32
};

// The devices of these names, separated by commas and each once, in their order. Empty: all GPUs,
// those of RPC servers among them (rpc_servers.h), one that two back ends know once, else an
// integrated GPU, else the CPU. Throws Error{device} with the known names, Error{usage} for one
// that is named twice or empty.
std::vector<ggml_backend_dev_t> choose_devices(const std::string &names);

// The first of them, then the CPU as the last resort.
std::vector<ggml_backend_dev_t> first_device(const std::string &names);

// Whether it is an RPC server's.
bool is_remote(ggml_backend_dev_t device);

// Whether it computes ggml's attention over these heads and a cache of this type, of which the
// heads' width is whole blocks. A GPU's back end knows some widths only, or none if it was built
// so: what it does not compute the CPU does, and keys and values cross over every time. An RPC
// server's always says that it does.
struct Heads {
    int width = 0;
    int n_query = 1;
    int n_key = 1;
};
bool computes_attention(ggml_backend_dev_t device, const Heads &heads, ggml_type kv_type);

// Loads those of ggml's back ends that are modules, beside those that libggml is linked with: what
// lies in backends/ beside libggml or in ../bin, else in the places that ggml itself knows. A
// module whose driver is missing is left out. Done once for the process.
void load_backends();

// A back end's module that is there and cannot be loaded: its file's name, and what the loader
// says, such as which library of a toolkit or driver is missing.
struct UnloadedModule {
    std::string file;
    std::string reason;
};
std::vector<UnloadedModule> unloaded_modules();
// Those of one folder, by their names.
std::vector<UnloadedModule> unloaded_modules_in(const std::string &folder);

// How often buffers of devices were freed in this process, as their owners say: what servers keep
// of a buffer's graphs is then gone (Backends::forget_graphs). Thread-safe.
void count_freed_buffers();
uint64_t n_freed_buffers();

// The buffer type for one weight: the first that supports its use, of each device's own type and,
// before a CPU's own type and if `repack`, the layouts that the CPU converts weights to for speed.
// Throws Error{format} when no device computes with the tensor's type.
ggml_backend_buffer_type_t choose_buffer_type(const std::vector<ggml_backend_dev_t> &devices,
                                              const TensorInfo &tensor, WeightUse use, bool repack,
                                              int n_expert_used);

}  // namespace orthorank
