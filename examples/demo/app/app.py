"""Says hello to whoever asks, on port 8000."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Hello(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"hello from the workspace\n")


HTTPServer(("", 8000), Hello).serve_forever()
