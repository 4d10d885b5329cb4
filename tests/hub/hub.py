"""A model hub on loopback, for the real client: hub.py FOLDER PORTFILE LOG

Serves FOLDER/ORG/NAME, each folder a repository with one commit, over the hub's HTTP: /api/models, resolve with
HEAD and redirects, ETag, X-Repo-Commit, X-Linked-Etag and -Size, Range. Writes the port that it found to
PORTFILE, and to LOG a line a request when it was answered: METHOD PATH RANGE|- SENT TOKEN|-, and a line
"begins PATH RANGE|-" when a file begins to be sent.

    FOLDER/cuts         lines "FILE OFFSET": an answer that would pass that byte of the file is cut there; each
                        line once, in their order
    FOLDER/stall        a line "FILE OFFSET": answers wait there for as long as it says so
    FOLDER/private      names of repositories that want the token `hf_test_token_0123456789`
    FOLDER/gated        the same, with another error
    FOLDER/longer       names of files of which more is sent than there is
    FOLDER/damaged      names of files that are sent with one byte changed
"""
import hashlib
import http.server
import json
import os
import sys
import threading
import time
from urllib.parse import unquote, urlsplit

folder, portfile, logfile = sys.argv[1:4]
TOKEN = "hf_test_token_0123456789"
lock = threading.Lock()
known = {}


def lines(name):
    try:
        with open(os.path.join(folder, name)) as f:
            return f.read().split("\n")[:-1]
    except OSError:
        return []


def files(repository):
    """name: (path, size, hash); large files by SHA-256, the others as git has them"""
    top = os.path.join(folder, repository)
    found = {}
    for above, _, names in os.walk(top):
        for name in names:
            path = os.path.join(above, name)
            stamp = (path, os.stat(path).st_mtime_ns)
            if stamp not in known:
                with open(path, "rb") as f:
                    data = f.read()
                known[stamp] = hashlib.sha256(data).hexdigest() if name.endswith((".safetensors", ".bin")) else \
                    hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            found[os.path.relpath(path, top)] = (path, os.path.getsize(path), known[stamp])
    return found


def commit(repository):
    return hashlib.sha1(json.dumps(sorted((n, h) for n, (_, _, h) in files(repository).items())).encode()).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def end_headers(self):
        if self.close_connection:
            self.send_header("Connection", "close")
        super().end_headers()

    def note(self, sent):
        token = self.headers.get("Authorization", "-").replace("Bearer ", "")
        with lock, open(logfile, "a") as f:
            f.write(f"{self.command} {self.path} {self.headers.get('Range', '-')} {sent} {token}\n")

    def answer(self, status, value=None, **headers):
        data = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.note(len(data))

    def refuse(self, status, code, text):
        self.answer(status, {"error": text}, X_Error_Code=code, X_Error_Message=text)

    def allowed(self, repository):
        given = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if not os.path.isdir(os.path.join(folder, repository)) or "/" not in repository or (repository in lines("private") and not given):
            self.refuse(404, "RepoNotFound", "Repository not found")
        elif repository in lines("gated") and not given:
            self.refuse(403 if self.headers.get("Authorization") else 401, "GatedRepo", "Access to this model is restricted")
        else:
            return True

    def revision(self, repository, revision):
        if revision in ("main", "v1", commit(repository)):
            return True
        self.refuse(404, "RevisionNotFound", "Invalid rev id: " + revision)

    def cut(self, name, start, end):
        """Where this answer is to be cut, None: nowhere."""
        with lock:
            all_ = lines("cuts")
            for i, line in enumerate(all_):
                file, offset = line.split(" ")
                if file == os.path.basename(name) and start < int(offset) < end:
                    with open(os.path.join(folder, "cuts"), "w") as f:
                        f.write("".join(l + "\n" for l in all_[:i] + all_[i + 1:]))
                    return int(offset)

    def stall(self, name, at):
        for line in lines("stall"):
            file, offset = line.split(" ")
            if file == os.path.basename(name) and at <= int(offset):
                return int(offset)

    def send_file(self, path, size, name):
        start = 0
        given = self.headers.get("Range", "")
        if given.startswith("bytes="):
            start = int(given[6:].split("-")[0])
        with open(path, "rb") as f:
            data = bytearray(f.read())
        if os.path.basename(name) in lines("damaged"):
            data[size // 2] ^= 1
        if os.path.basename(name) in lines("longer"):
            data += bytes(1 << 20)
            size = len(data)
        if start >= size:
            return self.answer(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(size - start))
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return self.note(0)
        with lock, open(logfile, "a") as f:
            f.write(f"begins {self.path} {given or '-'}\n")
        cut, sent = self.cut(name, start, size), 0
        try:
            while start + sent < (cut or size):
                stall = self.stall(name, start + sent)
                piece = data[start + sent:min(start + sent + 65536, cut or size, stall or size)]
                if not piece:
                    time.sleep(0.05)
                self.wfile.write(piece)
                sent += len(piece)
        except OSError:
            pass
        self.note(sent)
        if cut:
            self.close_connection = True

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repository, revision = "/".join(parts[2:4]), "/".join(parts[5:]) or "main"
            if self.allowed(repository) and self.revision(repository, revision):
                self.answer(200, {
                    "_id": "1", "id": repository, "modelId": repository, "sha": commit(repository), "private": False, "tags": [],
                    "siblings": [dict({"rfilename": n, "size": s, "blobId": h[:40]},
                                      **({"lfs": {"sha256": h, "size": s, "pointerSize": 134}} if len(h) == 64 else {}))
                                 for n, (_, s, h) in sorted(files(repository).items())]})
            return None
        if parts[0] == "blobs":  # where a redirect leads
            repository, name = "/".join(parts[1:3]), "/".join(parts[3:])
            found = files(repository).get(name)
            return self.send_file(found[0], found[1], name) if found else self.answer(404)
        repository, revision, name = "/".join(parts[:2]), parts[3] if len(parts) > 3 else "", "/".join(parts[4:])
        if len(parts) < 5 or parts[2] != "resolve":
            return self.answer(404, {"error": "no such thing here"})
        if not self.allowed(repository) or not self.revision(repository, revision):
            return None
        found = files(repository).get(name)
        if not found:
            return self.refuse(404, "EntryNotFound", "Entry not found")
        if len(found[2]) == 64:
            return self.answer(302, Location=f"http://{self.headers['Host']}/blobs/{repository}/{name}", X_Repo_Commit=commit(repository),
                               X_Linked_Etag=f'"{found[2]}"', X_Linked_Size=str(found[1]), ETag='"pointer"')
        if self.command == "HEAD":
            self.send_response(200)
            for k, v in {"Content-Length": str(found[1]), "ETag": f'"{found[2]}"', "X-Repo-Commit": commit(repository), "Accept-Ranges": "bytes"}.items():
                self.send_header(k, v)
            self.end_headers()
            return self.note(0)
        return self.send_file(found[0], found[1], name)

    do_HEAD = do_GET


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(portfile + "~", "w") as f:
    f.write(str(server.server_address[1]) + "\n")
os.rename(portfile + "~", portfile)
server.serve_forever()
