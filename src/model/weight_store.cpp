#include "model/weight_store.h"

#include <ggml-alloc.h>
#include <ggml.h>

#include <cstring>
#include <map>
#include <tuple>

#include "base/error.h"
#include "model/ggml_log.h"
#include "model/huge_pages.h"

namespace orthorank {

namespace {

// As ggml calls it, but for a server's: which has ggml's number of the device on that server.
std::string name_of(ggml_backend_buffer_t buffer) {
    ggml_backend_dev_t device = ggml_backend_buft_get_device(ggml_backend_buffer_get_type(buffer));
    return device != nullptr && is_remote(device) ? ggml_backend_dev_name(device)
                                                  : ggml_backend_buffer_name(buffer);
}

bool is_converted(const WeightRequest &request) {
    return request.type != request.info.type;
}

}  // namespace

struct WeightStore::Group {
    struct Item {
        ggml_tensor *tensor;
        const WeightRequest *request;
    };
    ggml_backend_buffer_type_t type = nullptr;
    bool is_mapped = false;
    // The buffer is freed before the context that holds its tensors.
    ggml_context_ptr ctx;
    ggml_backend_buffer_ptr buffer;
    std::vector<Item> items;
};

std::vector<float> read_as_f32(const FileBytes &file, const TensorInfo &info) {
    std::vector<std::byte> scratch;
    const std::span<const std::byte> bytes = file.bytes(info.offset, info.n_bytes, scratch);
    const int64_t n = info.ne[0] * info.ne[1] * info.ne[2] * info.ne[3];
    std::vector<float> values(static_cast<size_t>(n));
    if (info.type == GGML_TYPE_F32) {
        std::memcpy(values.data(), bytes.data(), bytes.size());
    } else {
        ggml_get_type_traits(static_cast<ggml_type>(info.type))
            ->to_float(bytes.data(), values.data(), n);
    }
    return values;
}

WeightStore::~WeightStore() = default;

ConversionError WeightStore::error_of(const ggml_tensor *tensor) const {
    const auto found = errors_.find(tensor);
    return found == errors_.end() ? ConversionError{} : found->second;
}

WeightStore::WeightStore(const std::string &path, Placement placement,
                         const std::vector<WeightRequest> &requests)
    : path_(path),
      placement_(std::move(placement)),
      file_(std::make_unique<FileBytes>(path, placement_.use_mmap)) {
    place(requests);
    for (const std::unique_ptr<Group> &group : groups_) {
        group->is_mapped ? map_group(*group) : upload_group(*group);
        int64_t n_bytes = 0;
        for (const Group::Item &item : group->items) {
            n_bytes += static_cast<int64_t>(ggml_nbytes(item.tensor));
        }
        n_bytes_.emplace_back(name_of(group->buffer.get()), n_bytes);
    }
}

WeightStore::Group &WeightStore::group_for(ggml_backend_buffer_type_t type, bool is_mapped,
                                           size_t max_tensors) {
    for (const std::unique_ptr<Group> &group : groups_) {
        if (group->type == type && group->is_mapped == is_mapped) {
            return *group;
        }
    }
    auto group = std::make_unique<Group>();
    group->type = type;
    group->is_mapped = is_mapped;
    group->ctx.reset(ggml_init({ggml_tensor_overhead() * max_tensors, nullptr, true}));
    CHECK(group->ctx != nullptr);
    groups_.push_back(std::move(group));
    return *groups_.back();
}

// Weights stay where the file is mapped when the CPU reads them as they are.
bool WeightStore::can_stay_mapped(const WeightRequest &request,
                                  ggml_backend_buffer_type_t type) const {
    ggml_backend_dev_t cpu = placement_.split.devices.back();
    ggml_backend_dev_props props{};
    ggml_backend_dev_get_props(cpu, &props);
    return file_->is_mapped() && type == ggml_backend_dev_buffer_type(cpu) &&
           props.caps.buffer_from_host_ptr && !is_converted(request) &&
           request.info.offset % k_tensor_alignment == 0;
}

// Chooses a buffer type for each weight and makes its tensor there, without memory yet. Requests
// for the same data in the same place (a tied head, what two copies share) get one tensor.
void WeightStore::place(const std::vector<WeightRequest> &requests) {
    std::map<std::tuple<int64_t, int, ggml_backend_buffer_type_t>, ggml_tensor *> placed;
    for (const WeightRequest &request : requests) {
        TensorInfo info = request.info;
        info.type = request.type;
        const LayerSplit &split = placement_.split;
        ggml_backend_buffer_type_t type = choose_buffer_type(
            {split.device(request.layer), split.devices.back()}, info, request.use,
            placement_.repack && !request.is_plain, placement_.n_expert_used);
        ggml_tensor *&tensor = placed[{info.offset, request.type, type}];
        if (tensor == nullptr) {
            Group &group = group_for(type, can_stay_mapped(request, type), requests.size());
            tensor = ggml_new_tensor(group.ctx.get(), static_cast<ggml_type>(request.type), 4,
                                     info.ne.data());
            ggml_set_name(tensor, request.is_tied ? "output.weight" : info.name.c_str());
            group.items.push_back({tensor, &request});
        }
        *request.slot = tensor;
    }
}

void WeightStore::map_group(Group &group) {
    size_t max_bytes = 0;
    for (const Group::Item &item : group.items) {
        max_bytes = std::max(max_bytes, ggml_nbytes(item.tensor));
    }
    group.buffer.reset(
        ggml_backend_dev_buffer_from_host_ptr(placement_.split.devices.back(), file_->map(),
                                              static_cast<size_t>(file_->size()), max_bytes));
    if (group.buffer == nullptr) {
        fail(ErrorKind::device, "{}: the device cannot use the mapped file; load without mapping",
             path_);
    }
    ggml_backend_buffer_set_usage(group.buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    for (const Group::Item &item : group.items) {
        const ggml_status status = ggml_backend_tensor_alloc(
            group.buffer.get(), item.tensor, file_->map() + item.request->info.offset);
        CHECK(status == GGML_STATUS_SUCCESS);
    }
}

void WeightStore::upload_group(Group &group) {
    clear_ggml_log();
    group.buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(group.ctx.get(), group.type));
    if (group.buffer == nullptr) {
        int64_t n_bytes = 0;
        for (const Group::Item &item : group.items) {
            n_bytes += static_cast<int64_t>(ggml_nbytes(item.tensor));
        }
        fail(ErrorKind::limit, "{}: cannot get {} MiB for weights in {}: {}", path_,
             n_bytes / (1024 * 1024), ggml_backend_buft_name(group.type),
             ggml_error_or("not enough memory"));
    }
    advise_huge_pages(group.buffer.get());
    // Before the upload: an RPC server keeps weights (--cache) and nothing else.
    ggml_backend_buffer_set_usage(group.buffer.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    std::vector<std::byte> scratch;
    for (const Group::Item &item : group.items) {
        const TensorInfo &info = item.request->info;
        if (is_converted(*item.request)) {
            const std::vector<std::byte> values =
                convert_weight(*file_, info, item.request->type, errors_[item.tensor]);
            ggml_backend_tensor_set(item.tensor, values.data(), 0, values.size());
        } else {
            const std::span<const std::byte> bytes =
                file_->bytes(info.offset, info.n_bytes, scratch);
            ggml_backend_tensor_set(item.tensor, bytes.data(), 0, bytes.size());
        }
        if (!item.request->is_tied && item.request->use != WeightUse::rows) {
            file_->drop(info.offset, info.n_bytes);
        }
    }
}

}  // namespace orthorank
