// Reading files of records: text lines, JSON Lines and CSV, where every complaint names the file
// and the line. Thread-safe. Throws Error of kind file where nothing can be read and of kind format
// where the content is wrong.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// A place in a file, for messages: "dir/valid.jsonl:12".
struct Place {
    std::string file;
    size_t line = 0;  // from 1
    std::string str() const;
};

// The first of `names` that is a file below `dir`, as a path. Throws an Error that lists every name
// and says what was wanted.
std::string find_data_file(const std::string &dir, const std::vector<std::string> &names,
                           std::string_view wanted);
bool has_file(const std::string &path);

// A value as a message shows it: numbers and texts themselves, the type of a list or object (which
// may be nested too deep to be printed).
std::string shown(const nlohmann::ordered_json &value);

// The whole file, which must be UTF-8 (the message names the first line that is not).
std::string read_utf8_file(const std::string &path);
// The lines of a UTF-8 file without their ends (LF or CRLF) and without a byte-order mark; the
// empty string after the last line end is no line.
std::vector<std::string> read_lines(const std::string &path);

// Calls `use` with each JSON object of a JSON Lines file, in order; blank lines are passed over.
// The member functions of Record give the fields and complain with the place.
class Record {
 public:
    Record(nlohmann::ordered_json value, Place place);

    const nlohmann::ordered_json &value() const { return value_; }
    const Place &place() const { return place_; }
    // A field that must be there, of any type, a text, a non-negative whole number (also as text),
    // a list of texts.
    const nlohmann::ordered_json &field(const char *name) const;
    std::string text(const char *name) const;
    size_t number(const char *name) const;
    std::vector<std::string> texts(const char *name) const;
    // Throws an Error of kind format: "file:line: what".
    [[noreturn]] void complain(std::string_view what) const;

 private:
    nlohmann::ordered_json value_;
    Place place_;
};
// `use` returns whether it wants more.
void for_each_record(const std::string &path, const std::function<bool(const Record &)> &use);
// The same for text that was read already; `path` is for messages.
void for_each_record_in(std::string_view text, const std::string &path,
                        const std::function<bool(const Record &)> &use);

// A CSV file as RFC 4180 has it (quoted fields may hold commas, quotes and line ends; LF or CRLF
// ends a record), read by libcsv. Every record must have as many fields as the header.
struct CsvTable {
    std::vector<std::string> header;
    std::vector<std::vector<std::string>> rows;
    std::vector<size_t> lines;  // the line at which each row begins, from 1
    // The index of a column; throws an Error that lists the columns there are.
    size_t column(std::string_view name) const;
    std::string file;
};
CsvTable read_csv(const std::string &path);

}  // namespace orthorank
