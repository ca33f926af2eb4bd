// Reads the fields of a request's JSON object: each is asked for by name, type and range, null is
// as if it were not there, and in the end a field that nobody asked for is refused, so that nothing
// a client wishes is ignored. Everything wrong throws ApiError 400 that names the field. One
// thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// A body as JSON: an object. Throws ApiError 400.
nlohmann::json parse_body(std::string_view body);

class Fields {
 public:
    // prefix: what names in messages begin with, such as "orthorank.". Borrows the object.
    explicit Fields(const nlohmann::json &object, std::string prefix = {});

    // The value; null: not there.
    const nlohmann::json *find(const std::string &name);
    bool flag(const std::string &name, bool otherwise);
    int64_t integer(const std::string &name, int64_t otherwise, int64_t min, int64_t max);
    double number(const std::string &name, double otherwise, double min, double max);
    std::optional<std::string> text(const std::string &name);
    // A string or a list of them, at most max; each not empty.
    std::vector<std::string> texts(const std::string &name, size_t max);
    // Fields that change nothing in an answer.
    void let_pass(std::initializer_list<const char *> names);
    // Fields that are served with this value alone.
    void only(const std::string &name, const nlohmann::json &value);
    // Throws for a field that was not asked for.
    void finish() const;

    std::string full_name(const std::string &name) const { return prefix_ + name; }

 private:
    const nlohmann::json &object_;
    std::string prefix_;
    std::set<std::string> known_;
};

// A list of token ids within the vocabulary. Throws ApiError 400 about the field.
std::vector<int32_t> ids_of(const nlohmann::json &list, int n_vocab, const std::string &field);

}  // namespace orthorank
