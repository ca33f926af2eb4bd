#include "model/weight_conversion.h"

#include <ggml.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "base/threads.h"

namespace orthorank {

namespace {

// Values converted at a time, so that they stay in the processor's cache.
constexpr int64_t k_n_values_at_once = 1 << 16;

void to_f32(ggml_type type, const std::byte *from, float *to, int64_t n) {
    if (type == GGML_TYPE_F32) {
        std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
    } else {
        ggml_get_type_traits(type)->to_float(from, to, n);
    }
}

struct Conversion {
    ggml_type from;
    ggml_type to;
    int64_t n_per_row;
    const std::byte *source;
    std::byte *target;

    ConversionError convert_rows(int64_t first, int64_t end) const {
        const int64_t n_at_once = std::max<int64_t>(1, k_n_values_at_once / n_per_row);
        std::vector<float> original(static_cast<size_t>(n_at_once * n_per_row));
        std::vector<float> converted(original.size());
        const size_t source_bytes = ggml_row_size(from, n_per_row);
        const size_t target_bytes = ggml_row_size(to, n_per_row);
        ConversionError error;
        for (int64_t row = first; row < end; row += n_at_once) {
            const int64_t n_rows = std::min(n_at_once, end - row);
            const int64_t n = n_rows * n_per_row;
            std::byte *out = target + target_bytes * static_cast<size_t>(row);
            to_f32(from, source + source_bytes * static_cast<size_t>(row), original.data(), n);
            ggml_quantize_chunk(to, original.data(), out, 0, n_rows, n_per_row, nullptr);
            to_f32(to, out, converted.data(), n);
            for (int64_t i = 0; i < n; ++i) {
                const double x = original[static_cast<size_t>(i)];
                const double difference = converted[static_cast<size_t>(i)] - x;
                error.difference += difference * difference;
                error.original += x * x;
            }
        }
        return error;
    }
};

}  // namespace

std::vector<std::byte> convert_weight(const FileBytes &file, const TensorInfo &info, int type,
                                      ConversionError &error) {
    const auto to = static_cast<ggml_type>(type);
    const int64_t n_rows = info.ne[1] * info.ne[2] * info.ne[3];
    CHECK(info.ne[0] % ggml_blck_size(to) == 0);
    std::vector<std::byte> scratch;
    const std::span<const std::byte> source = file.bytes(info.offset, info.n_bytes, scratch);
    std::vector<std::byte> target(ggml_row_size(to, info.ne[0]) * static_cast<size_t>(n_rows));
    const Conversion conversion{static_cast<ggml_type>(info.type), to, info.ne[0], source.data(),
                                target.data()};
    ggml_quantize_init(to);
    const auto n_threads = std::clamp<int64_t>(default_n_threads(), 1, n_rows);
    std::vector<ConversionError> errors(static_cast<size_t>(n_threads));
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < n_threads; ++i) {
        threads.emplace_back([&, i] {
            errors[static_cast<size_t>(i)] =
                conversion.convert_rows(n_rows * i / n_threads, n_rows * (i + 1) / n_threads);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    for (const ConversionError &part : errors) {
        error.add(part);
    }
    return target;
}

}  // namespace orthorank
