"""The server's page in a real browser: Chromium without a screen, driven through chromedriver.

python3 check_page.py PROGRAM [-m MODEL] [--sparsity 20%] [--pictures FOLDER]

Types a key and a prompt, watches the answer come, compares it with what the API says, reads the figures, goes
over the map with keys and pointer, stops a run, and looks at the page in the dark and on a phone.
Nothing may be asked for elsewhere and nothing may be complained of on the browser's console.
Needs Debian's chromium-driver; Python's standard library only.
"""

import argparse
import re
from pathlib import Path

from browser import KEYS, Browser, call, expect, wait_for
from served import Server

KEY = "a key of the test"


def run_to_its_end(browser):
    """Starts the run by the keyboard."""
    browser.press("control", "enter")

    def is_done():
        state = browser.text("state")
        expect(not browser.run("return document.querySelector('#state.fault') !== null"), state)
        return state == "done"

    wait_for(is_done, "the end of the run")


def check_answer(browser, server, prompt, plan):
    run_to_its_end(browser)
    n_pieces = browser.run("return document.getElementById('plan-answer').childNodes.length")
    expect(n_pieces > 10, f"the answer came in {n_pieces} pieces")
    body = {"prompt": prompt, "max_tokens": 40, "temperature": 0, "orthorank": {"plan": plan, "trace": True}}
    answer = call("POST", server.url + "/v1/completions", body, {"Authorization": "Bearer " + KEY})
    choice = answer["choices"][0]
    expect(browser.text("plan-answer") == choice["text"], "the page shows another answer than the API gives")
    dense = dict(body, orthorank={})
    answer = call("POST", server.url + "/v1/completions", dense, {"Authorization": "Bearer " + KEY})
    expect(browser.text("dense-answer") == answer["choices"][0]["text"], "another dense answer")
    rows = browser.run(
        "return [...document.querySelectorAll('#speeds tbody tr')]"
        ".map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    expect([row[0] for row in rows] == [plan, "dense"], f"rows of the table: {rows}")
    for row in rows:
        expect(all(float(row[i]) > 0 for i in (1, 2, 3, 4, 5, 6)), f"figures: {row}")
    expect(float(rows[0][7].rstrip("%")) < 100, f"rows computed: {rows[0]}")
    return choice["orthorank"]


def check_map(browser, trace):
    cells = browser.run(
        "return [...document.querySelectorAll('#drawings rect > title')].map((title) => title.textContent)"
    )
    layers = trace["layers"]
    expect(len(cells) == len(trace["tokens"]) * len(layers), f"{len(cells)} cells")
    n_computed = sum(len(layer["rows"]) for layer in layers)
    n_said = sum(": computed: score" in cell.replace("\n", ": ") for cell in cells)
    expect(n_said == n_computed, f"{n_said} cells say computed, the API says {n_computed}")
    expect(any("rank 1 of" in cell for cell in cells), "no cell says its rank")
    # From the keyboard: into the first drawing, then to the second token of the second layer.
    browser.run("document.querySelector('#drawings svg').focus()")
    for key in ("right", "right", "down"):
        browser.press(key)
    layer = layers[1]["index"]
    expect(browser.text("cell").startswith(f"layer {layer}, token 1 "), browser.text("cell"))
    # Over the edge into the next strip and on.
    n_strips = browser.run("return document.querySelectorAll('#drawings svg').length")
    expect(n_strips > 1, "the map has one strip only")
    for _ in range(36):
        browser.press("right")
    expect(browser.text("cell").startswith(f"layer {layer}, token 37 "), browser.text("cell"))
    browser.point_at("#drawings svg rect:has(> title)")
    first = layers[0]["index"]
    expect(browser.text("cell").startswith(f"layer {first}, token 0 sink "), browser.text("cell"))


def check_stop(browser):
    browser.type("#tokens", "400")
    browser.press("control", "enter")
    wait_for(lambda: browser.text("plan-answer"), "the first piece")
    browser.press("escape")
    wait_for(lambda: browser.text("state") == "stopped", "the stop")
    expect(not browser.run("return document.getElementById('run').disabled"), "Run stays disabled")


def check_looks(browser, pictures):
    browser.set("setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    expect(sum(map(int, re.findall(r"\d+", paper)[:3])) < 150, f"in the dark the page is {paper}")
    browser.picture(pictures, "dark")
    browser.set("setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=2, mobile=True)
    width = browser.run("return document.documentElement.scrollWidth")
    expect(width <= 390, f"on a phone the page is {width} pixels wide")
    browser.picture(pictures, "phone")
    browser.run("document.getElementById('map').scrollIntoView()")
    browser.picture(pictures, "phone-map")


def check_what_was_asked(browser, server):
    for entry in browser.log("browser"):
        is_key = "401" in entry["message"]  # before the key was typed
        expect(is_key or entry["level"] not in ("WARNING", "SEVERE"), f"console: {entry['message']}")
    asked = browser.asked_urls()
    elsewhere = {url for url in asked if not url.startswith((server.url + "/", "data:"))}
    expect(len(asked) > 3 and not elsewhere, f"asked for {elsewhere or asked}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("-m", "--model")
    parser.add_argument("--sparsity", default="20%")
    parser.add_argument("--pictures", type=Path)
    arguments = parser.parse_args()
    plan = arguments.sparsity
    options = ["--sparsity", plan, "--api-key", KEY]
    options += ["-m", arguments.model] if arguments.model else []
    with Server(arguments.program, options) as server, Browser() as browser:
        browser.ask("POST", "/url", {"url": server.url + "/"})
        wait_for(lambda: browser.run("return !document.getElementById('key-form').hidden"), "the key's field")
        browser.type("#key", KEY + KEYS["enter"])
        wait_for(lambda: browser.text("model").startswith("served, "), "the model's name")
        chosen = browser.run("return document.getElementById('plan').value")
        expect(chosen == plan, f"the page chooses {chosen}")
        # Longer than the rows at its end that a plan for prompts keeps.
        prompt = browser.run("return document.getElementById('prompt').value") + " these:"
        browser.type("#prompt", prompt)
        browser.type("#tokens", "40")
        trace = check_answer(browser, server, prompt, plan)
        browser.picture(arguments.pictures, "light")
        check_map(browser, trace)
        browser.picture(arguments.pictures, "map")
        check_looks(browser, arguments.pictures)
        check_stop(browser)
        check_what_was_asked(browser, server)
    print("page: answer, figures, map, keys, stop, dark, phone; nothing was asked for elsewhere")


if __name__ == "__main__":
    main()
