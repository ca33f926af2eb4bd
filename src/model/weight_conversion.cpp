#include "model/weight_conversion.h"

#include <ggml.h>

#include <algorithm>
#include <cmath>
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
                error.largest = std::max(error.largest, std::fabs(x));
            }
        }
        return error;
    }
};

// Calls work(first, end) for parts of 0 .. n - 1, by as many threads as pay, and puts what they
// return together.
template <typename Result, typename Work, typename Join>
Result in_parallel(int64_t n, const Work &work, const Join &join) {
    const auto n_threads = std::clamp<int64_t>(default_n_threads(), 1, n);
    std::vector<Result> results(static_cast<size_t>(n_threads));
    std::vector<std::thread> threads;
    for (int64_t i = 0; i < n_threads; ++i) {
        threads.emplace_back([&, i] {
            results[static_cast<size_t>(i)] = work(n * i / n_threads, n * (i + 1) / n_threads);
        });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    Result all{};
    for (const Result &result : results) {
        join(all, result);
    }
    return all;
}

int64_t n_rows_of(const TensorInfo &info) {
    return info.ne[1] * info.ne[2] * info.ne[3];
}

}  // namespace

double largest_held(int type) {
    constexpr double k_largest_f16 = 65504;
    constexpr double k_largest_bf16 = 3.3895313892515355e38;
    return type == GGML_TYPE_F32    ? std::numeric_limits<float>::max()
           : type == GGML_TYPE_BF16 ? k_largest_bf16
                                    : k_largest_f16;
}

double largest_value(const FileBytes &file, const TensorInfo &info) {
    const auto type = static_cast<ggml_type>(info.type);
    const int64_t n_per_row = info.ne[0];
    const size_t row_bytes = ggml_row_size(type, n_per_row);
    std::vector<std::byte> scratch;
    const std::span<const std::byte> source = file.bytes(info.offset, info.n_bytes, scratch);
    const auto largest_of = [&](int64_t first, int64_t end) {
        std::vector<float> values(static_cast<size_t>(n_per_row));
        double largest = 0;
        for (int64_t row = first; row < end; ++row) {
            to_f32(type, source.data() + row_bytes * static_cast<size_t>(row), values.data(),
                   n_per_row);
            for (const float value : values) {
                const double size = std::fabs(static_cast<double>(value));
                largest = size <= largest ? largest : size;  // also one that is no number
                largest = std::isnan(largest) ? std::numeric_limits<double>::infinity() : largest;
            }
        }
        return largest;
    };
    return in_parallel<double>(n_rows_of(info), largest_of,
                               [](double &all, double part) { all = std::max(all, part); });
}

std::vector<std::byte> convert_weight(const FileBytes &file, const TensorInfo &info, int type,
                                      ConversionError &error) {
    const auto to = static_cast<ggml_type>(type);
    const int64_t n_rows = n_rows_of(info);
    CHECK(info.ne[0] % ggml_blck_size(to) == 0);
    std::vector<std::byte> scratch;
    const std::span<const std::byte> source = file.bytes(info.offset, info.n_bytes, scratch);
    std::vector<std::byte> target(ggml_row_size(to, info.ne[0]) * static_cast<size_t>(n_rows));
    const Conversion conversion{static_cast<ggml_type>(info.type), to, info.ne[0], source.data(),
                                target.data()};
    ggml_quantize_init(to);
    const ConversionError of_tensor = in_parallel<ConversionError>(
        n_rows, [&](int64_t first, int64_t end) { return conversion.convert_rows(first, end); },
        [](ConversionError &all, const ConversionError &part) { all.add(part); });
    if (!std::isfinite(of_tensor.difference)) {
        fail(ErrorKind::format,
             "{}: weights cannot be held as {}: tensor {} has {}, take another type or the file's",
             file.path(), ggml_type_name(to), info.name,
             std::isfinite(of_tensor.original)
                 ? fmt::format("values up to {:.3g}", of_tensor.largest)
                 : std::string("a value that is no finite number"));
    }
    error.add(of_tensor);
    return target;
}

}  // namespace orthorank
