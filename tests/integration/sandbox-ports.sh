#!/bin/bash
# ports/N: a server inside, also without a network, is reached from this machine's loopback: HTTP, a
# protocol that is upgraded, raw bytes in both directions, a thousand connections at once.
# runs: root user
. "$(dirname "$0")/../functions.sh"

cat >"$T/server.py" <<'EOF'
import asyncio, base64, hashlib

async def web(reader, writer):
    head = (await reader.readuntil(b'\r\n\r\n')).decode()
    if 'Upgrade: websocket' in head:
        key = [line.split(': ')[1] for line in head.split('\r\n') if line.startswith('Sec-WebSocket-Key')][0]
        accept = base64.b64encode(hashlib.sha1((key + '258EAFA5-E914-47DA-95CA-C5AB0DC85B11').encode()).digest()).decode()
        writer.write(f'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n'.encode())
        while True:  # echoes short frames
            kind, size = await reader.readexactly(2)
            if kind & 15 == 8:
                break
            mask = await reader.readexactly(4)
            text = bytes(b ^ mask[i % 4] for i, b in enumerate(await reader.readexactly(size & 127)))
            writer.write(bytes([kind, len(text)]) + text)
    else:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ninside')
    await writer.drain()
    writer.close()

async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def main():
    await asyncio.start_server(web, '127.0.0.1', 8000, backlog=128)
    await asyncio.start_server(echo, '127.0.0.1', 9000, backlog=128)
    print('serving', flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
EOF
cat >"$T/client.py" <<'EOF'
import asyncio, os, socket, sys
web, raw = ((a.rsplit(':', 1)[0], int(a.rsplit(':', 1)[1])) for a in sys.argv[1:3])

s = socket.create_connection(web, timeout=20)
s.sendall(b'GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
          b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
f = s.makefile('rb')
assert b' 101 ' in f.readline()
while (line := f.readline()) != b'\r\n':
    if line.startswith(b'Sec-WebSocket-Accept'):
        assert line.split(b': ')[1].strip() == b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=', line
for text in b'one', b'two':
    s.sendall(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
    assert f.read(2 + len(text)) == bytes([0x81, len(text)]) + text

async def big():  # 16 MB in both directions at once, then half a close
    reader, writer = await asyncio.open_connection(*raw)
    data = os.urandom(1 << 20) * 16
    async def send():
        for i in range(0, len(data), 1 << 16):
            writer.write(data[i:i + (1 << 16)])
            await writer.drain()
        writer.write_eof()
    sender = asyncio.ensure_future(send())
    got = await reader.read(-1)
    await sender
    assert got == data, (len(got), len(data))

async def main():
    await big()
    both = await asyncio.gather(*(asyncio.open_connection(*raw) for _ in range(1000)))
    for i, (_, writer) in enumerate(both):
        writer.write(b'%04d' % i)
    for i, (reader, _) in enumerate(both):
        assert await reader.readexactly(4) == b'%04d' % i
    print(len(both), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(main())
EOF

mount_it
box=$M/sandboxes/box
mkdir "$box"
for wrong in '[0]' '[65536]' '[http]' '[080]'; do
	fails "ports: $wrong" sh -c 'printf "ports: %s\n" "$1" >"$2"' sh "$wrong" "$box/config"
	grep -q 'is no port; ports are numbers from 1 to 65535' "$box/error" || fail "ports: $wrong: $(cat "$box/error")"
done
printf 'network: none\nports: [8000, 9000, 8000]\nlocal_files: [["%s", /workspace/server.py]]\n' "$T/server.py" >"$box/config" || fail config
echo wait >"$box/ctl" || fail "$(cat "$box/error")"
same "what is listed" "8000 9000" "$(ls "$box/ports" | xargs)"
web=$(cat "$box/ports/8000") raw=$(cat "$box/ports/9000")
case $web in 127.0.0.1:*) ;; *) fail "ports/8000 says '$web'" ;; esac
same "its size" "$((${#web} + 1))" "$(stat -c %s "$box/ports/8000")"

# Nothing listens yet: the connection ends at once.
fails "a port without a server" curl -sf --max-time 60 "http://$web/"

"$INTERPFS" exec "$box" -- python3 /workspace/server.py >"$T/served" 2>&1 &
eventually 20 grep -q serving "$T/served"
same "HTTP" inside "$(curl -sf --max-time 60 "http://$web/")"

ulimit -n 4096 2>/dev/null
coproc CLIENT { exec python3 "$T/client.py" "$web" "$raw" 2>"$T/client.log"; }
client=$CLIENT_PID
read -r count <&"${CLIENT[0]}" || fail "the client: $(cat "$T/client.log")"
same "connections at once" 1000 "$count"
same "HTTP beside them" inside "$(curl -sf --max-time 60 "http://$web/")"
echo >&"${CLIENT[1]}"
wait "$client" || fail "the client: $(cat "$T/client.log")"

# A new runner serves the same addresses; a stopped sandbox tells none, and has them again.
kill -9 "$(runner_pids | head -n 1)"
eventually 20 sh -c "curl -sf --max-time 60 http://$web/ | grep -q inside"
same "after the runner's death" "$web" "$(cat "$box/ports/8000")"
echo stop >"$box/ctl" || fail stop
same "stopped" "" "$(cat "$box/ports/8000")"
same "its size when stopped" 0 "$(stat -c %s "$box/ports/8000")"
fails "the address of a stopped sandbox" curl -sf --max-time 60 "http://$web/"
printf 'network: none\nports: [9000]\n' >"$box/config" && echo wait >"$box/ctl" || fail "$(cat "$box/error")"
same "a changed config" 9000 "$(ls "$box/ports")"
same "the address after a restart" "$raw" "$(cat "$box/ports/9000")"
