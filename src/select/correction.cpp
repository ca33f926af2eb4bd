#include "select/correction.h"

#include "base/error.h"

namespace orthorank {

CorrectionType correction_type_from_name(const std::string &name) {
    if (name == "f16") return CorrectionType::f16;
    if (name == "f32") return CorrectionType::f32;
    fail(ErrorKind::usage, "unknown correction type '{}' (known: f16, f32)", name);
}

}  // namespace orthorank
