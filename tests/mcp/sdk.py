"""MCP's official Python SDK, of either generation, as a client of what an mcp.json says, as it is: for a sandbox.
Run by tests/integration/mcp-sdk.sh:  sdk.py MCP_JSON"""
import asyncio
import base64
import json
import sys

from mcp import StdioServerParameters, types
from mcp.client.session import ClientSession
from mcp.client.stdio import stdio_client

try:
    from mcp import Client  # 2.x
except ImportError:
    Client = None

with open(sys.argv[1]) as f:
    (NAME, SERVER), = json.load(f)["mcpServers"].items()
PARAMETERS = StdioServerParameters(**SERVER)
TOOLS = ["run_command", "run_python", "read_file", "write_file", "list_files"]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def field(value, snake):
    """1.x names its fields as the wire does."""
    camel = snake.split("_")[0] + "".join(w.title() for w in snake.split("_")[1:])
    return getattr(value, snake, None) if hasattr(value, snake) else getattr(value, camel)


def same(what, expected, got):
    if expected != got:
        raise SystemExit(f"{what}: expected {expected!r}, got {got!r}")


async def use(session, name):
    """session: anything with list_tools and call_tool."""
    tools = (await session.list_tools()).tools
    same("tools", TOOLS, [t.name for t in tools])
    same("what only reads", ["read_file", "list_files"], [t.name for t in tools if field(t.annotations, "read_only_hint")])

    async def call(tool, arguments=None, **more):
        result = await session.call_tool(tool, arguments, **more)
        return field(result, "is_error"), result.content

    wrong, (text,) = await call("run_command", {"command": "echo $((6 * 7)) é"})
    same(name, (False, "42 é\n"), (wrong, text.text))
    wrong, (text,) = await call("write_file", {"path": "a b/ü.txt", "content": "one\n" * 100000})
    same("write_file", (False, "400000 bytes written to a b/ü.txt"), (wrong, text.text))
    wrong, (text,) = await call("read_file", {"path": "a b/ü.txt", "offset": 99999, "limit": 5})
    same("read_file", (False, "one\none\n"), (wrong, text.text))
    await call("run_command", {"command": f"echo {PNG} | base64 -d >p.png"})
    wrong, (picture,) = await call("read_file", {"path": "p.png"})
    same("a picture", (False, "image", "image/png", PNG), (wrong, picture.type, field(picture, "mime_type"), picture.data))
    base64.b64decode(picture.data, validate=True)
    for arguments, words in (({"command": 5}, "argument 'command' must be a string"), ({}, "argument 'command' is missing"), (None, "is missing"),
                             ({"command": "a\0b"}, "NUL"), ({"command": "exit 3"}, "[exit 3]")):
        wrong, (text,) = await call("run_command", arguments)
        if not wrong or words not in text.text:
            raise SystemExit(f"{arguments}: {wrong} {text.text}")
    wrong, _ = await call("list_files")
    same("no arguments", False, wrong)

    # Many at once, answered as they end.
    results = await asyncio.gather(*(call("run_command", {"command": f"sleep 0.{n}; echo {n}"}) for n in range(5)))
    same("many at once", [f"{n}\n" for n in range(5)], [content[0].text for _, content in results])

    seen = []

    async def progress(done, total, message):
        seen.append(done)

    await call("run_command", {"command": "sleep 5"}, progress_callback=progress)
    if not seen or seen != sorted(set(seen)):
        raise SystemExit(f"progress: {seen}")
    if not Client:
        return  # it forgets a call that is given up, and tells nobody
    await call("run_command", {"command": "rm -f begun"})
    given_up = asyncio.ensure_future(call("run_command", {"command": "echo >begun; sleep 300; echo never"}))
    while (await call("run_command", {"command": "test -e begun || echo not yet"}))[1][0].text != "[no output]":
        pass
    given_up.cancel()
    try:
        await given_up
        raise SystemExit("a call of 300 s ended")
    except asyncio.CancelledError:
        pass
    for _ in range(1000):
        _, (text,) = await call("run_command", {"command": "! pgrep -fx 'sleep 300' || echo still"})
        if text.text == "[no output]":
            break
    else:
        raise SystemExit("what was given up goes on")


async def by_initialize():
    async with stdio_client(PARAMETERS) as (read, write), ClientSession(read, write) as session:
        opened = await session.initialize()
        same("version", "2025-11-25", field(opened, "protocol_version"))
        same("server", "interpfs", field(opened, "server_info").name)
        await session.send_ping()
        await use(session, "initialize")


async def by_discover():
    async with Client(PARAMETERS) as client:
        await use(client, "discover")


asyncio.run(by_initialize())
if Client:
    asyncio.run(by_discover())
print("ok", NAME, types.LATEST_PROTOCOL_VERSION)
