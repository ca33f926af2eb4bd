#include "evaluation/text_sets.h"

#include <algorithm>
#include <optional>

#include "base/error.h"

namespace orthorank {

namespace {

// What every window begins with, if anything.
std::optional<int32_t> window_start(const TextArguments &arguments, const Vocab &vocab) {
    if (arguments.bos_each_window && vocab.bos() < 0) {
        fail(ErrorKind::usage, "--bos-each-window: the model has no BOS token");
    }
    return arguments.bos_each_window ? std::optional<int32_t>(vocab.bos()) : vocab.window_start();
}

std::string bos_of(const std::optional<int32_t> &start, const Vocab &vocab) {
    return start ? "each" : vocab.adds_bos() ? "first" : "none";
}

// The tokens of a file, no more than its windows take.
std::vector<int32_t> tokens_of_file(const std::string &file, const TextArguments &arguments,
                                    bool add_bos, const Vocab &vocab) {
    const size_t n = arguments.n_windows > 0 ? static_cast<size_t>(arguments.n_windows) *
                                                   static_cast<size_t>(arguments.n_ctx)
                                             : SIZE_MAX;
    const std::string text = read_text(file, arguments.field);
    return at_place(file, [&] { return vocab.tokenize_first(n, text, add_bos); });
}

TextSet set_of_files(const TextArguments &arguments, const Vocab &vocab) {
    TextSet set;
    set.files = arguments.files;
    set.windows.n_ctx = arguments.n_ctx;
    set.windows.n_continuation = arguments.n_continuation;
    const std::optional<int32_t> start = window_start(arguments, vocab);
    set.bos = bos_of(start, vocab);
    size_t n_longest = 0;
    for (const std::string &file : arguments.files) {
        const std::vector<int32_t> tokens = tokens_of_file(file, arguments, !start, vocab);
        add_windows(set.windows, tokens, static_cast<size_t>(arguments.n_windows), start);
        set.n_tokens += tokens.size();
        n_longest = std::max(n_longest, tokens.size());
    }
    if (set.windows.size() == 0) {
        fail(ErrorKind::limit,
             "no window of {} tokens: {} has only {} tokens; give more text or a smaller --ctx",
             arguments.n_ctx,
             arguments.files.size() == 1 ? arguments.files.front() : "the longest file", n_longest);
    }
    return set;
}

}  // namespace

TextSet set_of_stream(const std::string &name, const TextStream &stream,
                      const TextArguments &arguments, const Vocab &vocab) {
    TextSet set;
    set.name = name;
    set.files = {stream.file};
    set.n_documents = stream.n_documents;
    set.n_wanted = stream.n_wanted;
    set.windows.n_ctx = arguments.n_ctx;
    set.windows.n_continuation = arguments.n_continuation;
    const std::optional<int32_t> start = window_start(arguments, vocab);
    set.bos = bos_of(start, vocab);
    const std::vector<int32_t> tokens =
        at_place(stream.file, [&] { return vocab.tokenize(stream.text, /*add_bos=*/!start); });
    set.n_tokens = tokens.size();
    const int n_text = arguments.n_ctx - (start ? 1 : 0);
    size_t n = n_windows(tokens.size(), static_cast<size_t>(n_text), stream);
    if (n == 0) {
        fail(ErrorKind::limit, "no window of {} tokens: {} has only {} tokens", arguments.n_ctx,
             stream.file, tokens.size());
    }
    if (arguments.n_windows > 0) {
        n = std::min(n, static_cast<size_t>(arguments.n_windows));
    }
    add_windows(set.windows, tokens, n, start);
    return set;
}

std::vector<TextSet> read_text_sets(const TextArguments &arguments, const Vocab &vocab) {
    if (arguments.protocol.empty()) {
        return {set_of_files(arguments, vocab)};
    }
    return {set_of_stream("c4", c4_stream(arguments.data_dir), arguments, vocab),
            set_of_stream("wikitext-2", wikitext2_stream(arguments.data_dir), arguments, vocab)};
}

}  // namespace orthorank
