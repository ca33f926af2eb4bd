#!/usr/bin/env python3
"""Many users at once against `orthorank serve`: is every answer right, how long do they wait, and
does memory stay where it is?

    bench/serve-load.py [--program build/orthorank] [-m MODEL] [--requests 1000] [--users 16]
                        [--seed 1] [--alone] [--server-options "..."] [--json OUT]
    bench/serve-load.py --same 256,64 --users 8 [--rounds 3] ...

Starts the server on a free port and sends a mixture, drawn by the seed: short and long prompts,
streamed and whole, dense and under the first plan that is served, log-probabilities of prompts,
chats, overlong prompts, malformed bodies, and clients that leave at random moments. Each kind has
one right outcome; a request with temperature 0 that is sent again has to give the same text, and
the same log-probabilities of its prompt, to 0.01 together. With --alone every request that is to
be answered is sent once by itself first, one after the other: what it gets among others has to be
that. Answers that do not depend on their neighbours need --kernels exact and an F32 cache, and with
quantised weights --weights f32 too. Prints counts, waits to the first token and between tokens
(median, 95th and 99th percentile), tokens a second, and the server's resident memory at the start,
after each tenth of the requests and at the end. Exit code 1 for a wrong or lost answer.

--same IN,OUT measures instead: all users send a prompt of IN tokens (each another part of this
program's documentation) in the same moment and read OUT new ones, dense and under each plan that
is served, in turns. For each: seconds until everybody has an answer, the same tokens a second that
these make, and the waits. Python's standard library only.
"""

import argparse
import asyncio
import json
import random
import re
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

WORDS = "the night sky is full of stars and every one of them was once a cloud of dust".split()
KINDS = {  # how often
    "short": 30,
    "stream": 30,
    "scores": 15,
    "chat": 10,  # where the model has a template, which runs in a process of its own
    "long": 5,
    "overlong": 5,
    "malformed": 5,
    "leaving": 10,
}


class Server:
    def __init__(self, program, options):
        command = [program, "serve", "--port", "0", *options]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.lines = []
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.match(r"listening on http://([\d.]+):(\d+)", line)
            if found:
                self.address = found.group(1), int(found.group(2))
                return
        sys.exit("the server did not start:\n" + "\n".join(self.lines))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) * 1024

    def stop(self):
        self.process.terminate()
        self.process.communicate()
        return self.process.returncode


async def send(address, path, body, method="POST"):
    reader, writer = await asyncio.open_connection(*address)
    head = f"{method} {path} HTTP/1.1\r\nHost: load\r\nConnection: close\r\n"
    if method == "POST":
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(head.encode() + b"\r\n" + body)
    await writer.drain()
    return reader, writer


async def answer_of(address, path, body, method="POST"):
    """Status and body of a whole answer."""
    reader, writer = await send(address, path, body, method)
    data = await reader.read()
    writer.close()
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), rest


class Load:
    def __init__(self, server, arguments, limits):
        self.server = server
        self.arguments = arguments
        self.n_ctx, self.tokens_per_word, self.has_template, self.models = limits
        # A quarter of the requests were sent before by somebody.
        self.n_different = arguments.requests * 3 // 4 + 1
        self.counts = {}
        self.faults = []
        self.first_waits = []
        self.token_waits = []
        self.n_tokens = 0
        self.answers = {}
        self.resident = []

    def draw(self, number):
        """The kind of a request and its body; the same for the same number."""
        random_of = random.Random(f"{self.arguments.seed} {number}")
        kind = random_of.choices(list(KINDS), list(KINDS.values()))[0]
        if kind == "chat" and not self.has_template:
            kind = "short"
        n_words = random_of.randint(1, 24)
        if kind == "long":
            n_words = int(self.n_ctx / 2 / self.tokens_per_word)
        elif kind == "overlong":
            n_words = 4 * self.n_ctx
        body = {
            "model": random_of.choice(self.models),
            "prompt": " ".join(random_of.choices(WORDS, k=n_words)),
            "max_tokens": random_of.randint(1, 16),
            "temperature": 0,
        }
        if kind == "scores":
            body.update(max_tokens=1, echo=True, logprobs=1)
        if kind == "chat":
            body["messages"] = [{"role": "user", "content": body.pop("prompt")}]
        if kind in ("stream", "leaving"):
            body["stream"] = True
        if kind == "leaving":
            body["max_tokens"] = self.n_ctx
        text = json.dumps(body).encode()
        if kind == "malformed":
            text = random_of.choice(
                [text[:-2], b"[" * 50000, b"\xff" * 50000, b'{"prompt": [-1]}', b'{"grammar": "x"}']
            )
        return kind, body, text, random_of.random() * 0.3

    def expect(self, is_right, number, kind, found):
        if not is_right:
            self.faults.append(f"request {number} ({kind}): {found}")

    def check_answer(self, number, kind, body, text, log_prob=0):
        asked = body.get("prompt") or body["messages"][0]["content"]
        form = kind if kind in ("scores", "chat") else "text"  # streamed or not: the same
        key = body["model"], form, asked, body["max_tokens"]
        first_text, first_log_prob = self.answers.setdefault(key, (text, log_prob))
        self.expect(first_text == text, number, kind, f"{text!r}, before {first_text!r}")
        apart = abs(first_log_prob - log_prob)
        self.expect(apart <= 0.01, number, kind, f"log-probabilities are {apart} apart")

    async def stream(self, number, kind, body, text):
        last = time.monotonic()
        reader, writer = await send(self.server.address, "/v1/completions", text)
        said, is_done, status = "", False, None
        while line := await reader.readline():
            if status is None:
                status = int(line.split(b" ", 2)[1])
            elif line.startswith(b"data: [DONE]"):
                is_done = True
            elif line.startswith(b"data: "):
                now = time.monotonic()
                (self.token_waits if said else self.first_waits).append(now - last)
                last = now
                event = json.loads(line[6:])
                if "error" in event:
                    break
                said += event["choices"][0]["text"]
                self.n_tokens += event.get("usage", {}).get("completion_tokens", 0)
        writer.close()
        if status == 429:
            return False
        self.expect(status == 200 and is_done, number, kind, f"status {status}, done {is_done}")
        self.check_answer(number, kind, body, said)
        return True

    async def leave(self, text, seconds):
        _, writer = await send(self.server.address, "/v1/completions", text)
        await asyncio.sleep(seconds)
        writer.transport.abort()

    async def whole(self, number, kind, body, text):
        path = "/v1/chat/completions" if kind == "chat" else "/v1/completions"
        status, data = await answer_of(self.server.address, path, text)
        if status == 429:
            return False
        if kind in ("overlong", "malformed"):
            self.expect(status == 400, number, kind, f"status {status}")
            return True
        self.expect(status == 200, number, kind, f"status {status}: {data[:200]}")
        if status == 200:
            answer = json.loads(data)
            choice = answer["choices"][0]
            self.n_tokens += answer["usage"]["completion_tokens"]
            log_prob = 0
            if kind == "scores":
                values = choice["logprobs"]["token_logprobs"]
                n_expected = answer["usage"]["prompt_tokens"] + 1
                is_right = len(values) == n_expected and all(v <= 0 for v in values[1:])
                self.expect(is_right, number, kind, f"{len(values)} values of {n_expected}")
                log_prob = sum(values[1:-1])
            said = choice["message"]["content"] if kind == "chat" else choice["text"]
            self.check_answer(number, kind, body, said, log_prob)
        return True

    async def request(self, number):
        kind, body, text, seconds = self.draw(number)
        if kind == "leaving":
            await self.leave(text, seconds)
        else:
            run = self.stream if kind == "stream" else self.whole
            while not await run(number, kind, body, text):
                self.counts["come again"] = self.counts.get("come again", 0) + 1
                await asyncio.sleep(0.2)
        self.counts[kind] = self.counts.get(kind, 0) + 1

    async def user(self, numbers):
        for number in numbers:
            try:
                await self.request(number % self.n_different)
            except (OSError, ValueError, IndexError) as error:
                self.faults.append(f"request {number}: {error!r}")
            if number % max(self.arguments.requests // 10, 1) == 0:
                self.resident.append(self.server.resident_bytes())

    async def run_alone(self):
        """What each request is answered while there is no other."""
        for number in range(self.n_different):
            kind, body, _, _ = self.draw(number)
            if kind not in ("overlong", "malformed", "leaving"):
                body.pop("stream", None)
                await self.whole(number, kind, body, json.dumps(body).encode())
        self.n_tokens = 0

    async def run(self):
        if self.arguments.alone:
            await self.run_alone()
        numbers = iter(range(self.arguments.requests))
        start = time.monotonic()
        await asyncio.gather(*(self.user(numbers) for _ in range(self.arguments.users)))
        self.seconds = time.monotonic() - start
        for _ in range(200):  # those who left may still be in their last graph
            _, text = await answer_of(self.server.address, "/metrics", b"", "GET")
            if b"\northorank_requests_in_progress 0\n" in text:
                break
            await asyncio.sleep(0.1)
        else:
            self.faults.append("requests are in progress when everybody is gone")
        self.resident.append(self.server.resident_bytes())


async def timed(address, body):
    """Seconds to the first token and between the others, and how many there were."""
    last = time.monotonic()
    reader, writer = await send(address, "/v1/completions", json.dumps(body).encode())
    waits, n_new = [], 0
    while line := await reader.readline():
        if line.startswith(b"data: {"):
            waits.append(time.monotonic() - last)
            last += waits[-1]
            n_new = json.loads(line[6:]).get("usage", {}).get("completion_tokens", n_new)
    writer.close()
    return waits[0], waits[1:], n_new


async def same(server, models, arguments):
    """--same: what each served model's users waited, by its name."""
    n_in, n_out = map(int, arguments.same.split(","))
    text = "".join(path.read_text() for path in sorted(Path(__file__).parent.parent.glob("docs/*.md")))
    body = json.dumps({"prompt": text[: 8 * n_in * arguments.users]}).encode()
    ids = json.loads((await answer_of(server.address, "/tokenize", body))[1])["tokens"]
    body = {"max_tokens": n_out, "temperature": 0, "stream": True}
    prompts = [ids[user * n_in : (user + 1) * n_in] for user in range(arguments.users)]
    seconds = {model: [] for model in models}
    users = {model: [] for model in models}
    for _ in range(arguments.rounds + 1):
        for model in models:
            start = time.monotonic()
            asked = (timed(server.address, {**body, "model": model, "prompt": p}) for p in prompts)
            users[model].append(await asyncio.gather(*asked))
            seconds[model].append(time.monotonic() - start)
    results = {}
    for model in models:
        rounds = users[model][1:]  # the first one warms up
        median = statistics.median(seconds[model][1:])
        n_new = [user[2] for user in rounds[0]]
        results[model] = {
            "seconds": round(median, 3),
            "tokens_per_s": round((n_in * len(n_new) + sum(n_new)) / median, 1),
            "new_tokens": n_new,
            "first_token": quantiles(user[0] for users in rounds for user in users),
            "between_tokens": quantiles(w for users in rounds for user in users for w in user[1]),
        }
    return results


def quantiles(values):
    values = sorted(values)
    return {
        name: round(1e3 * values[min(len(values) - 1, int(share * len(values)))], 2)
        for name, share in (("median_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))
        if values
    }


def write(result, arguments):
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        Path(arguments.json).write_text(text + "\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default="build/orthorank")
    parser.add_argument("-m", "--model")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--server-options", default="--ctx 512 --kv-type f32 --kernels exact")
    parser.add_argument("--same", metavar="IN,OUT")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    options = shlex.split(arguments.server_options)
    options += ["-m", arguments.model] if arguments.model else []
    server = Server(arguments.program, options)
    _, text = asyncio.run(answer_of(server.address, "/v1/models", b"", "GET"))
    models = json.loads(text)["data"]
    if arguments.same:
        measured = asyncio.run(same(server, [model["id"] for model in models], arguments))
        server.stop()
        return write({"command": sys.argv, "server": server.lines, "results": measured}, arguments)
    body = json.dumps({"prompt": " ".join(WORDS)}).encode()
    _, text = asyncio.run(answer_of(server.address, "/tokenize", body))
    tokens_per_word = len(json.loads(text)["tokens"]) / len(WORDS)
    _, text = asyncio.run(answer_of(server.address, "/tokenizer_info", b"", "GET"))
    has_template = json.loads(text)["chat_template"] is not None
    names = [model["id"] for model in models[:2]]
    limits = models[0]["max_model_len"], tokens_per_word, has_template, names
    load = Load(server, arguments, limits)
    asyncio.run(load.run())
    code = server.stop()
    if code != 0:
        load.faults.append(f"the server ended with {code}")
    result = {
        "command": sys.argv,
        "server": server.lines,
        "requests": load.counts,
        "seconds": round(load.seconds, 1),
        "requests_per_s": round(arguments.requests / load.seconds, 1),
        "generated_tokens_per_s": round(load.n_tokens / load.seconds, 1),
        "first_token": quantiles(load.first_waits),
        "between_tokens": quantiles(load.token_waits),
        "resident_bytes": load.resident,
        "faults": load.faults,
    }
    write(result, arguments)
    sys.exit(1 if load.faults else 0)


if __name__ == "__main__":
    main()
