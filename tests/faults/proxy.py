"""An HTTP proxy in front of an S3 server that misbehaves as told.

It is a process of its own: some clients do not let another thread of theirs run while they wait.
"""

import asyncio
import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

ERRORS = {
    "slow_down": (503, "SlowDown"),
    "internal": (500, "InternalError"),
    "conflict": (409, "ConditionalRequestConflict"),
}
KINDS = (*ERRORS, "reset_before", "reset_after", "truncate", "delay", "hold")
CONTROL = "/control-of-the-proxy"


class FaultProxy:
    """Runs for the length of a ``with`` statement; its address is ``url``.

    ``reset_before`` cuts the connection before the server hears of the request, ``reset_after``
    when the server has done it and before the client hears so. ``truncate`` sends half a body.
    ``conflict`` meets conditional requests only. ``hold`` never answers, and the server never
    hears of the request: it lasts until the caller hangs up.
    """

    def __init__(self, upstream):
        self._command = [sys.executable, "-m", "tests.faults.proxy", upstream]

    def __enter__(self):
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(self._command, cwd=root, stdout=subprocess.PIPE, text=True)
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def fail(self, method, kind, path="", times=1):
        """Let the next requests go wrong whose path holds ``path``; a call tells how many did."""
        assert kind in KINDS
        fault = {"method": method, "kind": kind, "path": path, "left": times}
        number = self._ask({"fault": fault})
        return lambda: times - self._ask({})["faults"][number]["left"]

    def seen(self):
        """Method and path of each request since the last ``forget``."""
        return [tuple(pair) for pair in self._ask({})["seen"]]

    def sent_bytes(self):
        """Bytes of all answers since the last ``forget``."""
        return self._ask({})["sent_bytes"]

    def forget(self):
        self._ask({"forget": True})

    def _ask(self, message):
        request = Request(f"{self.url}{CONTROL}", data=json.dumps(message).encode(), method="POST")
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)


class Server:
    """What runs in the proxy's process."""

    def __init__(self, upstream):
        self.upstream = urlsplit(upstream)
        self.state = {"faults": [], "seen": [], "sent_bytes": 0}

    async def run(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
        await server.serve_forever()

    async def serve(self, reader, writer):
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await self.answer(reader, writer)
        writer.close()

    async def answer(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
        headers = read_headers(head)
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if path == CONTROL:
            writer.write(reply(200, "OK", json.dumps(self.control(json.loads(body)))))
            return
        self.state["seen"].append((method, path))
        kind = self.next_fault(method, path, is_conditional="if-none-match" in headers)
        if kind == "delay":
            await asyncio.sleep(1.0)
        if kind == "hold":
            await reader.read()
        elif kind == "reset_before":
            writer.transport.abort()
        elif kind in ERRORS:
            status, code = ERRORS[kind]
            writer.write(reply(status, code, f"<Error><Code>{code}</Code></Error>"))
        else:
            await self.pass_on(writer, await self.ask(head, body), kind)

    def control(self, message):
        if "fault" in message:
            self.state["faults"].append(message["fault"])
            return len(self.state["faults"]) - 1
        if "forget" in message:
            self.state["seen"], self.state["sent_bytes"] = [], 0
        return self.state

    def next_fault(self, method, path, *, is_conditional):
        for fault in self.state["faults"]:
            fits = method == fault["method"] and fault["path"] in path
            if fault["left"] and fits and (is_conditional or fault["kind"] != "conflict"):
                fault["left"] -= 1
                return fault["kind"]
        return ""

    async def ask(self, head, body):
        reader, writer = await asyncio.open_connection(self.upstream.hostname, self.upstream.port)
        lines = [
            line
            for line in head.rstrip().split(b"\r\n")
            if not line.lower().startswith((b"connection:", b"expect:"))
        ]
        writer.write(b"\r\n".join([*lines, b"Connection: close"]) + b"\r\n\r\n" + body)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer

    async def pass_on(self, writer, answer, kind):
        if kind == "reset_after":
            writer.transport.abort()
            return
        if kind == "truncate":
            head, _, body = answer.partition(b"\r\n\r\n")
            answer = head + b"\r\n\r\n" + body[: len(body) // 2]
        self.state["sent_bytes"] += len(answer)
        writer.write(answer)
        await writer.drain()


def read_headers(head):
    lines = (line.split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line)
    return {name.decode().lower(): value.decode().strip() for name, value in lines}


def reply(status, reason, body):
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return f"{head}{body}".encode()


if __name__ == "__main__":
    asyncio.run(Server(sys.argv[1]).run())
