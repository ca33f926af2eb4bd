// Any bytes as a plan file. What is read is written and read again as the same plan.
#include "fuzz/fuzz_file.h"
#include "select/plan.h"

using namespace orthorank;
using namespace orthorank::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const std::string path = as_file(data, size);
    may_refuse([&] {
        const Plan plan = read_plan(path);
        const Plan again = plan_from_json(plan_to_json(plan), "again");
        promise(plan_identity(again) == plan_identity(plan));
    });
    return 0;
}
