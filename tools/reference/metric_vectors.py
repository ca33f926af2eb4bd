#!/usr/bin/env python3
"""Writes tests/fixtures/eval/metric_vectors.json: what the published metrics say.

Never needed to build or to run orthorank. The expected values come from the packages that the
published numbers were made with, and from LongBench's scores written anew on top of them:

    python3 -m venv VENV
    VENV/bin/pip install sacrebleu==2.4.3 rouge==1.0.1 fuzzywuzzy==0.18.0 regex
    VENV/bin/python tools/reference/metric_vectors.py tests/fixtures/eval/metric_vectors.json

python-Levenshtein must not be installed (fuzzywuzzy would use it instead of difflib); the
`levenshtein` values are 2 * LCS / (|a| + |b|), computed here.
"""

import collections
import json
import random
import re
import string
import sys

import sacrebleu
from fuzzywuzzy import fuzz
from rouge import Rouge
from sacrebleu.tokenizers.tokenizer_intl import TokenizerV14International

SENTENCES = [
    ("\nA: The watermelon seeds pass through your digestive system.",
     "The watermelon seeds pass through your digestive system."),
    ("Nothing happens.", "Nothing happens."),
    ("I have no comment.", "I have no comment."),
    ("The cost is 5.50 dollars.", "The cost is $5.50 (approx)."),
    ("You grow watermelons in your stomach and nothing happens to them.",
     "You eat watermelon seeds and nothing happens to you."),
    ("xyz uvw rst opq.", "abc def ghi jkl."),
    ("", "Something."),
    ("It was signed in 1776.", "It was signed in 1776, in Philadelphia."),
    ("3,000.5 x-ray A.B. U.S.", "3,000.5 x-ray A.B. U.S."),
    ("\nA: It's $5.50, isn't it? (Yes.) In 1999.", "It's $5.50, isn't it? (Yes.) In 1999."),
    ("Caf\u00e9 \u201cna\u00efve\u201d \u2014 \u20ac5 \u00bd \u00d7 2.",
     "Caf\u00e9 \u201cnaive\u201d \u2014 \u20ac5 \u00bd \u00d7 3."),
    ("\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002 \u662f \u7684 \u5417\uff1f",
     "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\u3002 \u662f \u7684 \u5417\uff1f"),
    ("the the the the the the the", "the cat is on the mat today"),
    ("a\tb\u00a0c\u2003d e", "a b c d e"),
    ("one two three", "one two three four five six seven"),
    ("one two three four", "one two three four five six seven"),
    ("It is 20% off, i.e. $4 + $3 = $7!!", "It is 20% off, that is $4 + $3 = $7."),
    ("Wait... what?! No -- never; 'ever'.", "Wait... what? No - never, ever."),
    ("emoji \U0001f600\U0001f601 end of line \u2122 here",
     "emoji \U0001f600 end of line \u2122 here"),
    ("The U.S. president in 1955 was Dwight D. Eisenhower",
     "Dwight D. Eisenhower was the U.S. president in 1955."),
    ("\n\n  leading blanks and words here  \n", "leading blanks and words here"),
    ("\u0661\u0662\u0663.\u0664 and \u2167. plus \u00b2, and",
     "\u0661\u0662\u0663.\u0664 and \u2167. plus \u00b2, or"),
]

ROUGE_PAIRS = [
    ("the cat sat on the mat.", "the cat is on the mat"),
    ("The cat sat. The dog ran.", "the cat sat. The dog ran fast."),
    ("Hello. ", "Hello"),
    ("a b c d e. f g h", "e d c b a. h f"),
    ("police killed the gunman. Police ended the gunman", "police killed the gunman"),
    ("a b a b a b", "a b"),
    ("U.S. growth was 3.5 percent in 2019", "U.S. growth hit 3.5 percent"),
    ("", "a b"),
    ("...", "a b"),
    ("a b", ""),
    (" ", "a"),
    (" . a", "b . "),
    ("x\u00a0y\u2003z \n w", "x y z w"),
    ("\u00e9t\u00e9 chaud. hiver froid.", "hiver froid. \u00e9t\u00e9 chaud."),
]

F1_PAIRS = [
    ("The answer is Paris, France", "Paris"), ("yes yes no", "yes no"), ("", ""), ("a", "the"),
    ("The  Eiffel-Tower, in a Paris!", "eiffeltower in paris"), ("A.B. the-an", "ab thean"),
    ("an \u00e9lan the\u00e9 THE \u00c9LAN", "\u00e9lan the\u00e9 \u00e9lan"),
    ("the_a a_the", "the a"),
    ("\u0130stanbul and \u0391\u0398\u0397\u039d\u0391", "\u0130STANBUL \u03b1\u03b8\u03b7\u03bd\u03b1"),
    ("\u201cquoted\u201d text", "quoted text"), ("x\u00a0a\u2003y", "x y"),
    ("a\u0301 b", "\u00e1 b"),
    ("2 \u00bd a\u00b2 the1", "2 \u00bd a\u00b2 1"), ("$5.50, the price", "550 price"),
]

CLASSES = [
    ("Type: Description of a person", "Description of a person",
     ["Description of a person", "Description", "person", "x"]),
    ("ab abc b", "abc", ["a", "b", "abc", "ab", "zz"]),
    ("Other number", "Other number", ["Number", "Other number", "Other"]),
    ("nothing of it", "abc", ["abc", "ab"]),
    ("Food, Animal", "Food", ["Food", "Animal", "Other"]),
    ("a b a", "ab a b", ["a", "a", "b", "ab a b"]),
    ("ab a b and a", "ab a b", ["a", "a", "b", "ab a b"]),
]

COUNTS = [
    ("12 or 13", "12"), ("There are 5 and 5", "5"), ("none", "3"), ("05", "5"),
    ("7.7", "7"), ("\u0663 3", "3"), ("a1b2c3", "2"), ("", "1"),
]

RETRIEVALS = [
    ("Paragraph 12", "Paragraph 12"), ("12, not 13", "Paragraph 12"),
    ("Paragraph", "Paragraph 3"),
    ("paragraph 3 or paragraph 3 or 4", "Paragraph 3"),
]

CODES = [
    ("return x + y", "return x+y"), ("    return foo(bar)", "return foo(bar)"), ("ab", "ba"),
    ("private static final int A = 1;", "private final static int B = 2;"),
    ("kitten", "sitting"), ("self.x = 1", "self.y = 10"),
    ("aaa" + 250 * "b", 250 * "b" + "aaa"), ("", ""), ("", "x"), ("x", ""),
    ("\n\n# comment\nx = 1\ny = 2", "x = 1"), ("// a\n`b`\n  int c;\n", "int c;"),
    ("# only", "code"), ("\u00e9t\u00e9 = \u201c\u00e9\u201d", "ete = \"e\""),
    ("for (int i = 0; i < n; i++) {", "for (size_t j = 0; j < n; ++j) {"),
    ("\treturn\r", "return"),
]


def random_pairs(n, make, seed):
    """Pairs of which the second is an edit of the first, so that much is shared."""
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        a = make(rng)
        b = list(a)
        for _ in range(rng.randint(0, max(1, len(b) // 2))):
            at = rng.randrange(len(b) + 1)
            if b and rng.random() < 0.5:
                b.pop(min(at, len(b) - 1))
            else:
                b.insert(at, rng.choice(a) if a else "x")
        pairs.append((a, b))
    return pairs


def random_words(rng):
    words = "the cat sat on a mat . , U.S. 3.5 $5 (no) don't Paris \u00e9t\u00e9".split()
    return [rng.choice(words) for _ in range(rng.randint(1, 24))]


def random_code(rng):
    alphabet = "abcxyz(){};=+ _.i" if rng.random() < 0.6 else "ab "
    return [rng.choice(alphabet) for _ in range(rng.choice([5, 20, 60, 210, 300]))]


def bleu(hypothesis, reference):
    return sacrebleu.corpus_bleu(
        [hypothesis], [[reference]], smooth_method="exp", smooth_value=0.0, force=False,
        lowercase=False, tokenize="intl", use_effective_order=False).score


def rouge_l(prediction, reference):
    try:
        return Rouge().get_scores([prediction], [reference], avg=True)["rouge-l"]["f"]
    except ValueError:
        return 0.0


def answer_words(text):
    kept = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def f1(prediction, answer):
    predicted, wanted = answer_words(prediction), answer_words(answer)
    same = sum((collections.Counter(predicted) & collections.Counter(wanted)).values())
    if same == 0:
        return 0.0
    precision, recall = same / len(predicted), same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def classification(prediction, answer, classes):
    found = [name for name in classes if name in prediction]
    for name in found:  # deleting while walking, as published
        if name in answer and name != answer:
            found.remove(name)
    return 1.0 / len(found) if answer in found else 0.0


def count(prediction, answer):
    numbers = re.findall(r"\d+", prediction)
    return sum(number == answer for number in numbers) / len(numbers) if numbers else 0.0


def retrieval(prediction, answer):
    return count(prediction, re.findall(r"Paragraph (\d+)", answer)[0])


def code_line(prediction):
    for line in prediction.lstrip("\n").split("\n"):
        if "`" not in line and "#" not in line and "//" not in line:
            return line
    return ""


def levenshtein(a, b):
    if a == b:
        return 100
    if not a or not b:
        return 0
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b):
            new.append(row[j] + 1 if x == y else max(row[j + 1], new[j]))
        row = new
    return round(100 * (2 * row[-1] / (len(a) + len(b))))


def main(path):
    assert fuzz.SequenceMatcher.__module__ == "difflib", "python-Levenshtein is installed"
    words = [(" ".join(a), " ".join(b)) for a, b in random_pairs(16, random_words, 1)]
    codes = [("".join(a), "".join(b)) for a, b in random_pairs(24, random_code, 2)]
    tokenizer = TokenizerV14International()
    bleu_pairs = SENTENCES + words
    data = {
        "made_by": "tools/reference/metric_vectors.py",
        "bleu": [{"hypothesis": h, "reference": r, "words": tokenizer(h.rstrip()).split(),
                  "score": bleu(h, r)} for h, r in bleu_pairs],
        "rouge_l": [{"prediction": p, "reference": r, "score": rouge_l(p, r)}
                    for p, r in ROUGE_PAIRS + words],
        "f1": [{"prediction": p, "answer": a, "words": answer_words(p), "score": f1(p, a)}
               for p, a in F1_PAIRS + words],
        "classification": [{"prediction": p, "answer": a, "classes": c,
                            "score": classification(p, a, c)} for p, a, c in CLASSES],
        "count": [{"prediction": p, "answer": a, "score": count(p, a)} for p, a in COUNTS],
        "retrieval": [{"prediction": p, "answer": a, "score": retrieval(p, a)}
                      for p, a in RETRIEVALS],
        "code": [{"prediction": p, "answer": a, "difflib": fuzz.ratio(code_line(p), a),
                  "levenshtein": levenshtein(code_line(p), a)} for p, a in CODES + codes],
    }
    with open(path, "w", encoding="utf-8") as out:
        json.dump(data, out, ensure_ascii=True, indent=0)
        out.write("\n")


if __name__ == "__main__":
    main(sys.argv[1])
