#include "reproduction/entries.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/strings.h"
#include "eval/text.h"

namespace orthorank {

namespace {

bool is_named(const Entry &entry, const std::string &name) {
    return entry.name == name ||
           std::count(entry.other_names.begin(), entry.other_names.end(), name) > 0;
}

}  // namespace

const std::vector<Entry> &entries() {
    static const std::vector<Entry> all = [] {
        std::vector<Entry> joined;
        for (std::vector<Entry> part :
             {quality_entries(), ablation_entries(), observation_entries(), sparsity_entries()}) {
            joined.insert(joined.end(), part.begin(), part.end());
        }
        return joined;
    }();
    return all;
}

std::vector<Entry> chosen_entries(const std::string &list) {
    if (list.empty()) {
        return entries();
    }
    std::vector<std::string> wanted;
    for (const std::string &part : split_at(list, ',')) {
        const std::string name(strip(part));
        const auto found = std::find_if(entries().begin(), entries().end(),
                                        [&](const Entry &e) { return is_named(e, name); });
        if (found == entries().end()) {
            std::string known;
            for (const Entry &entry : entries()) {
                known += (known.empty() ? "" : ", ") + entry.name;
            }
            fail(ErrorKind::usage, "--only: no table or figure '{}' (known: {})", name, known);
        }
        wanted.push_back(found->name);
    }
    std::vector<Entry> chosen;
    for (const Entry &entry : entries()) {
        if (std::count(wanted.begin(), wanted.end(), entry.name) > 0) {
            chosen.push_back(entry);
        }
    }
    return chosen;
}

}  // namespace orthorank
