"""How long a provider's event takes to a reader of messages.follow: stream.py MOUNT

Plays a provider on 127.0.0.1:18999 that streams 400 text deltas 5 ms apart and notes when each was
sent; a reader of messages.follow notes when each arrives. Prints p50, p90 and the private memory
of the session's runner as JSON."""
import http.server
import json
import os
import re
import statistics
import sys
import threading
import time

COUNT, PAUSE = 400, 0.005
sent = {}
memory = {}
mount = sys.argv[1]


class Provider(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def event(self, name, **data):
        text = "event: %s\ndata: %s\n\n" % (name, json.dumps(dict(data, type=name)))
        piece = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.flush()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.event("message_start", message={"id": "msg_bench", "type": "message", "role": "assistant", "model": "bench",
                                             "content": [], "stop_reason": None, "usage": {"input_tokens": 1, "output_tokens": 1}})
        self.event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        for i in range(COUNT):
            sent[i] = time.monotonic()
            self.event("content_block_delta", index=0, delta={"type": "text_delta", "text": "<%d>" % i})
            time.sleep(PAUSE)
            if i == COUNT // 2:
                memory["mb"] = private()
        self.event("content_block_stop", index=0)
        self.event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": COUNT})
        self.event("message_stop")
        self.wfile.write(b"0\r\n\r\n")


def private():
    folder = json.loads(open(os.path.join(mount, "sessions/bench/info.json")).read())["folder"]
    pid = int(open(os.path.join(folder, "run/pid")).read().split()[0])
    text = open("/proc/%d/smaps_rollup" % pid).read()
    return sum(int(n) for n in re.findall(r"^Private_(?:Clean|Dirty): +(\d+) kB", text, re.M)) / 1024


server = http.server.ThreadingHTTPServer(("127.0.0.1", 18999), Provider)
threading.Thread(target=server.serve_forever, daemon=True).start()
session = os.path.join(mount, "sessions/bench")
os.mkdir(session)
with open(os.path.join(session, "config"), "w") as f:
    f.write("provider: claude\nmodel: bench\npreamble: []\n")
with open(os.path.join(session, "input"), "w") as f:
    f.write("Go.")
arrived, text = {}, ""
fd = os.open(os.path.join(session, "messages.follow"), os.O_RDONLY)
while piece := os.read(fd, 65536):
    now = time.monotonic()
    text += piece.decode()
    for m in re.finditer(r"<(\d+)>", text):
        arrived.setdefault(int(m.group(1)), now)
os.close(fd)
os.rmdir(session)
late = sorted((arrived[i] - sent[i]) * 1e3 for i in arrived)
if len(arrived) != COUNT:
    sys.exit("only %d of %d events arrived" % (len(arrived), COUNT))
print(json.dumps({"p50_ms": statistics.median(late), "p90_ms": late[len(late) * 9 // 10], "runner_mb": memory["mb"]}))
