"""A registry with one image, made from a tar: registry.py PORT NAME TAR

Speaks as much of the distribution protocol as an engine needs to fetch it. The tag `broken` has a layer
that is cut in the middle, `missing` one that is not there: an engine says so in the middle of an answer that
began well."""
import gzip
import hashlib
import http.server
import json
import shutil
import sys
import tempfile

port, name, tar = int(sys.argv[1]), sys.argv[2], sys.argv[3]
blobs, manifests = {}, {}


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for piece in iter(lambda: f.read(1 << 20), b""):
            h.update(piece)
    return "sha256:" + h.hexdigest()


def layer():
    packed = tempfile.NamedTemporaryFile(delete=False)
    with open(tar, "rb") as f, gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as out:
        shutil.copyfileobj(f, out)
    packed.close()
    return packed.name


def keep(data):
    d = "sha256:" + hashlib.sha256(data).hexdigest()
    blobs[d] = data
    return d


def publish(tag, layer_digest, size):
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=/usr/bin:/bin", "FROM_IMAGE=yes", "TAG=" + tag]},
                         "rootfs": {"type": "layers", "diff_ids": [digest(tar)]}}).encode()
    kind = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": kind,
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": keep(config)},
        "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": size, "digest": layer_digest}],
    }).encode()
    manifests[tag] = manifests[keep(manifest)] = manifest


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, status, data=b"", kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        what = self.path.split("/")
        if self.path in ("/v2/", "/v2"):
            return self.send(200, b"{}")
        data = None
        if self.path.startswith("/v2/%s/manifests/" % name):
            data = manifests.get(what[-1])
            if data:
                return self.send(200, data, "application/vnd.docker.distribution.manifest.v2+json",
                                 Docker_Content_Digest="sha256:" + hashlib.sha256(data).hexdigest())
        elif self.path.startswith("/v2/%s/blobs/" % name):
            data = blobs.get(what[-1])
        if data is None:
            return self.send(404, json.dumps({"errors": [{"code": "NOT_FOUND", "message": "no such thing here"}]}).encode())
        if isinstance(data, bytes):
            return self.send(200, data, "application/octet-stream")
        path, size, claimed = data
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(claimed))
        self.end_headers()
        if self.command == "HEAD":
            return None
        with open(path, "rb") as f:
            self.wfile.write(f.read(size))
        if size != claimed:
            self.close_connection = True

    do_HEAD = do_GET


path = layer()
with open(path, "rb") as f:
    f.seek(0, 2)
    whole = f.tell()
good = digest(path)
blobs[good] = (path, whole, whole)
publish("latest", good, whole)
publish("missing", "sha256:" + "0" * 64, whole)
cut = "sha256:" + "1" * 64
blobs[cut] = (path, 100000, 100000)
publish("broken", cut, 100000)
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
