"""Plays the gateway as `cases.json` has it: `python3 case_server.py` prints its address and serves until stdin closes.

Case number n is served under `/n`: a client gets that as its base URL. Each request takes the first unused exchange of
the case with its method and path; what it ought to have sent is compared, and what is wrong is told by `/n/report`.
Standard library only: the runners of all languages start it.
"""

import base64
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

CASES = Path(__file__).with_name("cases.json")
KEY = "pq_test_secret"
EMPTY_POLL_S = 0.05


class Case:
    """One case while it is played; every method is called under `lock`."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.lock = threading.Lock()
        self.exchanges = [dict(exchange) for exchange in case["exchanges"]]
        self.to_ack: set[str] = set(case.get("acked", ()))
        self.lost: set[str] = set(case.get("lostAcks", ()))
        self.extends = bool(case.get("extraExtends"))
        self.remembered: dict[str, Any] = {}
        self.problems: list[str] = []
        self.last_request = 0.0

    def report(self) -> dict[str, Any]:
        unused = [f"{it['method']} {it['path']}" for it in self.exchanges if not it.get("used")]
        return {"done": not unused and not self.to_ack, "unused": unused, "problems": self.problems}

    def take(self, method: str, path: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """The answer for this request."""
        now, gap = time.monotonic(), time.monotonic() - self.last_request
        self.last_request = now
        if path.endswith("/messages/ack") and (self.to_ack or self.lost):
            return self.acks(body["receipts"])
        for exchange in self.exchanges:
            if (exchange["method"], exchange["path"]) == (method, path) and not exchange.get("used"):
                exchange["used"] = True
                self.compare(exchange, query, body, gap)
                return exchange["answer"]
        if method == "GET" and path.endswith("/messages"):
            return {"status": 200, "body": {"messages": []}, "after": EMPTY_POLL_S}
        if self.extends and path.endswith("/extend"):
            return {"status": 204}
        self.problems.append(f"unexpected {method} {path} {json.dumps(body)}")
        return {"status": 500, "body": {"title": "not in this case"}}

    def acks(self, receipts: list[str]) -> dict[str, Any]:
        results: list[dict[str, Any]] = []
        for receipt in receipts:
            if receipt in self.lost:
                self.to_ack.discard(receipt)
                results.append(
                    {"receipt": receipt, "ok": False, "status": 409, "code": "LeaseLost", "detail": "too late"}
                )
            else:
                if receipt not in self.to_ack:
                    self.problems.append(f"{receipt} was not to be acked, or twice")
                self.to_ack.discard(receipt)
                results.append({"receipt": receipt, "ok": True})
        return {"status": 200, "body": {"results": results}}

    def compare(self, exchange: dict[str, Any], query: dict[str, str], body: Any, gap: float) -> None:
        where = f"{exchange['method']} {exchange['path']}"
        if "body" in exchange and not self.matches(exchange["body"], body):
            self.problems.append(f"{where}: body {json.dumps(body)}, expected {json.dumps(exchange['body'])}")
        for name, value in exchange.get("query", {}).items():
            if query.get(name) != value:
                self.problems.append(f"{where}: query {query}, expected {name}={value}")
        if gap < exchange.get("notBefore", 0):
            self.problems.append(f"{where}: came after {gap:.2f} s, before {exchange['notBefore']} s")

    def matches(self, expected: Any, seen: Any) -> bool:
        """Equal, but for `{"$text": name}`: any text, the same wherever the name stands."""
        if isinstance(expected, dict) and "$text" in expected:
            name = expected["$text"]
            return isinstance(seen, str) and seen != "" and self.remembered.setdefault(name, seen) == seen
        if isinstance(expected, dict) and isinstance(seen, dict):
            return expected.keys() == seen.keys() and all(self.matches(expected[key], seen[key]) for key in expected)
        if isinstance(expected, list) and isinstance(seen, list):
            return len(expected) == len(seen) and all(map(self.matches, expected, seen))
        return bool(expected == seen and isinstance(expected, bool) == isinstance(seen, bool))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cases: list[Case]

    def do_GET(self) -> None:
        self.answer("GET")

    def do_POST(self) -> None:
        self.answer("POST")

    def answer(self, method: str) -> None:
        data = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urlsplit(self.path)
        _, number, *rest = url.path.split("/")
        case, path = self.cases[int(number)], "/" + "/".join(quote(unquote(part), safe="") for part in rest)
        if path == "/report":
            with case.lock:
                return self.send({"status": 200, "body": case.report()})
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        with case.lock:
            self.check_headers(case, method)
            try:
                body = json.loads(data) if data else None
            except ValueError as error:
                case.problems.append(f"{method} {path}: a body that is not JSON: {error}")
                body = None
            answer = case.take(method, path, query, body)
        time.sleep(answer.get("after", 0))
        return self.send(answer)

    def check_headers(self, case: Case, method: str) -> None:
        if self.headers.get("authorization") != f"Bearer {KEY}":
            case.problems.append(f"authorization was {self.headers.get('authorization')!r}")
        if method == "POST" and self.headers.get("content-type") != "application/json":
            case.problems.append(f"content-type was {self.headers.get('content-type')!r}")

    def send(self, answer: dict[str, Any]) -> None:
        fault = answer.get("fault")
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "stall":  # until the client has gone
            self.rfile.read(1)
            self.close_connection = True
            return
        status = answer["status"]
        kind = "application/json" if status < 400 else "application/problem+json"
        data = b""
        if "text" in answer:
            kind, data = "text/html", answer["text"].encode()
        elif "body" in answer:
            data = json.dumps(answer["body"]).encode()
        self.send_response_only(status)
        headers = {
            "Date": self.date_time_string(),
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            **answer.get("headers", {}),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if fault == "truncate":
            data = data[: len(data) // 2]
            self.close_connection = True
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Not on stderr: the runners read it."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256  # with fewer, clients that come together wait for seconds

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left before its answer is what some cases are about."""


def serve(cases: list[dict[str, Any]]) -> Server:
    """A server on a free port, answering in threads of its own; `shutdown()` ends it."""
    handler = type("PlayedHandler", (Handler,), {"cases": [Case(case) for case in cases]})
    server = Server(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def unpacked(value: Any) -> Any:
    """`{"$bytes": base64}` of the cases as bytes."""
    if isinstance(value, dict):
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        return {key: unpacked(item) for key, item in value.items()}
    return [unpacked(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    running = serve(json.loads(CASES.read_text())["cases"])
    sys.stdout.write(f"http://127.0.0.1:{running.server_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
