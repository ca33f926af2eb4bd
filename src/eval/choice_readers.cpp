// PIQA, WinoGrande, ARC and HellaSwag.
#include "base/error.h"
#include "base/strings.h"
#include "base/utf8.h"
#include "eval/readers.h"
#include "eval/records.h"
#include "eval/text.h"

namespace orthorank {

namespace {

// re.sub(r"\[.*?\]", "", text): from each "[" to the next "]", unless a newline lies between.
std::string without_brackets(std::string_view text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        if (text[at] == '[') {
            const size_t end = text.find_first_of("]\n", at + 1);
            if (end != std::string_view::npos && text[end] == ']') {
                at = end + 1;
                continue;
            }
        }
        out += text[at++];
    }
    return out;
}

size_t label_in_range(const Record &record, const char *name, size_t first, size_t n_choices) {
    const size_t label = record.number(name);
    if (label < first || label >= first + n_choices) {
        record.complain(fmt::format("field '{}' is {}, expected {} to {}", name, label, first,
                                    first + n_choices - 1));
    }
    return label - first;
}

size_t parse_label(const std::string &line, size_t n_choices, const Place &place) {
    const std::string_view text = strip(line);
    if (text.size() != 1 || text[0] < '0' || text[0] >= static_cast<char>('0' + n_choices)) {
        fail(ErrorKind::format, "{}: label '{}', expected 0 to {}", place.str(), text,
             n_choices - 1);
    }
    return static_cast<size_t>(text[0] - '0');
}

ChoiceDocument arc_document(size_t index, const Record &record) {
    const Record question(record.field("question"), record.place());
    const nlohmann::ordered_json &list = question.field("choices");
    if (!list.is_array() || list.empty()) {
        record.complain("question.choices is not a list of choices");
    }
    const std::string answer = record.text("answerKey");
    std::vector<std::string> choices;
    std::vector<std::string> labels;
    size_t gold = list.size();
    for (const auto &item : list) {
        const Record choice(item, record.place());
        labels.push_back(choice.text("label"));
        if (labels.back() == answer && gold == list.size()) {
            gold = choices.size();
        }
        choices.push_back(choice.text("text"));
    }
    if (gold == list.size()) {
        record.complain(fmt::format("answerKey '{}' is no label of a choice (labels there: {})",
                                    answer, fmt::join(labels, ", ")));
    }
    return make_choice_document(index, "Question: " + question.text("stem") + "\nAnswer:", choices,
                                gold);
}

}  // namespace

ChoiceDocument make_choice_document(size_t index, const std::string &context,
                                    const std::vector<std::string> &choices, size_t gold) {
    ChoiceDocument document;
    document.index = index;
    document.gold = gold;
    document.labels.assign(choices.size(), 0);
    document.labels.at(gold) = 1;
    for (const std::string &choice : choices) {
        document.pairs.push_back({context, " " + choice});
        document.choice_characters.push_back(n_characters(choice));
    }
    return document;
}

std::vector<ChoiceDocument> read_piqa(const std::string &path, const std::string &labels_path) {
    const std::vector<std::string> labels = read_lines(labels_path);
    std::vector<ChoiceDocument> documents;
    for_each_record(path, [&](const Record &record) {
        const size_t index = documents.size();
        if (index >= labels.size()) {
            record.complain(
                fmt::format("no label for it: {} has {} lines", labels_path, labels.size()));
        }
        documents.push_back(
            make_choice_document(index, "Question: " + record.text("goal") + "\nAnswer:",
                                 {record.text("sol1"), record.text("sol2")},
                                 parse_label(labels[index], 2, Place{labels_path, index + 1})));
        return true;
    });
    if (labels.size() != documents.size()) {
        fail(ErrorKind::format, "{} has {} labels for the {} records of {}", labels_path,
             labels.size(), documents.size(), path);
    }
    return documents;
}

std::vector<ChoiceDocument> read_winogrande(const std::string &path) {
    std::vector<ChoiceDocument> documents;
    for_each_record(path, [&](const Record &record) {
        const std::string sentence = record.text("sentence");
        const size_t gap = sentence.find('_');
        if (gap == std::string::npos) {
            record.complain("the sentence has no '_'");
        }
        ChoiceDocument document;
        document.index = documents.size();
        document.gold = label_in_range(record, "answer", 1, 2);
        document.labels = {document.gold == 0 ? 1 : 0, document.gold == 1 ? 1 : 0};
        const std::string rest(strip(std::string_view(sentence).substr(gap + 1)));
        for (const char *name : {"option1", "option2"}) {
            const std::string option = record.text(name);
            document.pairs.push_back({sentence.substr(0, gap) + option, " " + rest});
            document.choice_characters.push_back(n_characters(option));
        }
        documents.push_back(std::move(document));
        return true;
    });
    return documents;
}

std::vector<ChoiceDocument> read_arc(const std::string &path) {
    std::vector<ChoiceDocument> documents;
    for_each_record(path, [&](const Record &record) {
        documents.push_back(arc_document(documents.size(), record));
        return true;
    });
    return documents;
}

std::string clean_hellaswag(std::string_view text) {
    const std::string titled = replace_all(strip(text), " [title]", ". ");
    return replace_all(without_brackets(titled), "  ", " ");
}

std::vector<ChoiceDocument> read_hellaswag(const std::string &path) {
    std::vector<ChoiceDocument> documents;
    for_each_record(path, [&](const Record &record) {
        std::vector<std::string> endings;
        for (const std::string &ending : record.texts("endings")) {
            endings.push_back(clean_hellaswag(ending));
        }
        if (endings.empty()) {
            record.complain("no endings");
        }
        const std::string context = record.text("activity_label") + ": " + record.text("ctx_a") +
                                    " " + capitalize(record.text("ctx_b"));
        const size_t gold = label_in_range(record, "label", 0, endings.size());
        documents.push_back(
            make_choice_document(documents.size(), clean_hellaswag(context), endings, gold));
        return true;
    });
    return documents;
}

std::vector<ChoiceDocument> read_hellaswag_text(const std::string &path) {
    constexpr size_t k_lines = 6;
    const std::vector<std::string> lines = read_lines(path);
    if (lines.size() % k_lines != 0) {
        fail(ErrorKind::format,
             "{}:{}: the last item is cut short: {} lines are not a multiple of {} (context, "
             "label, four endings)",
             path, lines.size(), lines.size(), k_lines);
    }
    std::vector<ChoiceDocument> documents;
    for (size_t at = 0; at < lines.size(); at += k_lines) {
        const size_t gold = parse_label(lines[at + 1], 4, Place{path, at + 2});
        const std::vector<std::string> endings{lines[at + 2], lines[at + 3], lines[at + 4],
                                               lines[at + 5]};
        documents.push_back(make_choice_document(documents.size(), lines[at], endings, gold));
    }
    return documents;
}

}  // namespace orthorank
