"""A server for the checks in this folder: started on a free port, ended with the block."""

import re
import subprocess
import sys


class Server:
    def __init__(self, program, options):
        self.process = subprocess.Popen(
            [program, "serve", "--port", "0", "--name", "served", *options],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = None
        for line in self.process.stderr:
            sys.stderr.write(line)
            found = re.match(r"listening on (\S+)", line)
            if found:
                self.url = found.group(1)
                break

    def __enter__(self):
        if self.url is None:
            sys.exit("the server did not start")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.stderr.read()
        self.process.wait()
