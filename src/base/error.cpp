#include "base/error.h"

namespace orthorank {

void check_failed(const char *expression, const char *file, int line) {
    throw InternalError(fmt::format("{}:{}: internal check failed: {}", file, line, expression));
}

}  // namespace orthorank
