#include "timing/weight_choice.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/output_file.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "model/backend_info.h"

namespace orthorank {

namespace {

using nlohmann::ordered_json;

constexpr const char *k_format = "orthorank-weight-timings";
constexpr int k_version = 2;
constexpr uint64_t k_max_cache_bytes = 1 << 20;
constexpr double k_worthwhile = 0.95;  // of the file's own time

ordered_json timing_json(const WeightTiming &timing) {
    return {{"type", timing.type},           {"prefill_ms", timing.prefill_ms},
            {"decode_ms", timing.decode_ms}, {"nmse", timing.nmse},
            {"bytes", timing.bytes},         {"can_hold", timing.can_hold}};
}

WeightTiming timing_from(const ordered_json &json) {
    WeightTiming timing;
    timing.type = json.at("type").get<std::string>();
    weight_types_from_text(timing.type);
    timing.prefill_ms = json.at("prefill_ms").get<double>();
    timing.decode_ms = json.at("decode_ms").get<double>();
    timing.nmse = json.at("nmse").get<double>();
    timing.bytes = json.at("bytes").get<int64_t>();
    timing.can_hold = json.at("can_hold").get<bool>();
    return timing;
}

std::vector<WeightTiming> timings_from(const ordered_json &json) {
    std::vector<WeightTiming> timings;
    for (const ordered_json &item : json) {
        timings.push_back(timing_from(item));
    }
    if (timings.empty() || timings.front().type != k_file_weights) {
        fail(ErrorKind::format, "no timing of the file's own type");
    }
    return timings;
}

// The whole file, with nothing in it when it is missing or cannot be used (then `note` says why).
ordered_json read_cache(const std::string &path, std::string &note) {
    const ordered_json empty = {
        {"format", k_format}, {"version", k_version}, {"timings", ordered_json::object()}};
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) {
        return empty;
    }
    try {
        ordered_json json = parse_json(read_text_file(path, k_max_cache_bytes), "it");
        if (json.at("format") != k_format || json.at("version") != k_version) {
            fail(ErrorKind::format, "it is not of the format {}, version {}", k_format, k_version);
        }
        for (const auto &item : json.at("timings").items()) {
            timings_from(item.value());
        }
        return json;
    } catch (const std::exception &error) {
        note = fmt::format("{} is ignored and written anew: {}", path, error.what());
        return empty;
    }
}

void write_cache(const std::string &path, const ordered_json &json, std::string &note) {
    try {
        std::filesystem::create_directories(std::filesystem::path(path).parent_path());
        write_file_atomically(
            path, json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
    } catch (const std::exception &error) {
        note = fmt::format("the choice of weights cannot be remembered: {}", error.what());
    }
}

int64_t max_bytes_on(const std::string &device) {
    for (const DeviceInfo &info : list_devices()) {
        if (info.name == device) {
            return info.bytes_free / 2;
        }
    }
    return 0;
}

double both_phases_ms(const WeightTiming &timing) {
    return timing.prefill_ms + 128 * timing.decode_ms;
}

template <typename Time>
const WeightTiming &fastest(std::span<const WeightTiming> timings, Time time) {
    const WeightTiming *best = &timings.front();
    double best_time = k_worthwhile * time(*best);
    for (const WeightTiming &timing : timings.subspan(1)) {
        if (timing.can_hold && timing.nmse <= k_max_choice_nmse && time(timing) < best_time) {
            best = &timing;
            best_time = time(timing);
        }
    }
    return *best;
}

}  // namespace

WeightTypes choose_weights(std::span<const WeightTiming> timings, int64_t max_bytes) {
    CHECK(!timings.empty() && timings.front().type == k_file_weights);
    const WeightTiming &prefill =
        fastest(timings, [](const WeightTiming &timing) { return timing.prefill_ms; });
    const WeightTiming &decode =
        fastest(timings, [](const WeightTiming &timing) { return timing.decode_ms; });
    if (prefill.type == decode.type || prefill.bytes + decode.bytes <= max_bytes) {
        return {prefill.type, decode.type};
    }
    const WeightTiming &both = fastest(timings, both_phases_ms);
    return {both.type, both.type};
}

WeightChoice choose_weights_for(const std::string &gguf_path, const std::string &device,
                                int n_threads, const std::string &cache_path, Kernels kernels) {
    WeightChoice choice;
    const RaceKey key = race_key(gguf_path, device, n_threads, kernels);
    const bool is_kept = !cache_path.empty() && !key.is_remote;
    ordered_json cache;
    if (is_kept) {
        cache = read_cache(cache_path, choice.note);
        const auto found = cache["timings"].find(key.description);
        if (found != cache["timings"].end()) {
            choice.timings = timings_from(*found);
            choice.is_remembered = true;
        }
    }
    if (!choice.is_remembered) {
        choice.timings = race_weights(gguf_path, device, n_threads, kernels);
        if (is_kept) {
            ordered_json &timings = cache["timings"][key.description];
            timings = ordered_json::array();
            for (const WeightTiming &timing : choice.timings) {
                timings.push_back(timing_json(timing));
            }
            write_cache(cache_path, cache, choice.note);
        }
    }
    choice.types = choose_weights(choice.timings, max_bytes_on(key.device));
    return choice;
}

}  // namespace orthorank
