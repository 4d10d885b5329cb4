"""A small MCP server over stdio for the client's unit test. The argument is a list of habits:
pages (a tool a page), endless (pages without end), modern (2026-07-28 alone), old (answers 2024-11-05),
unknown (answers a version nobody knows), chatty (prints lines that are no JSON), dies (exits at the
first call), parent (has a child, which it forgets), deaf (ignores TERM and the end of its input), silent (answers nothing)."""
import json
import os
import signal
import subprocess
import sys
import threading
import time

habits = set(sys.argv[1:])
lock = threading.Lock()
cancelled = set()


def send(message):
    with lock:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        sys.stdout.flush()


def tool(name):
    return {"name": name, "description": name.upper(), "inputSchema": {"type": "object"}}


def call(message):
    params = message["params"]
    name, arguments = params["name"], params["arguments"]
    if name == "echo":
        result = {"content": [{"type": "text", "text": json.dumps(arguments)}], "isError": False}
    elif name == "environment" and "parent" in habits:
        result = {"content": [{"type": "text", "text": str(subprocess.Popen(["sleep", "1000"]).pid)}]}
    elif name == "environment":
        result = {"content": [{"type": "text", "text": ",".join(sorted(os.environ))}]}
    elif name == "progress":
        for i in range(3):
            send({"method": "notifications/progress", "params": {
                "progressToken": params["_meta"]["progressToken"], "progress": i, "total": 2, "message": f"step {i}"}})
        result = {"content": []}
    elif name == "asks":
        send({"id": "s1", "method": "ping"})
        send({"id": "s2", "method": "sampling/createMessage", "params": {}})
        answers = [json.loads(sys.stdin.readline()) for _ in range(2)]
        result = {"content": [{"type": "text", "text": json.dumps(answers)}]}
    elif name == "later":
        while message["id"] not in cancelled:  # ended by the cancellation alone
            for line in sys.stdin:
                take(json.loads(line))
                break
        send({"method": "notifications/message", "params": {"level": "info", "data": "cancelled"}})
        return
    elif name == "was_cancelled":
        result = {"content": [{"type": "text", "text": str(len(cancelled))}]}
    elif name == "nothing":
        result = {}
    else:
        send({"id": message["id"], "error": {"code": -32602, "message": f"Unknown tool: {name}"}})
        return
    send({"id": message["id"], "result": result})


def take(message):
    method = message.get("method")
    if "modern" in habits and "io.modelcontextprotocol/protocolVersion" not in message.get("params", {}).get("_meta", {}):
        send({"id": message["id"], "error": {"code": -32601, "message": "Method not found"}})
    elif method == "server/discover" and "modern" in habits:
        send({"id": message["id"], "result": {"resultType": "complete", "supportedVersions": ["2026-07-28"],
                                              "capabilities": {"tools": {}}, "instructions": "be modern"}})
    elif method == "initialize":
        version = "2024-11-05" if "old" in habits else "1999-01-01" if "unknown" in habits else message["params"]["protocolVersion"]
        send({"id": message["id"], "result": {"protocolVersion": version, "capabilities": {"tools": {}},
                                              "serverInfo": {"name": "t", "version": "1"}, "instructions": "be kind"}})
    elif method == "tools/list":
        names = ["progress", "echo", "later", "asks", "environment", "nothing", "was_cancelled"]
        result = {"tools": [tool(n) for n in names]}
        if "pages" in habits or "endless" in habits:
            at = int(message["params"].get("cursor", "0"))
            result = {"tools": [tool(names[at % len(names)])]}
            if "endless" in habits or at + 1 < len(names):
                result["nextCursor"] = str(at + 1)
        send({"id": message["id"], "result": result})
    elif method == "tools/call":
        if "dies" in habits:
            sys.exit("out of cheese")
        call(message)
    elif method == "notifications/cancelled":
        cancelled.add(message["params"]["requestId"])


if "deaf" in habits:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "chatty" in habits:
    print("hello, I am a server")
    print("\x1b[31mlogging to stdout\x1b[0m", flush=True)
if "silent" in habits:
    sys.stdin.read()
for received in iter(sys.stdin.readline, ""):
    take(json.loads(received))
while "deaf" in habits:
    time.sleep(1)
