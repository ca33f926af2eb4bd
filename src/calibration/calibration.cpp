#include "calibration/calibration.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/utf8.h"
#include "calibration/draws.h"
#include "calibration/retrieval.h"
#include "eval/streams.h"

namespace orthorank {

namespace {

constexpr int k_seqlen = 2048;
constexpr size_t k_sleb_rows = 128;
constexpr uint32_t k_sleb_seed = 0;
constexpr int k_n_crops = 10;
constexpr int k_crop = 128;
constexpr uint32_t k_crop_seed = 1234;

constexpr const char *k_white_space = " \t\r\n\v\f";

// Of the windows' tokens: two runs with the same hash were calibrated on the same data.
std::string windows_hash(const Windows &windows) {
    Fnv1a hash;
    hash.bytes(windows.tokens.data(), windows.tokens.size() * sizeof(int32_t));
    return hash.hex();
}

// start: what a window begins with before these tokens, if anything (Vocab::window_start).
void append_window(Windows &windows, std::span<const int32_t> tokens,
                   std::optional<int32_t> start) {
    if (start) {
        windows.tokens.push_back(*start);
    }
    windows.tokens.insert(windows.tokens.end(), tokens.begin(), tokens.end());
}

// Windows at 0, stride, 2 * stride, ...; a tail shorter than a window is dropped.
void add_strided(Windows &windows, std::span<const int32_t> tokens, size_t stride,
                 size_t max_windows, std::optional<int32_t> start) {
    const auto n_text = static_cast<size_t>(windows.n_ctx) - (start ? 1 : 0);
    size_t n_added = 0;
    for (size_t first = 0; first + n_text <= tokens.size(); first += stride) {
        if (max_windows > 0 && n_added == max_windows) {
            return;
        }
        append_window(windows, tokens.subspan(first, n_text), start);
        ++n_added;
    }
}

// Shortened LLaMA's draw: a row, again until it is long enough and new, then a place in it.
void add_crops(Calibration &calibration, const std::string &path,
               const std::vector<std::string> &rows, const Vocab &vocab, int n_crops) {
    PythonRandom random(k_crop_seed);
    const std::optional<int32_t> start = vocab.window_start();
    const auto n_text = static_cast<size_t>(calibration.windows.n_ctx) - (start ? 1 : 0);
    std::set<int64_t> drawn;
    for (int n = 0; n < n_crops;) {
        if (drawn.size() == rows.size()) {
            fail(ErrorKind::limit,
                 "{}: only {} of its {} rows have {} tokens, {} crops need as many such rows", path,
                 n, rows.size(), n_text, n_crops);
        }
        const int64_t row = random.randint(0, static_cast<int64_t>(rows.size()) - 1);
        if (!drawn.insert(row).second) {
            continue;  // used before, or known to be too short
        }
        const std::vector<int32_t> tokens =
            vocab.tokenize(rows[static_cast<size_t>(row)], /*add_bos=*/!start);
        calibration.n_tokens += static_cast<int64_t>(tokens.size());
        if (tokens.size() < n_text) {
            continue;
        }
        const int64_t first = random.randint(0, static_cast<int64_t>(tokens.size() - n_text));
        append_window(calibration.windows, std::span(tokens).subspan(first, n_text), start);
        ++n;
    }
}

void add_file(Calibration &calibration, const std::string &path, const CalibrationOptions &options,
              const Vocab &vocab) {
    if (options.protocol == CalibrationProtocol::crops) {
        add_crops(calibration, path, read_rows(path, options.field), vocab, options.n_windows);
        return;
    }
    const bool is_sleb = options.protocol == CalibrationProtocol::sleb;
    const std::string text =
        is_sleb ? sleb_text(read_rows(path, options.field)) : read_text(path, options.field);
    const std::optional<int32_t> start = vocab.window_start();
    const std::vector<int32_t> tokens = vocab.tokenize(text, /*add_bos=*/!start);
    calibration.n_tokens += static_cast<int64_t>(tokens.size());
    add_strided(calibration.windows, tokens, static_cast<size_t>(options.stride),
                static_cast<size_t>(options.n_windows), start);
}

int seqlen_of(const CalibrationOptions &options) {
    return options.seqlen != 0                              ? options.seqlen
           : options.protocol == CalibrationProtocol::crops ? k_crop
                                                            : k_seqlen;
}

void set_defaults(CalibrationOptions &options, const Vocab &vocab) {
    const bool is_crops = options.protocol == CalibrationProtocol::crops;
    if (is_crops && options.stride != 0) {
        fail(ErrorKind::usage, "crops lie at random places: --stride does not go with them");
    }
    options.seqlen = seqlen_of(options);
    if (options.stride == 0) {
        options.stride = options.seqlen - (vocab.window_start() ? 1 : 0);
    }
    if (options.n_windows == 0 && is_crops) {
        options.n_windows = k_n_crops;
    }
    if (options.seqlen < 2) {
        fail(ErrorKind::usage, "a window of {} tokens predicts nothing: 2 at least",
             options.seqlen);
    }
    if (options.stride < 0 || options.n_windows < 0) {
        fail(ErrorKind::usage, "a stride and a number of windows must be positive");
    }
    if (options.n_continuation >= options.seqlen) {
        fail(ErrorKind::usage,
             "a continuation of {} tokens leaves no prompt in a window of {}: give fewer, or a "
             "larger --seqlen",
             options.n_continuation, options.seqlen);
    }
    if (options.files.empty()) {
        fail(ErrorKind::usage, "no calibration text: name a file");
    }
}

nlohmann::ordered_json description_of(const Calibration &calibration,
                                      const CalibrationOptions &options) {
    nlohmann::ordered_json json;
    json["files"] = nlohmann::ordered_json::array();
    for (const std::string &path : options.files) {
        json["files"].push_back(as_utf8(std::filesystem::path(path).filename().string()));
    }
    json["protocol"] = calibration_protocol_name(options.protocol);
    json["seqlen"] = options.seqlen;
    if (options.protocol != CalibrationProtocol::crops) {
        json["stride"] = options.stride;
    }
    json["windows"] = calibration.windows.size();
    if (options.n_continuation > 0) {
        json["continuation"] = options.n_continuation;
    }
    if (options.n_retrieval > 0) {
        json["retrieval"] = options.n_retrieval;
    }
    json["tokens"] = calibration.n_tokens;
    json["hash"] = windows_hash(calibration.windows);
    return json;
}

}  // namespace

CalibrationProtocol calibration_protocol_from_name(std::string_view name) {
    for (CalibrationProtocol protocol :
         {CalibrationProtocol::windows, CalibrationProtocol::sleb, CalibrationProtocol::crops}) {
        if (name == calibration_protocol_name(protocol)) {
            return protocol;
        }
    }
    fail(ErrorKind::usage, "unknown protocol '{}' (known: windows, sleb, crops)", name);
}

const char *calibration_protocol_name(CalibrationProtocol protocol) {
    switch (protocol) {
        case CalibrationProtocol::windows:
            return "windows";
        case CalibrationProtocol::sleb:
            return "sleb";
        case CalibrationProtocol::crops:
            return "crops";
    }
    return "windows";
}

std::vector<std::string> read_rows(const std::string &path, const std::string &field) {
    if (is_json_lines(path)) {
        return read_text_field(path, field);
    }
    const std::string content = read_text(path);
    std::vector<std::string> rows;
    for (size_t first = 0; first < content.size();) {
        const size_t end = std::min(content.find('\n', first), content.size() - 1) + 1;
        std::string row = content.substr(first, end - first);
        rows.push_back(row.find_first_not_of(k_white_space) == std::string::npos ? std::string()
                                                                                 : std::move(row));
        first = end;
    }
    return rows;
}

std::string sleb_text(const std::vector<std::string> &rows) {
    std::string text;
    const std::vector<int64_t> order =
        numpy_permutation(k_sleb_seed, static_cast<int64_t>(rows.size()));
    for (size_t i = 0; i < std::min(order.size(), k_sleb_rows); ++i) {
        text += i == 0 ? "" : "\n\n";
        text += rows[static_cast<size_t>(order[i])];
    }
    return text;
}

Calibration read_calibration(const CalibrationOptions &options_in, const Vocab &vocab) {
    CalibrationOptions options = options_in;
    set_defaults(options, vocab);
    Calibration calibration;
    calibration.windows.n_ctx = options.seqlen;
    calibration.windows.n_continuation = options.n_continuation;
    for (const std::string &path : options.files) {
        const size_t n_before = calibration.windows.size();
        add_file(calibration, path, options, vocab);
        calibration.n_windows_of_file.push_back(calibration.windows.size() - n_before);
    }
    if (calibration.windows.size() == 0) {
        fail(ErrorKind::limit,
             "the calibration text has {} tokens, not one window of {}: give more text or a "
             "smaller --seqlen",
             calibration.n_tokens, options.seqlen);
    }
    add_retrieval_windows(calibration.windows, options.n_retrieval, vocab);
    calibration.description = description_of(calibration, options);
    return calibration;
}

int n_prompt_rows(const CalibrationOptions &options) {
    return seqlen_of(options) - options.n_continuation;
}

void check_equal_parts(const Calibration &calibration) {
    const std::vector<size_t> &n_windows = calibration.n_windows_of_file;
    const auto [fewest, most] = std::minmax_element(n_windows.begin(), n_windows.end());
    if (n_windows.empty() || *fewest == *most) {
        return;
    }
    const auto name_of = [&](auto it) {
        return calibration.description.at("files")
            .at(static_cast<size_t>(it - n_windows.begin()))
            .template get<std::string>();
    };
    fail(ErrorKind::limit,
         "{} has {} windows, {} only {}: corrections are fitted on equal parts of all texts; say "
         "--windows {}, or give more of it",
         name_of(most), *most, name_of(fewest), *fewest, std::max<size_t>(*fewest, 1));
}

}  // namespace orthorank
