#include "model/devices.h"

#include <dlfcn.h>
#include <ggml-cpp.h>
#include <ggml.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <filesystem>
#include <mutex>
#include <set>
#include <string_view>

#include "base/error.h"
#include "base/strings.h"
#include "model/ggml_log.h"

namespace orthorank {

namespace {

// Rows in the imagined batch that a device is asked about, as in libllama.
constexpr int64_t k_n_rows_asked = 512;

std::atomic<uint64_t> n_freed = 0;

bool same_name(const std::string &a, const std::string &b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
        return std::tolower(x) == std::tolower(y);
    });
}

ggml_backend_dev_t find_device(const std::string &name) {
    std::string known;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (same_name(name, ggml_backend_dev_name(device))) {
            return device;
        }
        known += (known.empty() ? "" : ", ") + std::string(ggml_backend_dev_name(device));
    }
    fail(ErrorKind::device, "there is no device '{}' (known: {})", name, known);
}

// Where it is plugged in, the same for all back ends; empty if a back end does not say.
std::string place_of(ggml_backend_dev_t device) {
    ggml_backend_dev_props props{};
    ggml_backend_dev_get_props(device, &props);
    return props.device_id != nullptr ? props.device_id : "";
}

// A GPU that two back ends know is taken once, from the first.
std::vector<ggml_backend_dev_t> default_devices(ggml_backend_dev_t cpu) {
    std::vector<ggml_backend_dev_t> devices;
    std::set<std::string> places;
    for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
        ggml_backend_dev_t device = ggml_backend_dev_get(i);
        if (ggml_backend_dev_type(device) != GGML_BACKEND_DEVICE_TYPE_GPU) {
            continue;
        }
        const std::string place = place_of(device);
        if (place.empty() || places.insert(place).second) {
            devices.push_back(device);
        }
    }
    if (devices.empty()) {
        ggml_backend_dev_t integrated = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_IGPU);
        devices.push_back(integrated != nullptr ? integrated : cpu);
    }
    return devices;
}

// The buffer types that `device` offers for weights, best first.
std::vector<ggml_backend_buffer_type_t> buffer_types(ggml_backend_dev_t device, bool repack) {
    std::vector<ggml_backend_buffer_type_t> types;
    if (repack && ggml_backend_dev_type(device) == GGML_BACKEND_DEVICE_TYPE_CPU) {
        const auto extra_types =
            reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
                ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
        ggml_backend_buffer_type_t *extra = extra_types ? extra_types(device) : nullptr;
        for (; extra != nullptr && *extra != nullptr; extra++) {
            types.push_back(*extra);
        }
    }
    types.push_back(ggml_backend_dev_buffer_type(device));
    return types;
}

// The operation that will read the weight, on an imagined batch.
ggml_tensor *imagined_op(ggml_context *ctx, ggml_tensor *weight, WeightUse use, int n_expert_used) {
    const int64_t n = k_n_rows_asked;
    switch (use) {
        case WeightUse::rows:
            return ggml_get_rows(ctx, weight, ggml_new_tensor_1d(ctx, GGML_TYPE_I32, n));
        case WeightUse::matrix:
            return ggml_mul_mat(ctx, weight,
                                ggml_new_tensor_2d(ctx, GGML_TYPE_F32, weight->ne[0], n));
        case WeightUse::experts: {
            ggml_tensor *rows =
                ggml_new_tensor_3d(ctx, GGML_TYPE_F32, weight->ne[0], n_expert_used, n);
            ggml_tensor *ids = ggml_new_tensor_2d(ctx, GGML_TYPE_I32, n_expert_used, n);
            return ggml_mul_mat_id(ctx, weight, rows, ids);
        }
        case WeightUse::vector:
            break;
    }
    ggml_tensor *rows = ggml_new_tensor_2d(ctx, GGML_TYPE_F32, weight->ne[0], n);
    return ggml_mul(ctx, rows, weight);
}

bool supports(ggml_backend_dev_t device, ggml_backend_buffer_type_t type, const TensorInfo &tensor,
              WeightUse use, int n_expert_used) {
    const ggml_context_ptr ctx{ggml_init({ggml_tensor_overhead() * 8, nullptr, true})};
    CHECK(ctx != nullptr);
    const ggml_type element =
        use == WeightUse::vector ? GGML_TYPE_F32 : static_cast<ggml_type>(tensor.type);
    ggml_tensor *weight = ggml_new_tensor(ctx.get(), element, 4, tensor.ne.data());
    // The device looks at the buffer's type only.
    const ggml_backend_buffer_ptr buffer{ggml_backend_buft_alloc_buffer(type, 0)};
    weight->buffer = buffer.get();
    return ggml_backend_dev_supports_op(device, imagined_op(ctx.get(), weight, use, n_expert_used));
}

// Where back ends that are modules lie: beside libggml as tools/setup puts them there, or among the
// programs of an installed llama.cpp.
std::vector<std::filesystem::path> module_folders() {
    Dl_info info{};
    if (::dladdr(reinterpret_cast<const void *>(&ggml_backend_load_all), &info) == 0 ||
        info.dli_fname == nullptr) {
        return {};
    }
    const std::filesystem::path lib = std::filesystem::path(info.dli_fname).parent_path();
    return {lib / "backends", lib / ".." / "bin"};
}

}  // namespace

void load_backends() {
    capture_ggml_log();
    static std::once_flag once;
    std::call_once(once, [] {
        for (const std::filesystem::path &folder : module_folders()) {
            std::error_code is_missing;
            if (std::filesystem::is_directory(folder, is_missing)) {
                ggml_backend_load_all_from_path(folder.c_str());
            }
        }
        if (ggml_backend_dev_count() == 0) {
            ggml_backend_load_all();  // the places that this ggml was built with
        }
    });
}

std::vector<UnloadedModule> unloaded_modules_in(const std::string &folder) {
    std::vector<std::filesystem::path> files;
    std::error_code is_missing;
    for (const auto &entry : std::filesystem::directory_iterator(folder, is_missing)) {
        const std::string name = entry.path().filename().string();
        if (name.starts_with("libggml-") && name.ends_with(".so")) {
            files.push_back(entry.path());
        }
    }
    std::sort(files.begin(), files.end());
    std::vector<UnloadedModule> unloaded;
    for (const std::filesystem::path &file : files) {
        void *module = ::dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL);
        if (module == nullptr) {
            const char *reason = ::dlerror();
            unloaded.push_back({file.filename().string(), reason != nullptr ? reason : "unknown"});
        } else {
            ::dlclose(module);
        }
    }
    return unloaded;
}

std::vector<UnloadedModule> unloaded_modules() {
    std::vector<UnloadedModule> unloaded;
    for (const std::filesystem::path &folder : module_folders()) {
        for (UnloadedModule &module : unloaded_modules_in(folder.string())) {
            unloaded.push_back(std::move(module));
        }
    }
    return unloaded;
}

std::vector<ggml_backend_dev_t> choose_devices(const std::string &names) {
    load_backends();
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (cpu == nullptr) {
        fail(ErrorKind::device, "ggml offers no CPU device: its installation is incomplete");
    }
    if (names.empty()) {
        return default_devices(cpu);
    }
    std::vector<ggml_backend_dev_t> devices;
    for (const std::string &name : split_at(names, ',')) {
        if (name.empty()) {
            fail(ErrorKind::usage,
                 "--device {}: expected names of devices separated by commas, found an empty one",
                 names);
        }
        ggml_backend_dev_t device = find_device(name);
        if (std::find(devices.begin(), devices.end(), device) != devices.end()) {
            fail(ErrorKind::usage, "--device {}: {} is named twice", names, name);
        }
        devices.push_back(device);
    }
    return devices;
}

std::vector<ggml_backend_dev_t> first_device(const std::string &names) {
    ggml_backend_dev_t first = choose_devices(names).front();
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    return first == cpu ? std::vector{cpu} : std::vector{first, cpu};
}

bool is_remote(ggml_backend_dev_t device) {
    ggml_backend_reg_t registry = ggml_backend_dev_backend_reg(device);
    return registry != nullptr && std::string_view(ggml_backend_reg_name(registry)) == "RPC";
}

bool computes_attention(ggml_backend_dev_t device, const Heads &heads, ggml_type kv_type) {
    const ggml_context_ptr ctx{ggml_init({ggml_tensor_overhead() * 8, nullptr, true})};
    CHECK(ctx != nullptr);
    const auto tensor = [&](ggml_type type, int64_t width, int64_t n_heads) {
        return ggml_new_tensor_3d(ctx.get(), type, width, k_n_rows_asked, n_heads);
    };
    ggml_tensor *keys = tensor(kv_type, heads.width, heads.n_key);
    ggml_tensor *values = tensor(kv_type, heads.width, heads.n_key);
    ggml_tensor *o =
        ggml_flash_attn_ext(ctx.get(), tensor(GGML_TYPE_F32, heads.width, heads.n_query), keys,
                            values, tensor(GGML_TYPE_F16, k_n_rows_asked, 1), 1.0f, 0.0f, 0.0f);
    ggml_prec_set_acc(o, GGML_PREC_F32);
    return ggml_backend_dev_supports_op(device, o);
}

void count_freed_buffers() {
    ++n_freed;
}

uint64_t n_freed_buffers() {
    return n_freed;
}

ggml_backend_buffer_type_t choose_buffer_type(const std::vector<ggml_backend_dev_t> &devices,
                                              const TensorInfo &tensor, WeightUse use, bool repack,
                                              int n_expert_used) {
    for (ggml_backend_dev_t device : devices) {
        for (ggml_backend_buffer_type_t type : buffer_types(device, repack)) {
            if (supports(device, type, tensor, use, n_expert_used)) {
                return type;
            }
        }
    }
    fail(ErrorKind::format, "tensor {}: no device computes with type {}", tensor.name,
         ggml_type_name(static_cast<ggml_type>(tensor.type)));
}

}  // namespace orthorank
