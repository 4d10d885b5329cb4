"""Serves the repositories in a folder to git by HTTP, as git http-backend does: server.py FOLDER [ADDRESS].

The first line of its output is its port. slow/NAME.git is answered only when there
is a file FOLDER/go-NAME.
"""
import http.server, os, socketserver, subprocess, sys, time

root = os.path.abspath(sys.argv[1])


class Handler(http.server.BaseHTTPRequestHandler):
    def serve(self):
        path, _, query = self.path.partition('?')
        while path.startswith('/slow/') and not os.path.exists(root + '/go-' + path.split('/')[2].removesuffix('.git')):
            time.sleep(0.05)
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if self.headers.get('Transfer-Encoding') == 'chunked':
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        env = dict(os.environ, GIT_PROJECT_ROOT=root, GIT_HTTP_EXPORT_ALL='1', PATH_INFO=path, QUERY_STRING=query,
                   REQUEST_METHOD=self.command, CONTENT_TYPE=self.headers.get('Content-Type', ''), CONTENT_LENGTH=str(len(body)),
                   REMOTE_ADDR=self.client_address[0], GIT_PROTOCOL=self.headers.get('Git-Protocol', ''),
                   HTTP_CONTENT_ENCODING=self.headers.get('Content-Encoding', ''), GIT_CONFIG_COUNT='1',
                   GIT_CONFIG_KEY_0='safe.directory', GIT_CONFIG_VALUE_0='*')
        said = subprocess.run(['git', 'http-backend'], input=body, env=env, stdout=subprocess.PIPE).stdout
        head, _, rest = said.partition(b'\r\n\r\n')
        fields = [line.split(': ', 1) for line in head.decode().split('\r\n') if line]
        self.send_response(int(dict(fields).get('Status', '200').split()[0]))
        for name, value in fields:
            if name != 'Status':
                self.send_header(name, value)
        self.send_header('Content-Length', str(len(rest)))
        self.end_headers()
        self.wfile.write(rest)
        with open(root + '/requests', 'a') as log:
            log.write('%s %s\n' % (self.command, self.path))

    do_GET = do_POST = serve

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


server = Server((sys.argv[2] if len(sys.argv) > 2 else '127.0.0.1', 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
