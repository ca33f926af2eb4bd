#include "eval/records.h"

#include <csv.h>

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/strict_json.h"
#include "base/strings.h"
#include "base/text_file.h"
#include "base/utf8.h"
#include "eval/text.h"

namespace orthorank {

namespace {

using json = nlohmann::ordered_json;

constexpr std::string_view k_byte_order_mark = "\xEF\xBB\xBF";

std::string_view without_byte_order_mark(std::string_view text) {
    return text.starts_with(k_byte_order_mark) ? text.substr(k_byte_order_mark.size()) : text;
}

std::string field_names(const json &value) {
    std::string names;
    for (const auto &item : value.items()) {
        names += (names.empty() ? "" : ", ") + item.key();
    }
    return names.empty() ? "none" : names;
}

// What libcsv's callbacks fill; csv_parse is fed one line at a time, so that lines can be counted.
struct CsvReading {
    CsvTable table;
    std::vector<std::string> row;
    size_t line = 1;       // of the text being fed
    size_t row_begin = 1;  // line of the record being read
    size_t n_bad_fields = 0;
    size_t bad_line = 0;
};

void on_csv_field(void *text, size_t n_bytes, void *data) {
    auto &reading = *static_cast<CsvReading *>(data);
    reading.row.emplace_back(static_cast<const char *>(text), n_bytes);
}

void on_csv_record(int, void *data) {
    auto &reading = *static_cast<CsvReading *>(data);
    if (reading.table.header.empty()) {
        reading.table.header = std::move(reading.row);
    } else {
        if (reading.row.size() != reading.table.header.size() && reading.bad_line == 0) {
            reading.n_bad_fields = reading.row.size();
            reading.bad_line = reading.row_begin;
        }
        reading.table.rows.push_back(std::move(reading.row));
        reading.table.lines.push_back(reading.row_begin);
    }
    reading.row.clear();
    reading.row_begin = reading.line + 1;
}

struct CsvParser {
    CsvParser() {
        if (csv_init(&state, CSV_STRICT | CSV_STRICT_FINI) != 0) {
            throw std::bad_alloc();
        }
        csv_set_space_func(&state, [](unsigned char) { return 0; });  // blanks belong to the field
    }
    ~CsvParser() { csv_free(&state); }
    CsvParser(const CsvParser &) = delete;
    CsvParser &operator=(const CsvParser &) = delete;
    csv_parser state;
};

void check_utf8(std::string_view text, const std::string &path) {
    const size_t bad = find_invalid_utf8(text);
    if (bad != std::string_view::npos) {
        const auto end = text.begin() + static_cast<std::ptrdiff_t>(bad);
        fail(ErrorKind::format, "{}:{}: not UTF-8 text", path,
             1 + std::count(text.begin(), end, '\n'));
    }
}

std::vector<std::string> lines_of(std::string_view text) {
    std::vector<std::string> lines = split_at(without_byte_order_mark(text), '\n');
    if (lines.back().empty()) {
        lines.pop_back();
    }
    for (std::string &line : lines) {
        if (line.ends_with('\r')) {
            line.pop_back();
        }
    }
    return lines;
}

}  // namespace

std::string Place::str() const {
    return fmt::format("{}:{}", file, line);
}

bool has_file(const std::string &path) {
    std::error_code ignored;
    return std::filesystem::is_regular_file(path, ignored);
}

std::string find_data_file(const std::string &dir, const std::vector<std::string> &names,
                           std::string_view wanted) {
    for (const std::string &name : names) {
        const std::string path = (std::filesystem::path(dir) / name).string();
        if (has_file(path)) {
            return path;
        }
    }
    fail(ErrorKind::file, "no {} under {}: looked for {}", wanted, dir, fmt::join(names, ", "));
}

std::string shown(const json &value) {
    return value.is_structured() ? value.type_name()
                                 : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string read_utf8_file(const std::string &path) {
    std::string text = read_text_file(path);
    check_utf8(text, path);
    return text;
}

std::vector<std::string> read_lines(const std::string &path) {
    return lines_of(read_utf8_file(path));
}

Record::Record(json value, Place place) : value_(std::move(value)), place_(std::move(place)) {
    if (!value_.is_object()) {
        complain("expected a JSON object");
    }
}

void Record::complain(std::string_view what) const {
    fail(ErrorKind::format, "{}: {}", place_.str(), what);
}

const json &Record::field(const char *name) const {
    const auto found = value_.find(name);
    if (found == value_.end()) {
        complain(fmt::format("no field '{}' (fields there: {})", name, field_names(value_)));
    }
    return *found;
}

std::string Record::text(const char *name) const {
    const json &value = field(name);
    if (!value.is_string()) {
        complain(fmt::format("field '{}' is {}, expected a text", name, value.type_name()));
    }
    return value.get<std::string>();
}

size_t Record::number(const char *name) const {
    const json &value = field(name);
    if (value.is_number_unsigned()) {
        return value.get<size_t>();
    }
    const std::string digits = value.is_string() ? value.get<std::string>() : "";
    const bool is_number = !digits.empty() && digits.size() < 18 &&
                           digits.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) {
        complain(fmt::format("field '{}' is {}, expected a whole number", name, shown(value)));
    }
    return std::stoul(digits);
}

std::vector<std::string> Record::texts(const char *name) const {
    const json &list = field(name);
    if (!list.is_array()) {
        complain(fmt::format("field '{}' is {}, expected a list of texts", name, list.type_name()));
    }
    std::vector<std::string> texts;
    for (const json &item : list) {
        if (!item.is_string()) {
            complain(
                fmt::format("field '{}' holds {}, expected texts only", name, item.type_name()));
        }
        texts.push_back(item.get<std::string>());
    }
    return texts;
}

void for_each_record(const std::string &path, const std::function<bool(const Record &)> &use) {
    for_each_record_in(read_text_file(path), path, use);
}

void for_each_record_in(std::string_view text, const std::string &path,
                        const std::function<bool(const Record &)> &use) {
    check_utf8(text, path);
    const std::vector<std::string> lines = lines_of(text);
    for (size_t i = 0; i < lines.size(); i++) {
        if (strip(lines[i]).empty()) {
            continue;
        }
        const Place place{path, i + 1};
        json value =
            parse_json(lines[i], place.str(), "a JSON record (one JSON object a line is expected)");
        if (!use(Record(std::move(value), place))) {
            return;
        }
    }
}

size_t CsvTable::column(std::string_view name) const {
    for (size_t i = 0; i < header.size(); i++) {
        if (header[i] == name) {
            return i;
        }
    }
    fail(ErrorKind::format, "{}:1: no column '{}' (columns there: {})", file, name,
         fmt::join(header, ", "));
}

CsvTable read_csv(const std::string &path) {
    const std::string content = read_utf8_file(path);
    const std::string_view text = without_byte_order_mark(content);
    CsvParser parser;
    CsvReading reading;
    bool is_well_formed = true;
    for (size_t begin = 0; begin < text.size() && is_well_formed; reading.line++) {
        const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
        const size_t n_bytes = end - begin;
        is_well_formed = csv_parse(&parser.state, text.data() + begin, n_bytes, on_csv_field,
                                   on_csv_record, &reading) == n_bytes;
        begin = end;
    }
    is_well_formed =
        is_well_formed && csv_fini(&parser.state, on_csv_field, on_csv_record, &reading) == 0;
    if (!is_well_formed) {
        fail(ErrorKind::format, "{}:{}: a quote out of place in the record that begins here", path,
             reading.row_begin);
    }
    if (reading.bad_line != 0) {
        fail(ErrorKind::format, "{}:{}: {} fields, the header has {}", path, reading.bad_line,
             reading.n_bad_fields, reading.table.header.size());
    }
    reading.table.file = path;
    return std::move(reading.table);
}

}  // namespace orthorank
