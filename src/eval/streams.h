// Texts for perplexity: any text or JSON Lines file, and the two streams of the paper's protocol
// (SLEB's loaders; docs/evaluation.md). Only text is made here; the caller encodes it in one piece,
// with the model's default special tokens. Thread-safe; errors as in documents.h.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

struct TextStream {
    std::string text;
    size_t n_documents = 0;  // joined in it: records or rows
    size_t n_wanted = 0;     // documents that the protocol asks for; 0: all there are
    size_t max_windows = 0;  // of the model's input length that may be used; 0: all
    std::string file;
};

// The text field of each record of a JSON Lines file, at most `limit` of them (0: all).
std::vector<std::string> read_text_field(const std::string &path, std::string_view field,
                                         size_t limit = 0);

// Whether a file is JSON Lines, which its name says: .jsonl, .ndjson or .json, in any case.
bool is_json_lines(const std::string &path);
// Of JSON Lines the field of each record, joined by one space; of any other file every byte. What
// perplexity, benchmark and calibration read.
std::string read_text(const std::string &path, const std::string &field = "text");

// C4: the first 1100 documents of the first validation shard, joined by one space; the protocol
// uses the first 256 windows of it.
TextStream c4_stream(const std::string &data_dir);
// WikiText-2: the rows of the raw test split joined by a blank line. A row is a line with its line
// end and its leading space; a line of whitespace only is the empty row.
TextStream wikitext2_stream(const std::string &data_dir);
// The same for the text of any raw WikiText file.
std::string join_wikitext_rows(std::string_view text, size_t &n_rows);

// The ids of a stream that are used: the first n_windows * n_ctx, where n_windows is what the ids
// allow, at most stream.max_windows.
size_t n_windows(size_t n_ids, size_t n_ctx, const TextStream &stream);

// The Markdown pages of a folder, one after the other in the order of their names: a text that is
// always there, of a program's own documentation. Throws Error{file} where there is none.
std::string read_pages(const std::string &folder);

}  // namespace orthorank
