#!/usr/bin/env python3
"""A server that speaks the Messages API on loopback and is as strict as the vendor's: see README.md.

    server.py [--port N] [--key KEY] [--log FILE] [--steps JSON]

Prints its base URL on the first line, then serves until it is killed or its standard input ends
(with --stdin). rules.py refuses, conversations.py remembers, steps.py says what is answered."""
import argparse
import json
import os
import socket
import sys
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import conversations  # noqa: E402
import rules  # noqa: E402
import steps  # noqa: E402


class Log:
    """A JSON object a line: {"event": "request", "n", "path", "headers", "body", "raw"} as a request comes, then
    {"event": "answer", "n", "status", "refusal" | "step", "delivered"} when it has been answered."""

    def __init__(self, path):
        self.file = open(path, "a", encoding="utf-8") if path else None
        self.lock = threading.Lock()
        self.count = 0

    def number(self):
        with self.lock:
            self.count += 1
            return self.count

    def write(self, **event):
        if self.file:
            with self.lock:
                self.file.write(json.dumps(event) + "\n")
                self.file.flush()


class Script:
    """The steps that are still to come: those that were given, and those that models' names hold."""

    def __init__(self, given):
        self.lock = threading.Lock()
        self.queue = [steps.parse(s) for s in given]
        self.by_model = {}

    def set(self, given, append):
        parsed = [steps.parse(s) for s in given]
        with self.lock:
            self.queue = self.queue + parsed if append else parsed

    def next(self, body):
        with self.lock:
            if self.queue:
                return self.queue.pop(0)
            if body["model"].startswith("test:"):
                key = (body["model"], conversations.fingerprint(conversations.normal(body["messages"][0])))
                if key not in self.by_model:
                    self.by_model[key] = [steps.parse(s) for s in body["model"][len("test:"):].split(";")]
                if self.by_model[key]:
                    return self.by_model[key].pop(0)
        return steps.by_itself(body)


class Gone(Exception):
    """The client has closed the connection, or a step asked for that."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def give(self, status, data, headers=()):
        self.send_response(status)
        for name, text in (("Content-Length", str(len(data))), ("request-id", f"req_{self.number:06d}"), *headers):
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def give_json(self, status, value, headers=()):
        self.give(status, json.dumps(value).encode(), (("Content-Type", "application/json"), *headers))

    def refuse(self, refusal, headers=()):
        self.give_json(refusal.status, {"type": "error", "error": {"type": refusal.kind, "message": refusal.message},
                                        "request_id": f"req_{self.number:06d}"}, headers)

    def do_GET(self):
        self.number = self.server.log.number()
        path = self.path.split("?")[0]
        if path == "/control":
            with self.server.script.lock:
                return self.give_json(200, {"steps": len(self.server.script.queue), "requests": self.number})
        if path.startswith("/v1/models/"):
            name = path[len("/v1/models/"):]
            try:
                model = rules.Model(name)
            except rules.Refusal as refusal:
                return self.refuse(refusal)
            return self.give_json(200, {"type": "model", "id": name, "display_name": name, "max_input_tokens": 1000000,
                                        "max_tokens": model.max_tokens})
        return self.give_json(200, {})

    do_HEAD = do_GET

    def do_POST(self):
        self.number = self.server.log.number()
        path = self.path.split("?")[0]
        length = int(self.headers.get("Content-Length") or 0)
        headers = {k.lower(): v for k, v in self.headers.items()}
        if length > rules.BODY_MAX:
            self.close_connection = True
            self.refuse(rules.Refusal(413, "request_too_large", "Request exceeds the maximum size"))
            return
        raw = self.rfile.read(length)
        if path == "/control":
            self.control(raw)
            return
        shown = {k: "…" if k in ("x-api-key", "authorization") else v for k, v in headers.items()}
        outcome = {"status": 200}
        try:
            body = self.read_body(raw)
            self.server.log.write(event="request", n=self.number, path=path, headers=shown, body=body,
                                  raw=raw.decode(errors="replace"))
            rules.check_headers(headers, self.server.key)
            if body is None:
                raise rules.invalid("The request body is not valid JSON")
            if path == "/v1/messages/count_tokens":
                rules.check(body, headers["anthropic-version"], counting=True)
                self.give_json(200, {"input_tokens": tokens(body)})
            elif path == "/v1/messages":
                rules.check(body, headers["anthropic-version"], paused=self.server.memory.has_paused)
                self.server.memory.check(body)
                self.answer(body, outcome)
            else:
                raise rules.Refusal(404, "not_found_error", "Not found")
        except rules.Refusal as refusal:
            outcome.update(status=refusal.status, refusal=refusal.message)
            self.report(outcome)
            self.refuse(refusal)
        except (Gone, OSError):
            outcome["delivered"] = False
            self.close_connection = True
        self.report(outcome)

    def report(self, outcome):
        """Before the last byte is sent, so that who has the answer finds it in the log."""
        if not outcome.pop("reported", False):
            self.server.log.write(event="answer", n=self.number, **outcome)
        outcome["reported"] = True

    @staticmethod
    def read_body(raw):
        try:
            return json.loads(raw)
        except ValueError:
            return None

    def control(self, raw):
        try:
            order = json.loads(raw)
            self.server.script.set(order["steps"], order.get("append", False))
        except (ValueError, KeyError, TypeError) as e:
            return self.give_json(400, {"error": str(e)})
        return self.give_json(200, {"steps": len(self.server.script.queue)})

    def answer(self, body, outcome):
        step = self.server.script.next(body)
        outcome["step"] = step
        if step.get("close"):
            raise Gone
        if "status" in step:
            status = int(step["status"])
            outcome["status"] = status
            headers = [(k, v) for k, v in step.get("headers", {}).items()]
            if "retry_after" in step:
                headers.append(("retry-after", f"{step['retry_after']:g}"))
            if "retry_after_ms" in step:
                headers.append(("retry-after-ms", f"{step['retry_after_ms']:g}"))
            if "should_retry" in step:
                headers.append(("x-should-retry", step["should_retry"]))
            kind = step.get("type", steps.ERROR_TYPES.get(status, "api_error"))
            self.report(outcome)
            if "body" in step:
                return self.give(status, step["body"].encode(), headers)
            return self.refuse(rules.Refusal(status, kind, step.get("message", kind.replace("_", " "))), headers)
        message = self.compose(body, step)
        if body.get("stream"):
            self.stream(body, step, message, outcome)
        else:
            self.whole(body, step, message, outcome)
        return None

    def compose(self, body, step):
        """The whole message. Fields that begin with _ are the server's own."""
        place = conversations.prefix(body, len(body["messages"]))
        content = []
        for i, part in enumerate(step["content"]):
            if "thinking" in part or "redacted" in part:
                if body.get("thinking", {"type": "adaptive"})["type"] == "disabled":
                    continue
                if "redacted" in part:
                    content.append({"type": "redacted_thinking", "data": conversations.sign(part["redacted"], place)})
                    continue
                shown = part["thinking"] if body.get("thinking", {}).get("display") == "summarized" else ""
                content.append({"type": "thinking", "thinking": shown,
                                "signature": conversations.sign(part["thinking"], place)})
            elif "text" in part:
                content.append({"type": "text", "text": part["text"]})
            else:
                tool = next((t for t in body.get("tools", []) if part["tool"] in ("*", t["name"])), None)
                name = tool["name"] if tool else part["tool"]
                given = part.get("input", steps.example(tool["input_schema"]) if tool else {})
                block = {"type": "tool_use", "id": f"toolu_{self.number:06d}_{i}", "name": name, "input": given}
                if "raw" in part:
                    block.update(input={}, _raw=part["raw"], _broken=True)
                content.append(block)
        used = any(b["type"] == "tool_use" for b in content)
        return {"id": f"msg_{self.number:06d}", "type": "message", "role": "assistant",
                "model": step.get("model", body["model"]),
                "content": content, "stop_reason": step.get("stop", "tool_use" if used else "end_turn"),
                "stop_sequence": None, "stop_details": step.get("details"), "usage": self.usage(body, content)}

    def usage(self, body, content):
        total, marked = tokens(body), conversations.plain(body) != body
        cached = 0
        if marked:  # as far as an earlier request reached that was marked too
            with self.server.memory.lock:
                for n in range(len(body["messages"]), 0, -1):
                    cached = self.server.cached.get(conversations.prefix(body, n), 0)
                    if cached:
                        break
                self.server.cached[conversations.prefix(body, len(body["messages"]))] = total
        return {"input_tokens": 0 if marked else total, "cache_read_input_tokens": cached,
                "cache_creation_input_tokens": max(0, total - cached) if marked else 0,
                "output_tokens": max(1, len(json.dumps(content)) // 4)}

    def whole(self, body, step, message, outcome):
        """Not streamed. Faults of streams become those of the connection."""
        if "stall" in step:
            self.sleep(step["stall"])
        shown = {**message, "content": [{k: v for k, v in b.items() if k[0] != "_"} for b in message["content"]]}
        data = json.dumps(shown).encode()
        self.server.memory.remember(body, message["content"], "cut" not in step, message["stop_reason"])
        if "error" in step:
            raise rules.Refusal(529 if step["error"] == "overloaded_error" else 500, step["error"],
                                step.get("message", step["error"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("request-id", f"req_{self.number:06d}")
        self.end_headers()
        if "cut" in step:
            self.wfile.write(data[:int(step["cut"])])
            self.drop()
        outcome["delivered"] = True
        self.report(outcome)
        self.wfile.write(data)

    def stream(self, body, step, message, outcome):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.packed = zlib.compressobj(wbits=31) if step.get("gzip") else None
        if self.packed:
            self.send_header("Content-Encoding", "gzip")
        self.send_header("request-id", f"req_{self.number:06d}")
        self.end_headers()
        self.sent = 0
        memory, content, finished = self.server.memory, message["content"], False
        try:
            for n, event in enumerate(events(message, int(step.get("chunk", 20)))):
                if "error" in step and n == int(step.get("after", 2)):
                    self.event({"type": "error", "error": {"type": step["error"],
                                                           "message": step.get("message", step["error"])}}, step)
                    break
                if "end" in step and n == int(step["end"]):
                    break
                if "stall" in step and n == int(step.get("after", 2)):
                    self.sleep(step["stall"])
                if step.get("delay"):
                    self.sleep(step["delay"])
                if event["type"] == "message_stop":  # who has it may send the message back at once
                    finished = True
                    memory.remember(body, content, True, message["stop_reason"])
                    outcome["delivered"] = True
                    self.report(outcome)
                self.event(event, step)
            outcome["delivered"] = True
            self.report(outcome)
            if self.packed:
                self.write_chunk(self.packed.flush())
            self.wfile.write(b"0\r\n\r\n")
        finally:
            if not finished:
                memory.remember(body, content, False)

    def sleep(self, seconds):
        """Notices a client that goes away meanwhile."""
        until = time.monotonic() + seconds
        self.connection.settimeout(0.05)
        try:
            while time.monotonic() < until:
                try:
                    if not self.connection.recv(1, socket.MSG_PEEK):
                        raise Gone
                    time.sleep(min(0.05, seconds))  # the next request is there already
                except TimeoutError:
                    pass
        finally:
            self.connection.settimeout(None)

    def event(self, event, step):
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        if "cut" in step and self.sent + len(data) >= int(step["cut"]):
            self.chunk(data[:int(step["cut"]) - self.sent])
            self.drop()
        self.sent += len(data)
        self.chunk(data)

    def chunk(self, data):
        if data and self.packed:
            data = self.packed.compress(data) + self.packed.flush(zlib.Z_SYNC_FLUSH)
        self.write_chunk(data)

    def write_chunk(self, data):
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def drop(self):
        """Not by a reset, which would take with it what the client has not read yet."""
        self.connection.shutdown(socket.SHUT_WR)
        raise Gone


def tokens(body):
    return max(1, len(json.dumps([body.get("system"), body.get("tools"), body["messages"]])) // 4)


def pieces(text, n):
    return [text[i:i + n] for i in range(0, len(text), n)] or [""]


def events(message, chunk):
    """The message as the stream tells it."""
    started = {**message, "content": [], "stop_reason": None, "stop_details": None,
               "usage": {**message["usage"], "output_tokens": 1}}
    yield {"type": "message_start", "message": started}
    yield {"type": "ping"}
    for i, block in enumerate(message["content"]):
        empty = {"text": {"text": ""}, "thinking": {"thinking": "", "signature": ""}, "tool_use": {"input": {}}}
        first = {k: v for k, v in {**block, **empty.get(block["type"], {})}.items() if k[0] != "_"}
        yield {"type": "content_block_start", "index": i, "content_block": first}
        deltas = []
        if block["type"] == "text":
            deltas = [{"type": "text_delta", "text": p} for p in pieces(block["text"], chunk)]
        elif block["type"] == "thinking":
            deltas = [{"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"], chunk)]
            deltas.append({"type": "signature_delta", "signature": block["signature"]})
        elif block["type"] == "tool_use":
            raw = block.get("_raw", json.dumps(block["input"]))
            deltas = [{"type": "input_json_delta", "partial_json": p} for p in [""] + pieces(raw, chunk)]
        for delta in deltas:
            yield {"type": "content_block_delta", "index": i, "delta": delta}
        yield {"type": "content_block_stop", "index": i}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    if message["stop_details"]:
        delta["stop_details"] = message["stop_details"]
    yield {"type": "message_delta", "delta": delta, "usage": message["usage"]}
    yield {"type": "message_stop"}


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port=0, key=None, log=None, given=()):
        super().__init__(("127.0.0.1", port), Handler)
        self.key, self.log = key, Log(log)
        self.script, self.memory, self.cached = Script(given), conversations.Memory(), {}
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (OSError, Gone)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description="A strict Messages API on loopback, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--key", help="the one key that is right (default: any)")
    parser.add_argument("--log", help="file to which each request and its answer is appended")
    parser.add_argument("--steps", type=json.loads, default=[], help="JSON list: what is answered first")
    parser.add_argument("--stdin", action="store_true", help="end with the standard input")
    args = parser.parse_args()
    server = Server(args.port, args.key, args.log, args.steps)
    print(server.url, flush=True)
    if args.stdin:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
