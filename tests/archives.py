"""Archives of images, good and bad: archives.py KIND FOLDER-OR-TAR OUTPUT

layout   an OCI layout (a folder) of two layers, gzip and plain, above the tar: the second removes /data/gone,
         empties /data/full and brings /data/second; its variables are in its configuration
saved    the same as `docker save` wrote it before it wrote layouts (a tar)
lay-tar  the layout as one tar
spread   a layout of two layers of which the first is small, and the second unpacks to 70 MB
KIND of a bad one (a tar): dots, absolute, hardlink, through, device, bomb, cut, checksum, sparse, empty"""
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile

ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
CONFIG = {"architecture": ARCH, "os": "linux", "config": {"Env": ["PATH=/tools:/usr/local/bin:/usr/bin:/bin", "OF_IMAGE=yes"]}, "rootfs": {"type": "layers"}}


def entry(name, data=b"", **more):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    member.mode = 0o755 if more.get("type") == tarfile.DIRTYPE else 0o644
    for key, value in more.items():
        setattr(member, key, value)
    return member, io.BytesIO(data)


def write(path, entries, mode="w", form=tarfile.GNU_FORMAT):
    with tarfile.open(path, mode, format=form) as archive:
        for member, data in entries:
            archive.addfile(member, data)


def layers(tar, folder):
    first, second = folder + "/first", folder + "/second"
    with tarfile.open(tar) as source, gzip.open(first, "wb", 1) as out, tarfile.open(fileobj=out, mode="w|") as archive:
        for member in source:
            archive.addfile(member, source.extractfile(member) if member.isreg() else None)
        for name in ("gone", "full/a", "full/b", "kept"):
            archive.addfile(*entry("data/" + name, b"of the first\n"))
    write(second, [entry("data/.wh.gone"), entry("data/full/.wh..wh..opq"), entry("data/full/c", b"of the second\n"),
                   entry("data/second", b"of the second\n"), entry("data/" + "long" * 40, b"long\n"),
                   entry("etc/os-release", b"NAME=tested\n")], form=tarfile.PAX_FORMAT)
    return first, second


def put(layout, path=None, text=None):
    data = text.encode() if text is not None else open(path, "rb").read()
    digest = hashlib.sha256(data).hexdigest()
    with open(layout + "/blobs/sha256/" + digest, "wb") as out:
        out.write(data)
    return {"digest": "sha256:" + digest, "size": len(data)}


def spread(tar, folder):
    first, second = folder + "/first", folder + "/second"
    write(first, [entry("data/first", b"of the first\n")], "w:gz")
    with tarfile.open(tar) as source, tarfile.open(second, "w:gz", compresslevel=1) as archive:
        for member in source:
            archive.addfile(member, source.extractfile(member) if member.isreg() else None)
        archive.addfile(*entry("data/zeros", bytes(70 << 20)))
    return first, second


def layout(tar, out, layers=layers):
    os.makedirs(out + "/blobs/sha256")
    with tempfile.TemporaryDirectory() as folder:
        first, second = layers(tar, folder)
        manifest = {"schemaVersion": 2, "config": put(out, text=json.dumps(CONFIG)), "layers": [put(out, first), put(out, second)]}
    other = {**put(out, text="{}"), "platform": {"architecture": "other", "os": "linux"}}
    inner = {"manifests": [other, {**put(out, text=json.dumps(manifest)), "platform": {"architecture": ARCH, "os": "linux"}}]}
    with open(out + "/index.json", "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [put(out, text=json.dumps(inner))]}, file)
    with open(out + "/oci-layout", "w") as file:
        file.write('{"imageLayoutVersion": "1.0.0"}')


def saved(tar, out):
    with tempfile.TemporaryDirectory() as folder, tarfile.open(out, "w") as archive:
        first, second = layers(tar, folder)
        for path, name in ((first, "1/layer.tar"), (second, "2/layer.tar")):
            archive.add(path, name)
        archive.addfile(*entry("config.json", json.dumps(CONFIG).encode()))
        archive.addfile(*entry("manifest.json", json.dumps([{"Config": "config.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]).encode()))


def bad(kind, target, out):
    system = [entry("usr", type=tarfile.DIRTYPE), entry("etc", type=tarfile.DIRTYPE)]
    link = tarfile.SYMTYPE
    entries = {
        "dots": [entry("usr/../../../../.." + target, b"OUT")],
        "absolute": [entry(target, b"OUT")],
        "hardlink": [entry("usr/secret", type=tarfile.LNKTYPE, linkname=target)],
        "through": [entry("usr/way", type=link, linkname=os.path.dirname(target)), entry("usr/way/" + os.path.basename(target), b"OUT"),
                    entry("up", type=link, linkname="../../../../.." + os.path.dirname(target)), entry("up/" + os.path.basename(target), b"OUT"),
                    entry("var", type=link, linkname=os.path.dirname(target)), entry("data", type=link, linkname="/")],
        "device": [entry("usr/disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0), entry("usr/mem", type=tarfile.CHRTYPE, devmajor=1, devminor=1),
                   entry("usr/pipe", type=tarfile.FIFOTYPE)],
    }.get(kind, [])
    if kind == "bomb":
        with gzip.open(out, "wb", 9) as file:
            header = entry("usr/zeros")[0]
            header.size = 1 << 40
            file.write(b"".join(m.tobuf() for m, _ in system) + header.tobuf() + bytes(1 << 20))
        return
    if kind == "empty":
        open(out, "w").close()
        return
    write(out, system + entries + [entry("usr/last", b"x" * 5000)])
    data = bytearray(open(out, "rb").read())
    if kind == "cut":
        data = data[:2000]
    elif kind == "checksum":
        data[600] ^= 1
    elif kind == "sparse":
        data = bytearray(entry("usr/x", type=b"S")[0].tobuf()) + data
    with open(out, "wb") as file:
        file.write(data)


kind, source, out = sys.argv[1:4]
if kind == "layout":
    layout(source, out)
elif kind == "spread":
    layout(source, out, spread)
elif kind == "saved":
    saved(source, out)
elif kind == "lay-tar":
    with tempfile.TemporaryDirectory() as folder:
        layout(source, folder + "/l")
        with tarfile.open(out, "w") as archive:
            archive.add(folder + "/l", ".")
else:
    bad(kind, source, out)
