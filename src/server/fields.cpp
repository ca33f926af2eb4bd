#include "server/fields.h"

#include <cmath>

#include "base/strict_json.h"
#include "server/api_error.h"

namespace orthorank {

namespace {

using nlohmann::json;

[[noreturn]] void refuse_type(const std::string &field, const char *expected, const json &found) {
    refuse(field, "{} is {}, expected {}", field, found.type_name(), expected);
}

}  // namespace

json parse_body(std::string_view body) {
    json object;
    try {
        object = parse_request_json(body, "the body");
    } catch (const Error &error) {
        refuse("", "{}", error.what());
    }
    if (!object.is_object()) {
        refuse("", "the body is {}, expected a JSON object", object.type_name());
    }
    return object;
}

Fields::Fields(const json &object, std::string prefix)
    : object_(object), prefix_(std::move(prefix)) {
    if (!object.is_object()) {
        refuse_type(prefix_, "an object", object);
    }
}

const json *Fields::find(const std::string &name) {
    known_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
}

bool Fields::flag(const std::string &name, bool otherwise) {
    const json *value = find(name);
    if (value == nullptr) {
        return otherwise;
    }
    if (!value->is_boolean()) {
        refuse_type(full_name(name), "true or false", *value);
    }
    return value->get<bool>();
}

int64_t Fields::integer(const std::string &name, int64_t otherwise, int64_t min, int64_t max) {
    const double found = number(name, static_cast<double>(otherwise), static_cast<double>(min),
                                static_cast<double>(max));
    if (found != std::floor(found)) {
        refuse(full_name(name), "{} is {}, expected a whole number", full_name(name), found);
    }
    return static_cast<int64_t>(found);
}

double Fields::number(const std::string &name, double otherwise, double min, double max) {
    const json *value = find(name);
    if (value == nullptr) {
        return otherwise;
    }
    if (!value->is_number()) {
        refuse_type(full_name(name), "a number", *value);
    }
    const auto found = value->get<double>();
    if (!(found >= min && found <= max)) {
        refuse(full_name(name), "{} is {}, expected {} to {}", full_name(name), found, min, max);
    }
    return found;
}

std::optional<std::string> Fields::text(const std::string &name) {
    const json *value = find(name);
    if (value == nullptr) {
        return {};
    }
    if (!value->is_string()) {
        refuse_type(full_name(name), "a string", *value);
    }
    return value->get<std::string>();
}

std::vector<std::string> Fields::texts(const std::string &name, size_t max) {
    const json *value = find(name);
    if (value == nullptr) {
        return {};
    }
    const json list = value->is_array() ? *value : json::array({*value});
    if (list.size() > max) {
        refuse(full_name(name), "{} has {} strings, at most {} are taken", full_name(name),
               list.size(), max);
    }
    std::vector<std::string> found;
    for (const json &entry : list) {
        if (!entry.is_string() || entry.get_ref<const std::string &>().empty()) {
            refuse(full_name(name), "{} has to be a string or a list of them, none empty",
                   full_name(name));
        }
        found.push_back(entry.get<std::string>());
    }
    return found;
}

void Fields::let_pass(std::initializer_list<const char *> names) {
    known_.insert(names.begin(), names.end());
}

void Fields::only(const std::string &name, const json &value) {
    const json *found = find(name);
    if (found != nullptr && *found != value) {
        refuse(full_name(name), "{} is not supported{}", full_name(name),
               value.is_null() ? std::string() : " but as " + value.dump());
    }
}

void Fields::finish() const {
    for (const auto &[name, value] : object_.items()) {
        if (known_.count(name) == 0 && !value.is_null()) {
            refuse(full_name(name), "{} is not known here", full_name(name));
        }
    }
}

std::vector<int32_t> ids_of(const json &list, int n_vocab, const std::string &field) {
    std::vector<int32_t> ids;
    ids.reserve(list.size());
    for (const json &entry : list) {
        if (!entry.is_number_integer()) {
            refuse_type(field, "a list of token ids", entry);
        }
        // Unsigned first: beyond what is signed the library wraps.
        const bool is_large = entry.is_number_unsigned() && entry.get<uint64_t>() > INT32_MAX;
        if (is_large || entry.get<int64_t>() < 0 || entry.get<int64_t>() >= n_vocab) {
            refuse(field, "{}: token id {} is outside the vocabulary of {}", field, entry.dump(),
                   n_vocab);
        }
        ids.push_back(entry.get<int32_t>());
    }
    return ids;
}

}  // namespace orthorank
