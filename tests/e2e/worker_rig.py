# SPDX-License-Identifier: MIT
"""A rolemesh-worker with a models directory of its own, the node protocol as methods, and an engine in Python for what
the real core cannot be made to do."""
import contextlib
import http.client
import http.server
import json
import pathlib
import shutil
import socket
import struct
import threading
import time

from rig import SLOW, Process, ask, chat_of, program, wait_for

ANSWER = "Hello from the tiny model."
SCRIPT = "Hello| from| the| tiny| model|."


def bare_gguf():
    """A whole GGUF file that names its architecture and holds one tensor of 64 bytes: nothing that an engine could use."""

    def text(s):
        return struct.pack("<Q", len(s)) + s

    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    head += text(b"t") + struct.pack("<IQIQ", 1, 16, 0, 0)
    return head + bytes(-len(head) % 32) + bytes(64)


class Worker:
    """Started with a directory below tmp: models/, state/, log."""

    def __init__(self, tmp, *args, node="speed", core=None):
        self.tmp = pathlib.Path(tmp)
        self.models, self.state_dir = self.tmp / "models", self.tmp / "state"
        self.models.mkdir(exist_ok=True)
        self.node, self.args, self.core, self.process, self.epoch = node, args, core, None, 1
        self.start()

    def start(self):
        (self.state_dir / "worker.addr").unlink(missing_ok=True)
        argv = [program("rolemesh-worker"), "--node", self.node, "--listen", "127.0.0.1:0"]
        argv += ["--models-dir", self.models, "--state-dir", self.state_dir, *self.args]
        if self.core is not None:
            argv += ["--core", self.core]
        self.process = Process(argv, self.tmp / "log")
        addr = self.state_dir / "worker.addr"
        wait_for("the worker listens", lambda: addr.exists() or not self.process.running)
        assert addr.exists(), self.process.log()
        host, _, port = addr.read_text().strip().rpartition(":")
        self.address = (host, int(port))
        return self

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.signal(2)
        self.process.signal(2)
        self.process.stop(15)

    # ---- plain HTTP ----

    def connect(self, timeout=30):
        return http.client.HTTPConnection(*self.address, timeout=timeout * SLOW)

    def call(self, method, path, body=None, headers=None, timeout=30):
        return ask(self.connect(timeout), method, path, body, headers)

    # ---- the node protocol ----

    def state(self):
        answer = self.call("GET", "/node/v1/state")
        assert answer.status == 200
        return answer.json()

    def host(self, role):
        return next((h for h in self.state()["hosts"] if h["role"] == role), None)

    def desired(self, role, **changes):
        wish = {"epoch": self.epoch, "role": role, "model": role, "context": 1024, "slots": 2, **changes}
        if "url" not in wish:
            wish.setdefault("source", str(self.models / f"{role}.gguf"))
        else:
            wish.setdefault("engine", "attach")
        return wish

    def put(self, role, **changes):
        return self.call("PUT", f"/node/v1/hosts/{role}", self.desired(role, **changes))

    def delete(self, role, query=""):
        return self.call("DELETE", f"/node/v1/hosts/{role}{query}")

    def wait_state(self, role, *states, seconds=20):
        """The host once it is in one of the states; None stands for gone."""

        def there():
            h = self.host(role)
            return (h or True) if (h["state"] if h else None) in states else None

        return wait_for(f"{role} is {states}", there, seconds)

    def add_model(self, role, path):
        shutil.copy(path, self.models / f"{role}.gguf")

    def host_ready(self, role, model=None, **changes):
        if model is not None:
            self.add_model(role, model)
        answer = self.put(role, **changes)
        assert answer.status == 200, answer.body
        return self.wait_state(role, "ready")

    def chat(self, role, text="hi", **options):
        return self.call("POST", f"/node/v1/run/{role}/v1/chat/completions", chat_of(text, **options))

    @contextlib.contextmanager
    def streaming(self, role, text="hi", **options):
        """A streamed chat whose head has come: yields the response."""
        body = chat_of(text, **{"stream": True, **options})
        with contextlib.closing(self.connect()) as c:
            c.request("POST", f"/node/v1/run/{role}/v1/chat/completions", json.dumps(body))
            yield c.getresponse()


def text_in(answer):
    return answer.json()["choices"][0]["message"]["content"]


def read_stream(response):
    """Everything that comes: (bytes, ended as it should)."""
    got = b""
    try:
        while chunk := response.read1(65536):
            got += chunk
    except (http.client.IncompleteRead, ConnectionError):
        return got, False
    return got, True


class Watch:
    """A reader of /node/v1/watch that notes when each state came."""

    def __init__(self, worker):
        self.seen, self.ended = [], False
        self.connection = worker.connect(60)
        self.connection.request("GET", "/node/v1/watch")
        self.response = self.connection.getresponse()
        assert self.response.status == 200
        assert self.response.headers["Content-Type"] == "text/event-stream"
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        kind = None
        try:
            for line in self.response:
                if line.startswith(b"event: "):
                    kind = line[7:].strip()
                elif line.startswith(b"data: "):
                    assert kind == b"state"
                    self.seen.append((time.monotonic(), json.loads(line[6:])))
        except (http.client.HTTPException, OSError, ValueError, AttributeError):
            pass
        self.ended = True

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        with contextlib.suppress(OSError):
            self.connection.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(10)
        self.connection.close()


class EngineHandler(http.server.BaseHTTPRequestHandler):
    """OpenAI chat in a few lines. The prompt says how to misbehave."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path.endswith("/v1/models") and self.server.models_status:
            self.reply(self.server.models_status, b'{"object":"list","data":[]}')
        elif self.path.endswith("/health"):
            self.reply(200, b"{}")
        else:
            self.reply(404, b"{}")

    def reply(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, dict(self.headers), body))
        text = json.loads(body)["messages"][-1]["content"] if body.startswith(b"{") else ""
        if text == "die before":
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
        elif text == "garbage":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello")
            self.close_connection = True
        elif text in ("die amid", "for ever"):
            self.stream(text)
        else:
            usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
            message = {"role": "assistant", "content": f"echo {text}"}
            self.reply(200, json.dumps({"choices": [{"message": message}], "usage": usage}).encode())

    def stream(self, text):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for i in range(3 if text == "die amid" else 10**6):
                data = f'data: {{"n":{i}}}\n\n'.encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            self.server.gone.append(time.monotonic())
        self.close_connection = True


class Engine(http.server.ThreadingHTTPServer):
    """A test engine at a loopback port."""

    daemon_threads = True

    def __init__(self, port=0, models_status=200):
        self.requests, self.gone, self.models_status = [], [], models_status
        super().__init__(("127.0.0.1", port), EngineHandler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()
