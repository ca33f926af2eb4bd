#include "engine/plan_files.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/fnv1a.h"
#include "base/output_file.h"
#include "base/strict_json.h"
#include "base/text_file.h"
#include "base/utf8.h"
#include "model/float_tensors.h"
#include "model/gguf_output.h"
#include "select/plan_format.h"
#include "select/plan_text.h"

namespace orthorank {

namespace {

constexpr const char *k_type = "orthorank-plan";  // general.type of a file of its own
constexpr const char *k_version_key = "orthorank.tensors.version";
constexpr uint32_t k_version = 1;
constexpr const char *k_fingerprint_key = "orthorank.tensors.fingerprint";
constexpr const char *k_width_key = "orthorank.tensors.embedding_length";
constexpr int64_t k_max_width = 1 << 20;

std::string down_name(int il) {
    return fmt::format("blk.{}.correction_down.weight", il);
}
std::string up_name(int il) {
    return fmt::format("blk.{}.correction_up.weight", il);
}
std::string bias_name(int il) {
    return fmt::format("blk.{}.correction.bias", il);
}
std::string probe_name(int il) {
    return fmt::format("blk.{}.probe.weight", il);
}

// The model's width as the plan's numbers have it.
int64_t width_of(const Plan &plan) {
    for (const LayerPlan &layer : plan.layers) {
        if (layer.correction != nullptr) {
            return layer.correction->n_embd;
        }
        if (layer.probe != nullptr) {
            return static_cast<int64_t>(layer.probe->weight.size());
        }
    }
    return 0;
}

std::vector<FloatTensor> tensors_of(const Plan &plan, CorrectionType type) {
    const int64_t n_embd = width_of(plan);
    const bool is_f16 = type == CorrectionType::f16;
    std::vector<FloatTensor> tensors;
    for (int il = 0; il < plan.n_layers(); ++il) {
        const LayerPlan &layer = plan.layers[static_cast<size_t>(il)];
        if (const Correction *correction = layer.correction.get()) {
            CHECK(correction->n_embd == n_embd);
            if (correction->rank > 0) {
                tensors.push_back(
                    {down_name(il), {n_embd, correction->rank}, correction->down, is_f16});
                tensors.push_back(
                    {up_name(il), {correction->rank, n_embd}, correction->up, is_f16});
            }
            tensors.push_back({bias_name(il), {n_embd}, correction->bias, false});
        }
        if (layer.probe != nullptr) {
            tensors.push_back({probe_name(il), {n_embd}, layer.probe->weight, false});
        }
    }
    return tensors;
}

FloatMetadata metadata_of(const Plan &plan) {
    FloatMetadata metadata;
    metadata.texts = {{k_fingerprint_key, plan.fingerprint}};
    metadata.integers = {{k_version_key, k_version},
                         {k_width_key, static_cast<uint32_t>(width_of(plan))}};
    return metadata;
}

class GgufNumbers : public PlanNumbers {
 public:
    GgufNumbers(const std::string &path, FloatReader::Kind kind, const Plan &plan)
        : reader_(path, kind) {
        const int64_t version = reader_.integer(k_version_key, 1, INT32_MAX);
        if (version != k_version) {
            fail(ErrorKind::format, "{}: {} is {}, this program reads {}", path, k_version_key,
                 version, k_version);
        }
        n_embd_ = reader_.integer(k_width_key, 1, k_max_width);
        const std::string fingerprint = reader_.text(k_fingerprint_key);
        if (!fingerprint.empty() && !plan.fingerprint.empty() && fingerprint != plan.fingerprint) {
            fail(ErrorKind::format,
                 "{}: its numbers are for the model with fingerprint {}, the plan {} is for {}",
                 path, in_quotes(fingerprint), plan.name, in_quotes(plan.fingerprint));
        }
    }

    CorrectionPtr correction(int il, int rank) override {
        if (rank > n_embd_) {
            fail(ErrorKind::format,
                 "{}: layer {} has a correction of rank {}, more than its width of {}",
                 reader_.path(), il, rank, n_embd_);
        }
        Correction correction;
        correction.n_embd = static_cast<int>(n_embd_);
        correction.rank = rank;
        if (rank > 0) {
            correction.down = reader_.read(down_name(il), {n_embd_, rank});
            correction.up = reader_.read(up_name(il), {rank, n_embd_});
        }
        correction.bias = reader_.read(bias_name(il), {n_embd_});
        return std::make_shared<const Correction>(std::move(correction));
    }

    ProbePtr probe(int il) override {
        return std::make_shared<const Probe>(Probe{reader_.read(probe_name(il), {n_embd_})});
    }

 private:
    FloatReader reader_;
    int64_t n_embd_ = 0;
};

// What general.type says; empty: nothing, or the file is no GGUF. Nothing at all: there is no file.
std::optional<std::string> gguf_type_of(const std::string &path) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) {
        return {};
    }
    try {
        return FloatReader(path, FloatReader::Kind::arrays).text("general.type");
    } catch (const Error &) {
        return "";
    }
}

// For a plan whose numbers nobody needs.
class NoNumbers : public PlanNumbers {
 public:
    CorrectionPtr correction(int, int rank) override {
        Correction correction;
        correction.rank = rank;
        return std::make_shared<const Correction>(std::move(correction));
    }
    ProbePtr probe(int) override { return std::make_shared<const Probe>(); }
};

// The two files of a plan are renamed one after the other: what interrupts the program between the
// two leaves a new one beside an old one.
void check_hash(const std::string &path, const std::string &tensors, const std::string &expected) {
    if (expected.empty()) {
        return;
    }
    const std::string found = fnv1a_hex(read_text_file(tensors));
    if (found != expected) {
        fail(ErrorKind::format,
             "{}: {} is not the file that it was written with: its hash is {}, expected {}; make "
             "the plan again",
             path, tensors, found, expected);
    }
}

}  // namespace

std::string plan_tensors_path(const std::string &plan_path) {
    std::filesystem::path path(plan_path);
    if (path.extension() == ".json") {
        path.replace_extension();
    }
    return path.string() + ".gguf";
}

Plan read_plan_files(const std::string &path) {
    return read_plan(path, [&](const Plan &plan, const PlanTensors &said) {
        const std::string tensors =
            said.file.empty() ? plan_tensors_path(path)
                              : (std::filesystem::path(path).parent_path() / said.file).string();
        if (::access(tensors.c_str(), R_OK) != 0) {
            fail(ErrorKind::file,
                 "{}: the numbers of its corrections and probes are in {}, which "
                 "cannot be read: {}",
                 path, tensors, std::strerror(errno));
        }
        check_hash(path, tensors, said.hash);
        return std::make_unique<GgufNumbers>(tensors, FloatReader::Kind::tensors, plan);
    });
}

Plan read_plan_head(const std::string &path) {
    return read_plan(
        path, [](const Plan &, const PlanTensors &) { return std::make_unique<NoNumbers>(); });
}

bool is_plan_numbers(const std::string &path) {
    return gguf_type_of(path) == k_type;
}

void check_plan_output(const std::string &path, bool has_numbers) {
    if (is_gguf_file(path)) {
        fail(ErrorKind::usage, "{} is a GGUF file, a plan is JSON: name another -o", path);
    }
    if (!has_numbers) {
        return;
    }
    if (!becomes_file(path)) {
        fail(ErrorKind::usage,
             "{} is no file, and the plan's numbers go to one beside it: name a file with -o",
             path);
    }
    const std::string tensors = plan_tensors_path(path);
    const std::optional<std::string> type = gguf_type_of(tensors);
    if (type && *type != k_type) {
        fail(ErrorKind::usage,
             "the numbers of plan {} go to {}, where another file is that is no {}: name another "
             "-o, or move it away",
             path, tensors, k_type);
    }
}

void write_plan_files(const Plan &plan, const std::string &path, CorrectionType type) {
    check_kept_rows(plan, ErrorKind::usage, path);  // before the numbers
    check_plan_output(path, plan.has_numbers());
    if (!plan.has_numbers()) {
        write_plan(plan, path);
        return;
    }
    const std::string tensors = plan_tensors_path(path);
    FloatMetadata metadata = metadata_of(plan);
    metadata.texts.insert(metadata.texts.begin(), {"general.type", k_type});
    const std::string hash = write_float_file(tensors, metadata, tensors_of(plan, type));
    // A name that JSON cannot hold is left out: it is the default, and so found all the same.
    const std::string name = std::filesystem::path(tensors).filename().string();
    write_plan(plan, path, {as_utf8(name) == name ? name : "", hash});
}

void replace_plan_json(const Plan &plan, const std::string &path) {
    const nlohmann::ordered_json json = parse_json(read_text_file(path), path);
    PlanTensors tensors;
    for (const auto &[key, value] :
         {std::pair("tensors", &tensors.file), std::pair("tensors_hash", &tensors.hash)}) {
        *value = json.contains(key) ? json.at(key).get<std::string>() : "";
    }
    write_plan(plan, path, tensors);
}

int64_t plan_number_bytes(const Plan &plan, CorrectionType type) {
    int64_t n_bytes = 0;
    for (const FloatTensor &tensor : tensors_of(plan, type)) {
        n_bytes += static_cast<int64_t>(tensor.values.size()) * (tensor.is_f16 ? 2 : 4);
    }
    return n_bytes;
}

GgufChanges embedding_of(const Plan &plan, CorrectionType type) {
    GgufChanges changes;
    changes.plan = plan_text(plan_to_json(plan));
    if (plan.has_numbers()) {
        changes.plan_metadata = metadata_of(plan);
        changes.plan_tensors = tensors_of(plan, type);
    }
    return changes;
}

Plan read_embedded_plan(const std::string &model_path, const std::string &text,
                        const std::string &name) {
    return plan_from_json(parse_json(text, name), name, [&](const Plan &plan, const PlanTensors &) {
        return std::make_unique<GgufNumbers>(model_path, FloatReader::Kind::arrays, plan);
    });
}

}  // namespace orthorank
