#include "graph/device_rows.h"

#include <algorithm>

#include "base/error.h"
#include "model/devices.h"
#include "model/huge_pages.h"

namespace orthorank {

namespace {

// Rows that the smallest buffer holds: decode steps of a growing batch find room in it.
constexpr int64_t k_min_hidden_rows = 64;

}  // namespace

DeviceRows::DeviceRows(const BufferTypes &types, int64_t n_embd, int64_t n_rows, const char *what)
    : n_rows_(n_rows) {
    for (ggml_backend_buffer_type_t type : types) {
        Rows &rows = rows_.emplace_back();
        if (type == nullptr) {
            continue;
        }
        rows.ctx.reset(ggml_init({ggml_tensor_overhead() * 2, nullptr, true}));
        rows.tensor = ggml_new_tensor_2d(rows.ctx.get(), GGML_TYPE_F32, n_embd, n_rows);
        ggml_set_name(rows.tensor, what);
        rows.buffer.reset(ggml_backend_alloc_ctx_tensors_from_buft(rows.ctx.get(), type));
        if (!rows.buffer) {
            count_freed_buffers();  // of the devices before
            fail(ErrorKind::limit, "no memory for the {} of {} rows", what, n_rows);
        }
        advise_huge_pages(rows.buffer.get());
        ggml_backend_buffer_clear(rows.buffer.get(), 0);
    }
}

int64_t DeviceRows::bytes() const {
    size_t bytes = 0;
    for (const Rows &rows : rows_) {
        bytes += rows.buffer ? ggml_backend_buffer_get_size(rows.buffer.get()) : 0;
    }
    return static_cast<int64_t>(bytes);
}

std::vector<HiddenRowsPool::Entry>::iterator HiddenRowsPool::find_free(int64_t n) {
    auto found = entries_.end();
    for (auto it = entries_.begin(); it != entries_.end(); ++it) {
        if (it->is_taken) {
            continue;
        }
        if (found == entries_.end()) {
            found = it;
            continue;
        }
        const int64_t size = it->rows->n_rows();
        const int64_t best = found->rows->n_rows();
        if (size > n ? best <= n || size < best : best <= n && size > best) {
            found = it;
        }
    }
    return found;
}

DeviceRows *HiddenRowsPool::take(int64_t n) {
    const auto found = find_free(n);
    if (found != entries_.end() && found->rows->n_rows() > n) {
        found->is_taken = true;
        return found->rows.get();
    }
    if (found != entries_.end()) {
        // Before the new ones are made, so that there is never room needed for both.
        on_free_(found->rows.get());
        entries_.erase(found);
    }
    const int64_t n_rows = std::max(k_min_hidden_rows, n) + 1;
    entries_.push_back(
        {std::make_unique<DeviceRows>(types_, n_embd_, n_rows, "hidden states"), true});
    return entries_.back().rows.get();
}

void HiddenRowsPool::give_back(const DeviceRows *rows) {
    const auto found = std::find_if(entries_.begin(), entries_.end(), [rows](const Entry &entry) {
        return entry.rows.get() == rows;
    });
    CHECK(found != entries_.end());
    found->is_taken = false;
}

int64_t HiddenRowsPool::bytes() const {
    int64_t bytes = 0;
    for (const Entry &entry : entries_) {
        bytes += entry.rows->bytes();
    }
    return bytes;
}

}  // namespace orthorank
