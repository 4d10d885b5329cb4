#!/bin/bash
# network: a list of hosts. What is listed is reached, by HTTP and HTTPS; nothing else is, however it is
# asked for. A secret with hosts is in requests to them and nowhere inside.
# runs: root user
. "$(dirname "$0")/../functions.sh"

# This machine's servers: HTTPS with a certificate of their own authority, HTTP, and a line protocol. They say what they were sent.
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
	-addext basicConstraints=critical,CA:TRUE -keyout "$T/key.pem" -out "$T/cert.pem" 2>/dev/null || fail "openssl"
coproc SERVERS { exec python3 tests/says.py "$T"; }
servers=$SERVERS_PID
read -r plain secure line <&"${SERVERS[0]}" || fail "the servers"
on_exit "kill $servers"

# What runs inside.
cat >"$T/client.py" <<'EOF'
import http.client, os, ssl, sys
c = http.client.HTTPSConnection('127.0.0.1', 3128, timeout=20, context=ssl.create_default_context())
c.set_tunnel('localhost', int(sys.argv[1]))
for i in range(5):
    c.request('POST', '/%d' % i, body=(b'%d' % k * 1000 for k in range(3)) if i % 2 else b'whole', headers={'Authorization': 'Bearer ' + os.environ['LISTED_TOKEN']},
              encode_chunked=bool(i % 2))
    r = c.getresponse(); text = r.read().decode()
    assert r.status == 200 and 'Bearer the-' + 'value-of-it' in text and text.startswith('/%d' % i), text
print('five')
EOF
cat >"$T/line.py" <<'EOF'
import socket, sys
s = socket.create_connection(('127.0.0.1', 3128), timeout=20); f = s.makefile('rb')
s.sendall(b'CONNECT localhost:%s HTTP/1.1\r\n\r\n' % sys.argv[1].encode())
assert b' 200 ' in f.readline() and f.readline() == b'\r\n'
print(f.readline().decode().strip()); s.sendall(b'so\n'); print(f.readline().decode().strip())
EOF
cat >"$T/front.py" <<'EOF'
import socket, ssl, sys
s = socket.create_connection(('127.0.0.1', 3128), timeout=20)
s.sendall(b'CONNECT 127.0.0.1:%s HTTP/1.1\r\n\r\n' % sys.argv[1].encode())
assert b' 200 ' in s.recv(4096)
c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
c.wrap_socket(s, server_hostname='example.org')
EOF

export LISTED_TOKEN=the-value-of-it SSL_CERT_FILE=$T/cert.pem
mount_it
box=$M/sandboxes/box
inside() { timeout 400 "$INTERPFS" exec "$box" -- "$@"; }
# By the proxy also to names that usually need none.
web() { inside curl -sS --max-time 60 --noproxy '' "$@"; }
mkdir "$box"
printf 'secrets: [{name: LISTED_TOKEN, hosts: [example.org]}]\n' >"$box/config" 2>/dev/null
grep -q 'LISTED_TOKEN is for example.org, which is not in network' "$box/error" || fail "a secret for nobody: $(cat "$box/error")"
printf 'network: [localhost:%s, 127.0.0.1:%s, localhost:%s, localhost:%s]\nsecrets: [{name: LISTED_TOKEN, hosts: ["localhost:%s", "localhost:%s"]}]\nlocal_files: [["%s", /tmp/client.py], ["%s", /tmp/line.py], ["%s", /tmp/front.py]]\n' \
	"$secure" "$secure" "$plain" "$line" "$secure" "$plain" "$T/client.py" "$T/line.py" "$T/front.py" >"$box/config" || fail "config: $(cat "$box/error")"
echo wait >"$box/ctl" || fail "$(cat "$box/error")"
case $(jq -r .network "$box/info.json") in "listed hosts"*) ;; *) fail "info.json: $(jq -r .network "$box/info.json")" ;; esac

# What is listed, with what is usual inside; the secret by header, by user and password, in the target.
same "what stands inside" interpfs-secret-LISTED_TOKEN "$(inside sh -c 'echo $LISTED_TOKEN')"
web -H 'X-Key: interpfs-secret-LISTED_TOKEN' "https://localhost:$secure/a?k=interpfs-secret-LISTED_TOKEN" >"$T/out" || fail "https: $(cat "$T/out")"
grep -q 'X-Key: the-value-of-it' "$T/out" || fail "the header: $(cat "$T/out")"
grep -q '^/a?k=the-value-of-it$' "$T/out" || fail "the target: $(cat "$T/out")"
web -u user:interpfs-secret-LISTED_TOKEN "https://localhost:$secure/" >"$T/out" || fail "https: $(cat "$T/out")"
grep -q "Basic $(printf user:the-value-of-it | base64)" "$T/out" || fail "user and password: $(cat "$T/out")"
web -H 'X-Key: interpfs-secret-LISTED_TOKEN' "http://localhost:$plain/b" >"$T/out" || fail "http: $(cat "$T/out")"
grep -q 'X-Key: the-value-of-it' "$T/out" || fail "the header by http: $(cat "$T/out")"
# Not to a host that is listed and is not the secret's; its TLS is not ours to end.
web -k -H 'X-Key: interpfs-secret-LISTED_TOKEN' "https://127.0.0.1:$secure/" >"$T/out" || fail "the other host: $(cat "$T/out")"
grep -q 'X-Key: interpfs-secret-LISTED_TOKEN' "$T/out" || fail "the other host: $(cat "$T/out")"
# Python's own library, a body in chunks, several requests on one connection.
same "a library" five "$(inside python3 /tmp/client.py "$secure")"
# A port of its own is for whatever is spoken on it, also where the server speaks first.
same "a line protocol" "hello
you said so" "$(inside python3 /tmp/line.py "$line")"

# Nothing else, by no way: each of these is an attempt.
attempt() { # NAME ARGUMENTS OF curl...
	local name=$1; shift
	fails "$name" web -f "$@"
}
attempt "a host that is not listed, https" https://example.org/
attempt "a host that is not listed, http" http://example.org/
attempt "another port of a listed host" "http://localhost:1/"
attempt "without the proxy" --noproxy '*' "http://10.0.2.2:$plain/"
attempt "the metadata address" http://169.254.169.254/
attempt "loopback written otherwise" "http://127.1:$plain/"
attempt "loopback as a number" "http://2130706433:$plain/"
attempt "loopback by IPv6" "http://[::ffff:127.0.0.1]:$plain/"
attempt "another Host than the connection's" -H 'Host: example.org' "https://localhost:$secure/"
attempt "a name of this machine's, resolved inside" --noproxy '*' --resolve "example.org:$plain:127.0.0.1" "http://example.org:$plain/"
fails "the tunnel's TLS name" inside python3 /tmp/front.py "$secure"
grep -q 'network: refused: example.org:443 is not in' "$box/log" || fail "the log: $(cat "$box/log")"
grep -q "network: refused: 127.0.0.1:$secure a TLS connection for another name, example.org" "$box/log" || fail "the log: $(cat "$box/log")"

# The value is nowhere inside, nor in the tree, nor in what is kept.
fails "the value in the processes' environment inside" inside sh -c 'cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr "\0" "\n" | grep -q "the-value[-]of-it"'
fails "the value in the files" grep -rqs the-value-of-it "$S" "$M/sandboxes"
same "the authority's key" 600 "$(stat -c %a "$S"/sandboxes/*/proxy.pem)"
fails "the authority's key inside" inside grep -rqs 'PRIVATE KEY' /run

# A new runner opens the way out again, secrets and all; a proxy that is killed is started again.
kill -9 "$(runner_pids | head -n 1)"
eventually 20 sh -c "'$INTERPFS' exec '$box' -- curl -sS --max-time 60 --noproxy '' -H 'X-Key: interpfs-secret-LISTED_TOKEN' https://localhost:$secure/ | grep -q the-value-of-it"
proxy=$(pgrep -P "$(runner_pids | head -n 1)" -f ' proxy$' | head -n 1)
sleep 1.1 # one that dies in its first second is not started again
kill -9 "$proxy" || fail "no proxy"
eventually 20 sh -c "'$INTERPFS' exec '$box' -- curl -sS --max-time 60 --noproxy '' https://localhost:$secure/ | grep -q Host"

# With the sandbox it ends.
proxy=$(pgrep -P "$(runner_pids | head -n 1)" -f ' proxy$' | head -n 1)
rmdir "$box" || fail rmdir
gone() { [ ! -e "/proc/$1/exe" ] || [ "$(sed 's/.*) //;s/ .*//' "/proc/$1/stat" 2>/dev/null)" = Z ]; }
eventually 20 gone "$proxy"
