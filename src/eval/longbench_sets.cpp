// The table of sets. The prompts are LongBench's data (THUDM/LongBench, config/dataset2prompt.json,
// MIT licence), reproduced to the letter with their slips: they define the benchmark.
#include "base/error.h"
#include "eval/longbench.h"

namespace orthorank {

namespace {

constexpr std::string_view k_narrativeqa =
    "You are given a story, which can be either a novel or a movie script, and a question. Answer "
    "the question asconcisely as you can, using a single phrase if possible. Do not provide any "
    "explanation.\n\nStory: {context}\n\nNow, answer the question based on the story asconcisely "
    "as you can, using a single phrase if possible. Do not provide any explanation.\n\nQuestion: "
    "{input}\n\nAnswer:";

constexpr std::string_view k_qasper =
    "You are given a scientific article and a question. Answer the question as concisely as you "
    "can, using a single phrase or sentence if possible. If the question cannot be answered based "
    "on the information in the article, write \"unanswerable\". If the question is a yes/no "
    "question, answer \"yes\", \"no\", or \"unanswerable\". Do not provide any explanation.\n\n"
    "Article: {context}\n\n Answer the question based on the above article as concisely as you "
    "can, using a single phrase or sentence if possible. If the question cannot be answered based "
    "on the information in the article, write \"unanswerable\". If the question is a yes/no "
    "question, answer \"yes\", \"no\", or \"unanswerable\". Do not provide any explanation.\n\n"
    "Question: {input}\n\nAnswer:";

constexpr std::string_view k_multifieldqa_en =
    "Read the following text and answer briefly.\n\n{context}\n\nNow, answer the following "
    "question based on the above text, only give me the answer and do not output any other "
    "words.\n\nQuestion: {input}\nAnswer:";

constexpr std::string_view k_passages =
    "Answer the question based on the given passages. Only give me the answer and do not output "
    "any other words.\n\nThe following are given passages.\n{context}\n\nAnswer the question "
    "based on the given passages. Only give me the answer and do not output any other words.\n\n"
    "Question: {input}\nAnswer:";

constexpr std::string_view k_gov_report =
    "You are given a report by a government agency. Write a one-page summary of the report.\n\n"
    "Report:\n{context}\n\nNow, write a one-page summary of the report.\n\nSummary:";

constexpr std::string_view k_qmsum =
    "You are given a meeting transcript and a query containing a question or instruction. Answer "
    "the query in one or more sentences.\n\nTranscript:\n{context}\n\nNow, answer the query based "
    "on the above meeting transcript in one or more sentences.\n\nQuery: {input}\nAnswer:";

constexpr std::string_view k_multi_news =
    "You are given several news passages. Write a one-page summary of all news. \n\nNews:\n"
    "{context}\n\nNow, write a one-page summary of all the news.\n\nSummary:";

constexpr std::string_view k_trec =
    "Please determine the type of the question below. Here are some examples of questions.\n\n"
    "{context}\n{input}";

constexpr std::string_view k_triviaqa =
    "Answer the question based on the given passage. Only give me the answer and do not output any "
    "other words. The following are some examples.\n\n{context}\n\n{input}";

constexpr std::string_view k_samsum =
    "Summarize the dialogue into a few short sentences. The following are some examples.\n\n"
    "{context}\n\n{input}";

constexpr std::string_view k_passage_count =
    "There are some paragraphs below sourced from Wikipedia. Some of them may be duplicates. "
    "Please carefully read these paragraphs and determine how many unique paragraphs there are "
    "after removing duplicates. In other words, how many non-repeating paragraphs are there in "
    "total?\n\n{context}\n\nPlease enter the final count of unique paragraphs after removing "
    "duplicates. The output format should only contain the number, such as 1, 2, 3, and so on.\n\n"
    "The final answer is: ";

constexpr std::string_view k_passage_retrieval_en =
    "Here are 30 paragraphs from Wikipedia, along with an abstract. Please determine which "
    "paragraph the abstract is from.\n\n{context}\n\nThe following is an abstract.\n\n{input}\n\n"
    "Please enter the number of the paragraph that the abstract is from. The answer format must be "
    "like \"Paragraph 1\", \"Paragraph 2\", etc.\n\nThe answer is: ";

constexpr std::string_view k_lcc =
    "Please complete the code given below. \n{context}Next line of code:\n";

constexpr std::string_view k_repobench_p =
    "Please complete the code given below. \n{context}{input}Next line of code:\n";

}  // namespace

const std::vector<LongBenchSet> &longbench_sets() {
    using Of = LongBenchMetric;
    static const std::vector<LongBenchSet> sets{
        {"narrativeqa", "NrtvQA", 200, 128, false, false, Of::f1, k_narrativeqa},
        {"qasper", "Qasper", 200, 128, false, false, Of::f1, k_qasper},
        {"multifieldqa_en", "MF-en", 150, 64, false, false, Of::f1, k_multifieldqa_en},
        {"hotpotqa", "HotpotQA", 200, 32, false, false, Of::f1, k_passages},
        {"2wikimqa", "2WikiMQA", 200, 32, false, false, Of::f1, k_passages},
        {"musique", "Musique", 200, 32, false, false, Of::f1, k_passages},
        {"gov_report", "GovReport", 200, 512, false, false, Of::rouge_l, k_gov_report},
        {"qmsum", "QMSum", 200, 512, false, false, Of::rouge_l, k_qmsum},
        {"multi_news", "MultiNews", 200, 512, false, false, Of::rouge_l, k_multi_news},
        {"trec", "TREC", 200, 64, true, false, Of::classification, k_trec},
        {"triviaqa", "TriviaQA", 200, 32, true, false, Of::f1, k_triviaqa},
        {"samsum", "SAMSum", 200, 128, true, true, Of::rouge_l, k_samsum},
        {"passage_count", "PCount", 200, 32, false, false, Of::count, k_passage_count},
        {"passage_retrieval_en", "PRe", 200, 32, false, false, Of::retrieval,
         k_passage_retrieval_en},
        {"lcc", "Lcc", 500, 64, false, false, Of::code, k_lcc},
        {"repobench-p", "RB-P", 500, 64, false, false, Of::code, k_repobench_p},
    };
    return sets;
}

const LongBenchSet &longbench_set(std::string_view name) {
    std::vector<std::string_view> known;
    for (const LongBenchSet &set : longbench_sets()) {
        if (set.name == name) {
            return set;
        }
        known.push_back(set.name);
    }
    fail(ErrorKind::usage, "unknown LongBench set '{}' (known: {})", name, fmt::join(known, ", "));
}

}  // namespace orthorank
