#include "eval/streams.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/text_file.h"
#include "eval/records.h"
#include "eval/text.h"

namespace orthorank {

namespace {

constexpr size_t k_c4_documents = 1100;
constexpr size_t k_c4_windows = 256;

std::string join(const std::vector<std::string> &texts, std::string_view separator) {
    std::string joined;
    for (size_t i = 0; i < texts.size(); i++) {
        joined += i == 0 ? "" : separator;
        joined += texts[i];
    }
    return joined;
}

}  // namespace

std::vector<std::string> read_text_field(const std::string &path, std::string_view field,
                                         size_t limit) {
    std::vector<std::string> texts;
    const std::string name(field);
    for_each_record(path, [&](const Record &record) {
        texts.push_back(record.text(name.c_str()));
        return limit == 0 || texts.size() < limit;
    });
    if (texts.empty()) {
        fail(ErrorKind::format, "{}: no records in it", path);
    }
    return texts;
}

bool is_json_lines(const std::string &path) {
    const std::string name = lower(std::filesystem::path(path).filename().string());
    return name.ends_with(".jsonl") || name.ends_with(".ndjson") || name.ends_with(".json");
}

std::string read_text(const std::string &path, const std::string &field) {
    return is_json_lines(path) ? join(read_text_field(path, field), " ") : read_utf8_file(path);
}

TextStream c4_stream(const std::string &data_dir) {
    TextStream stream;
    stream.file = find_data_file(
        data_dir,
        {"c4/c4-validation.00000-of-00008.json", "en/c4-validation.00000-of-00008.json",
         "c4-validation.00000-of-00008.json", "c4/c4-validation.00000-of-00008.jsonl",
         "c4/c4-validation.00000.first1100.jsonl", "c4/c4-validation.00000.first1000.jsonl"},
        "C4 validation shard (unpacked)");
    const std::vector<std::string> texts = read_text_field(stream.file, "text", k_c4_documents);
    stream.text = join(texts, " ");
    stream.n_documents = texts.size();
    stream.n_wanted = k_c4_documents;
    stream.max_windows = k_c4_windows;
    return stream;
}

std::string join_wikitext_rows(std::string_view text, size_t &n_rows) {
    std::string joined;
    n_rows = 0;
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        const std::string_view row = text.substr(0, end);
        joined += n_rows == 0 ? "" : "\n\n";
        if (!strip(row).empty()) {
            joined += row;
        }
        n_rows++;
        text.remove_prefix(end);
    }
    return joined;
}

TextStream wikitext2_stream(const std::string &data_dir) {
    TextStream stream;
    stream.file = find_data_file(data_dir,
                                 {"wikitext-2-raw/wiki.test.raw", "wikitext2/wiki.test.raw",
                                  "wikitext/wiki.test.raw", "wiki.test.raw"},
                                 "WikiText-2 raw test split");
    stream.text = join_wikitext_rows(read_utf8_file(stream.file), stream.n_documents);
    return stream;
}

std::string read_pages(const std::string &folder) {
    std::vector<std::string> paths;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator(folder, ignored)) {
        if (entry.path().extension() == ".md") {
            paths.push_back(entry.path().string());
        }
    }
    if (paths.empty()) {
        fail(ErrorKind::file, "no documentation at {} to take as text: give one with -f", folder);
    }
    std::sort(paths.begin(), paths.end());
    std::string text;
    for (const std::string &path : paths) {
        text += read_text_file(path);
    }
    return text;
}

size_t n_windows(size_t n_ids, size_t n_ctx, const TextStream &stream) {
    CHECK(n_ctx > 0);
    const size_t n = n_ids / n_ctx;
    return stream.max_windows == 0 ? n : std::min(n, stream.max_windows);
}

}  // namespace orthorank
