// Any bytes as a CSV file: by itself and as TruthfulQA's.
#include "eval/readers.h"
#include "eval/records.h"
#include "fuzz/fuzz_file.h"

using namespace orthorank;
using namespace orthorank::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const std::string path = as_file(data, size);
    may_refuse([&] {
        const CsvTable table = read_csv(path);
        promise(table.rows.size() == table.lines.size());
        for (const std::vector<std::string> &row : table.rows) {
            promise(row.size() == table.header.size());
        }
    });
    may_refuse([&] { read_truthfulqa_generation(path); });
    return 0;
}
