#include "model/long_runs.h"

#include <algorithm>

#include "base/deep_stack.h"
#include "base/error.h"

namespace orthorank {

namespace {

// Three times what libstdc++ takes, for other compilers; what is not used costs nothing.
constexpr size_t k_stack_a_byte = 1024;
constexpr size_t k_stack_for_the_rest = size_t{1} << 20;
constexpr size_t k_short_run = 1000;              // fits on any thread's stack
constexpr size_t k_piece = size_t{1} << 16;       // of a run that is tried out
constexpr size_t k_deep_stack = size_t{1} << 20;  // a match of a few thousand characters

// The bytes of the white space that a text begins with; 0: another character.
size_t blank_bytes(std::string_view text) {
    const auto byte = [&](size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
    };
    if (byte(0) == ' ' || (byte(0) >= '\t' && byte(0) <= '\r')) {
        return 1;
    }
    if (byte(0) == 0xc2) {
        return byte(1) == 0x85 || byte(1) == 0xa0 ? 2 : 0;  // U+0085, U+00A0
    }
    const unsigned tail = byte(1) << 8 | byte(2);
    const bool is_of_three =
        (byte(0) == 0xe1 && tail == 0x9a80) ||                      // U+1680
        (byte(0) == 0xe3 && tail == 0x8080) ||                      // U+3000
        (byte(0) == 0xe2 && ((tail >= 0x8080 && tail <= 0x808a) ||  // U+2000 to U+200A
                             tail == 0x80a8 || tail == 0x80a9 || tail == 0x80af ||
                             tail == 0x819f));  // U+2028, U+2029, U+202F, U+205F
    return is_of_three ? 3 : 0;
}

size_t stack_for(size_t n_bytes) {
    return k_stack_for_the_rest + k_stack_a_byte * n_bytes;
}

void refuse_if_deep(std::string_view text, const TextRun &run,
                    const std::function<void(std::string_view)> &tokenize) {
    for (size_t done = 0; done < run.n_bytes; done += k_piece) {
        const std::string_view piece =
            text.substr(run.first + done, std::min(k_piece, run.n_bytes - done));
        if (run_on_stack(stack_for(k_piece), [&] { tokenize(piece); }) > k_deep_stack) {
            fail(ErrorKind::limit,
                 "the text has {} bytes from byte {} on without a blank between words, more than "
                 "the {} that this model's tokenizer takes: break them up",
                 run.n_bytes, run.first, k_longest_run);
        }
    }
}

}  // namespace

TextRun longest_run(std::string_view text) {
    TextRun longest, run;
    bool was_blank = false;
    for (size_t i = 0; i < text.size();) {
        const size_t blank = blank_bytes(text.substr(i, 3));
        if (blank == 0 && was_blank) {
            run = {i, 0};
        }
        was_blank = blank > 0;
        const size_t n = std::max<size_t>(blank, 1);
        run.n_bytes += n;
        i += n;
        if (run.n_bytes > longest.n_bytes) {
            longest = run;
        }
    }
    return longest;
}

void tokenize_with_stack(std::string_view text, bool has_blank_matches,
                         const std::function<void(std::string_view)> &tokenize) {
    const TextRun run = has_blank_matches ? TextRun{0, text.size()} : longest_run(text);
    if (run.n_bytes <= k_short_run) {
        tokenize(text);
        return;
    }
    if (run.n_bytes > k_longest_run) {
        refuse_if_deep(text, run, tokenize);
    }
    run_on_stack(stack_for(std::min(run.n_bytes, k_longest_run)), [&] { tokenize(text); });
}

}  // namespace orthorank
