"""A language model's server on loopback that answers by a script."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Script(HTTPServer):
    """A server on loopback that answers /models, then each status of its script, and keeps what it was sent."""

    def __init__(self, *script: int) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.script = list(script)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Scripted(BaseHTTPRequestHandler):
    server: Script

    def do_GET(self) -> None:
        self._reply(200, {"data": [{"id": "smollm2"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((dict(self.headers), body))
        status = self.server.script.pop(0)
        choice = {"message": {"content": " There is lung mass. "}, "finish_reason": "stop"}
        self._reply(status, {"choices": [choice]} if status == 200 else {"error": "PatientName^Secret"})

    def _reply(self, status: int, content: dict[str, Any]) -> None:
        self.send_response(status)
        self.send_header("Location", "http://192.0.2.1/")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args: Any) -> None:
        pass
