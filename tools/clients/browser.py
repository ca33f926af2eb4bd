"""Chromium without a screen, driven through chromedriver by the standard library alone."""

import base64
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver's name for a reference
KEYS = {"control": "\ue009", "enter": "\ue007", "escape": "\ue00c", "right": "\ue014", "down": "\ue015"}


def call(method, url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


class Browser:
    """WebDriver's protocol, as far as it is needed here."""

    def __init__(self):
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                break
        arguments = ["--headless=new", "--disable-gpu", "--window-size=1000,1200"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium refuses to have one there
        wanted = {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self.url = f"http://127.0.0.1:{found.group(1)}/session"
        session = self.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.url += "/" + session["sessionId"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.ask("DELETE", "")
        finally:
            self.driver.terminate()
            self.driver.wait()

    def ask(self, method, path, body=None):
        return call(method, self.url + path, body)["value"]

    def run(self, script, *arguments):
        return self.ask("POST", "/execute/sync", {"script": script, "args": arguments})

    def text(self, name):
        return self.run("return document.getElementById(arguments[0]).textContent", name)

    def find(self, css):
        return self.ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def type(self, css, text):
        self.ask("POST", f"/element/{self.find(css)}/clear", {})
        self.ask("POST", f"/element/{self.find(css)}/value", {"text": text})

    def click(self, css):
        self.ask("POST", f"/element/{self.find(css)}/click", {})

    def press(self, *names):
        """Presses keys one while the other is held."""
        keys = [KEYS[name] for name in names]
        steps = [{"type": "keyDown", "value": key} for key in keys]
        steps += [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": steps}]})

    def point_at(self, css):
        origin = {ELEMENT: self.find(css)}
        move = {"type": "pointerMove", "duration": 0, "x": 0, "y": 0, "origin": origin}
        self.ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def set(self, command, **parameters):
        self.ask("POST", "/goog/cdp/execute", {"cmd": "Emulation." + command, "params": parameters})

    def log(self, kind):
        return self.ask("POST", "/se/log", {"type": kind})

    def asked_urls(self):
        """All that was asked for since the last call."""
        messages = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        return {
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        }

    def picture(self, folder, name):
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            png = base64.b64decode(self.ask("GET", "/screenshot"))
            (folder / f"{name}.png").write_bytes(png)


def expect(is_right, what):
    if not is_right:
        raise SystemExit(f"{Path(sys.argv[0]).stem}: {what}")


def wait_for(function, what):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if value := function():
            return value
        time.sleep(0.01)
    raise SystemExit(f"{Path(sys.argv[0]).stem}: waited in vain for {what}")
