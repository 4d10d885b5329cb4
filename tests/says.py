# HTTP, HTTPS (cert.pem and key.pem of the folder named) and a line protocol on loopback, for tests: they say what
# they were sent. Prints the three ports; ends with its standard input.
import http.server, socket, ssl, sys, threading
class Says(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        sent = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        while self.headers.get('Transfer-Encoding') == 'chunked' and (size := int(self.rfile.readline(), 16)):
            sent += self.rfile.read(size); self.rfile.readline()
        if self.headers.get('Transfer-Encoding'): self.rfile.readline()
        body = (self.path + '\n' + str(self.headers)).encode() + sent
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    do_POST = do_GET
    def log_message(self, *a): pass
class Server(http.server.ThreadingHTTPServer): request_queue_size = 128
plain, secure = Server(('127.0.0.1', 0), Says), Server(('127.0.0.1', 0), Says)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1] + '/cert.pem', sys.argv[1] + '/key.pem')
secure.socket = context.wrap_socket(secure.socket, server_side=True)
line = socket.create_server(('127.0.0.1', 0))
def greet():
    while True:
        c = line.accept()[0]; c.sendall(b'hello\n'); c.sendall(b'you said ' + c.recv(99)); c.close()
for f in plain.serve_forever, secure.serve_forever, greet: threading.Thread(target=f, daemon=True).start()
print(plain.server_port, secure.server_port, line.getsockname()[1], flush=True)
sys.stdin.read()
