"""The pages of `analyze`, `reproduce` and `trace --html` in a real browser: Chromium without a screen.

python3 check_pages.py PROGRAM MODEL FIXTURES [--pictures FOLDER]

Makes the pages from small data and opens each as a file, in the light, in the dark, on a phone and as paper. Nothing
may be complained of on the browser's console nor asked for elsewhere; every drawing has marks, all of its text is
inside its box and readable on what it stands on.
FIXTURES: the tests' folder fixtures. Needs Debian's chromium-driver; Python's standard library only.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

from browser import Browser, expect

SENTENCE = "the quick brown fox jumps over {} lazy dogs."
ENTRIES = "table1,table2,table6,table9,table10,fig2,fig3,fig4,fig5,fig6,fig7,fig8,fig9,fig10,fig11,fig12,fig13,fig14"
# Of each drawing: its name, how many marks it has, which texts leave its box, and the least contrast of a text with
# the paper. A mark is what is drawn in the plot: what has a title to show, lines, and a sphere's arrows.
LOOK = """
const luminance = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => {
        v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
};
return [...document.querySelectorAll("svg")].map((svg) => {
    const box = svg.getBoundingClientRect();
    const paper = svg.querySelector(".paper");
    const ground = getComputedStyle(paper || document.body)[paper ? "fill" : "backgroundColor"];
    const texts = [...svg.querySelectorAll("text")];
    const marks = [...svg.querySelectorAll(":not(svg) > title")].map((title) => title.parentNode);
    return {
        name: texts.length ? texts[0].textContent : "a drawing without a text",
        n_marks: marks.length + svg.querySelectorAll("polyline, path, ellipse ~ line:not([class])").length,
        n_empty: marks.filter((mark) => {
            const area = mark.getBoundingClientRect();
            return area.width + area.height === 0;
        }).length,
        outside: texts.filter((text) => {
            const area = text.getBoundingClientRect();
            return area.left < box.left - 1 || area.right > box.right + 1 || area.top < box.top - 1 ||
                area.bottom > box.bottom + 1;
        }).map((text) => text.textContent),
        contrast: Math.min(...texts.filter((text) => text.classList.contains("ink"))
            .map((text) => contrast(getComputedStyle(text).fill, ground))),
        paper: luminance(ground),
    };
});
"""


def write_data(folder, fixtures):
    """Texts and the documents of two tasks: what is not there is named by the report."""
    for name in ("piqa", "arc"):
        (folder / name).symlink_to(fixtures / "clients" / name)
    sentences = [SENTENCE.format(i * i) for i in range(60)]
    for name in ("test", "train"):
        path = folder / "wikitext-2-raw" / f"wiki.{name}.raw"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(f" {sentence}\n" for sentence in sentences))
    (folder / "c4").mkdir()
    lines = "".join(json.dumps({"text": sentence}) + "\n" for sentence in sentences)
    (folder / "c4/c4-validation.00000-of-00008.json").write_text(lines)


def make_pages(program, model, fixtures, folder):
    """The files of the pages by name."""
    data = folder / "data"
    data.mkdir()
    write_data(data, fixtures)

    def run(*arguments):
        command = [program, *map(str, arguments), "-m", str(model), "--threads", "1"]
        result = subprocess.run(command, capture_output=True, text=True)
        expect(result.returncode == 0, f"{' '.join(command)}: {result.stderr}")

    text = data / "wikitext-2-raw/wiki.test.raw"
    run("analyze", "-f", text, "-o", folder / "analysis", "--tokens", 101)
    small = ("--windows", 2, "--ctx", 64, "--limit", 2)
    run("reproduce", "--data", data, "-o", folder / "reproduction", "--only", ENTRIES, *small)
    plan = fixtures / "plan-tiny-llama-gqa.json"
    run("trace", "-p", SENTENCE * 8, "--plan", plan, "--decode", 3, "--html", folder / "trace.html")
    return {
        "analysis": folder / "analysis/index.html",
        "reproduction": folder / "reproduction/report.html",
        "trace": folder / "trace.html",
    }


def check_drawings(browser, page, look, is_dark=False):
    drawings = browser.run(LOOK)
    expect(drawings, f"{page} has no drawing")
    for drawing in drawings:
        where = f"{page}, {look}: {drawing['name']!r}"
        expect(drawing["n_marks"] > 0, f"{where} has no marks")
        expect(drawing["n_empty"] == 0, f"{where}: {drawing['n_empty']} marks have no size")
        expect(not drawing["outside"], f"{where}: outside its box: {drawing['outside']}")
        # JSON has no infinity: of a drawing without such texts the least contrast is null.
        expect(drawing["contrast"] is None or drawing["contrast"] > 4.5, f"{where}: contrast {drawing['contrast']}")
        expect((drawing["paper"] < 0.1) == is_dark, f"{where}: the paper's luminance is {drawing['paper']}")
    return len(drawings)


def check_page(browser, name, path, pictures):
    browser.ask("POST", "/url", {"url": path.as_uri()})
    n_drawings = check_drawings(browser, name, "light")
    browser.picture(pictures, name)
    for look, features in (("dark", [{"name": "prefers-color-scheme", "value": "dark"}]), ("paper", [])):
        media = "print" if look == "paper" else "screen"
        browser.set("setEmulatedMedia", media=media, features=features)
        check_drawings(browser, name, look, look == "dark")
        browser.picture(pictures, f"{name}-{look}")
    browser.set("setEmulatedMedia", media="", features=[])
    browser.set("setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    width = browser.run("return document.documentElement.scrollWidth")
    expect(width <= 390, f"{name}: on a phone the page is {width} pixels wide")
    browser.picture(pictures, f"{name}-phone")
    browser.set("clearDeviceMetricsOverride")
    return n_drawings


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model", type=Path)
    parser.add_argument("fixtures", type=Path)
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Browser() as browser:
        pages = make_pages(arguments.program, arguments.model, arguments.fixtures.resolve(), Path(folder))
        counts = {name: check_page(browser, name, path, arguments.pictures) for name, path in pages.items()}
        for entry in browser.log("browser"):
            expect(entry["level"] not in ("WARNING", "SEVERE"), f"console: {entry['message']}")
        elsewhere = browser.asked_urls() - {path.as_uri() for path in pages.values()}
        expect(not elsewhere, f"asked for {elsewhere}")
    drawings = ", ".join(f"{count} of {name}" for name, count in counts.items())
    print(f"drawings: {drawings}; marks, texts in their boxes, light, dark, paper, phone")


if __name__ == "__main__":
    main()
