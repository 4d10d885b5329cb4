"""From the moment a provider sends an event to the moment a reader of messages.follow has it.
    stream.py MOUNT      the mount was started with ANTHROPIC_BASE_URL=http://127.0.0.1:18999
Prints {"p50_ms", "p95_ms", "runner_mb"}."""
import json
import os
import re
import socket
import sys
import threading
import time

MOUNT, EVENTS, PAUSE = sys.argv[1], 200, 0.01
THOUGHT = 1.5  # s, before the first word, as a model's
sent = []


def serve(listener):
    c, _ = listener.accept()
    c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while b"\r\n\r\n" not in data:
        data += c.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: *(\d+)", head, re.I)[1])
    while len(body) < length:
        body += c.recv(65536)

    def event(kind, **fields):
        c.sendall(b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({"type": kind, **fields}).encode()))

    c.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")
    event("message_start", message={"id": "m", "model": "claude-opus-5-5", "usage": {"input_tokens": 1}})
    event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    time.sleep(THOUGHT)
    for i in range(EVENTS):
        time.sleep(PAUSE)
        sent.append(time.monotonic())
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"<{i}> "})
    event("content_block_stop", index=0)
    event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 5})
    event("message_stop")
    c.close()


def private_mb(pid):
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", f.read(), re.M)) / 1024


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", 18999))
listener.listen(5)
threading.Thread(target=serve, args=(listener,), daemon=True).start()
fd = os.open(f"{MOUNT}/sessions/new", os.O_RDWR)
os.write(fd, b"provider: claude\n")
session = f"{MOUNT}/sessions/" + os.read(fd, 100).decode().strip()
os.close(fd)
with open(f"{session}/input", "w") as f:
    f.write("count")
fd = os.open(f"{session}/messages.follow", os.O_RDONLY)
text, seen, memory = b"", [], None
while data := os.read(fd, 65536):
    now = time.monotonic()
    text += data
    while len(seen) < EVENTS and f"<{len(seen)}>".encode() in text:
        seen.append(now)
    if len(seen) >= EVENTS // 2 and memory is None:
        with open(f"{session}/info.json") as f:
            folder = json.load(f)["folder"]
        with open(f"{folder}/run/pid") as f:
            memory = private_mb(f.read().split()[0])
os.close(fd)
assert len(seen) == EVENTS, f"{len(seen)} of {EVENTS} events were seen: {text[-500:]}"
delays = sorted((b - a) * 1000 for a, b in zip(sent, seen))
print(json.dumps({"p50_ms": delays[EVENTS // 2], "p95_ms": delays[EVENTS * 95 // 100], "runner_mb": memory}))
