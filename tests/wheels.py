"""Makes packages for pip, without a network: wheels.py FOLDER NAME VERSION [sdist] [REQUIREMENT]...

A wheel NAME-VERSION-py3-none-any.whl with a module NAME, whose `version` is VERSION and which has a class Thing,
and a program NAME; with `sdist` the same as NAME-VERSION.tar.gz, which brings what builds it."""
import io
import sys
import tarfile
import zipfile


def files(name, version, requirements):
    info = "%s-%s.dist-info/" % (name, version)
    metadata = "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version)
    metadata += "".join("Requires-Dist: %s\n" % r for r in requirements)
    parts = {
        name + "/__init__.py": "version = '%s'\n\n\nclass Thing:\n    pass\n\n\ndef main():\n    print('%s', version)\n" % (version, name),
        info + "METADATA": metadata,
        info + "WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        info + "entry_points.txt": "[console_scripts]\n%s = %s:main\n" % (name, name),
    }
    parts[info + "RECORD"] = "".join("%s,,\n" % p for p in [*parts, info + "RECORD"])
    return parts


def write_wheel(folder, name, version, requirements):
    wheel = "%s-%s-py3-none-any.whl" % (name, version)
    with zipfile.ZipFile(folder + "/" + wheel, "w") as archive:
        for path, text in files(name, version, requirements).items():
            archive.writestr(path, text)
    return wheel


BUILDER = """import zipfile
def build_wheel(folder, config_settings=None, metadata_directory=None):
    wheel = %r
    with zipfile.ZipFile(folder + "/" + wheel, "w") as archive:
        for path, text in %r.items():
            archive.writestr(path, text)
    return wheel
"""


def write_sdist(folder, name, version, requirements):
    top = "%s-%s/" % (name, version)
    parts = {
        "PKG-INFO": "Metadata-Version: 2.1\nName: %s\nVersion: %s\n" % (name, version),
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "builder"\nbackend-path = ["."]\n',
        "builder.py": BUILDER % ("%s-%s-py3-none-any.whl" % (name, version), files(name, version, requirements)),
    }
    with tarfile.open(folder + "/%s-%s.tar.gz" % (name, version), "w:gz") as archive:
        for path, text in parts.items():
            member = tarfile.TarInfo(top + path)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))


folder, name, version, *rest = sys.argv[1:]
if rest[:1] == ["sdist"]:
    write_sdist(folder, name, version, rest[1:])
else:
    write_wheel(folder, name, version, rest)
