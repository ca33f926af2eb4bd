// Any bytes as a data set of JSON Lines, by each of its readers, and as a file of samples that an
// interrupted run left.
#include "eval/longbench.h"
#include "eval/readers.h"
#include "eval/samples.h"
#include "fuzz/fuzz_file.h"

using namespace orthorank;
using namespace orthorank::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const TempDir dir;
    static const std::string labels = [] {
        write_bytes(dir.file("labels"), "0\n1\n0\n");
        return dir.file("labels");
    }();
    const std::string text(reinterpret_cast<const char *>(data), size);
    const std::string path = as_file(data, size);
    may_refuse([&] { read_piqa(path, labels); });
    may_refuse([&] { read_winogrande(path); });
    may_refuse([&] { read_arc(path); });
    may_refuse([&] { read_hellaswag(path); });
    may_refuse([&] { read_hellaswag_text(path); });
    may_refuse([&] { read_truthfulqa_choices(path, "mc1_targets"); });
    may_refuse([&] {
        write_bytes(dir.file("trec.jsonl"), text);
        const LongBenchSet &set = longbench_set("trec");
        for (const LongBenchRecord &record : read_longbench(set, dir.path().string()).records) {
            promise(!fill_prompt(set, record).empty());
        }
    });
    may_refuse([&] {
        for (const Sample &sample : samples_in(text, path)) {
            const std::string line = sample_line(sample);
            promise(sample_line(samples_in(line, path).at(0)) == line);
        }
    });
    return 0;
}
