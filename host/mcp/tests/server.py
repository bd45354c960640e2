#!/usr/bin/env python3
"""An MCP server that misbehaves as it is asked to, over standard input and output or over HTTP.

    server.py stdio HOW DIRECTORY      HOW: well, never-ready, dies, garbage
    server.py http HOW DIRECTORY       HOW: json, events; says its port on standard output

What it notes for tests are files in DIRECTORY.
"""

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import time

TRANSPORT, HOW, DIRECTORY = sys.argv[1:4]
WRITING = threading.Lock()
STATE = {"count": 0, "tools": [], "cancelled": [], "replies": {}}
REPLIED = threading.Condition()


def note(name, text=""):
    """Tell the test, by a file that is there at once or not at all."""
    path = os.path.join(DIRECTORY, name)
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def count(name):
    """Count in a file, over all processes."""
    with open(os.path.join(DIRECTORY, name), "a") as file:
        file.write("x")


def text(value):
    return {"content": [{"type": "text", "text": str(value)}]}


class Answer(Exception):
    """What is written instead of an answer."""

    def __init__(self, raw):
        self.raw = raw


def asks(channel, id, method, params):
    """A request to the client, and what it replies."""
    channel.send({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    with REPLIED:
        REPLIED.wait_for(lambda: id in STATE["replies"], timeout=60)
        return STATE["replies"].get(id)


def call(name, arguments, id, channel):
    """The result of a tool."""
    if name == "echo":
        return text(arguments.get("text"))
    if name == "count":
        STATE["count"] += 1
        return text(STATE["count"])
    if name == "pid":
        return text(os.getpid())
    if name == "environment":
        return {"structuredContent": dict(os.environ), "content": []}
    if name == "headers":
        return text(json.dumps(dict(channel.headers)))
    if name == "child":
        return text(subprocess.Popen(["sleep", "3600"]).pid)
    if name == "hangs":
        note("hangs")
        time.sleep(3600)
    if name == "deaf":
        note("deaf")
        STATE["deaf"] = True
        time.sleep(3600)
    if name == "dies":
        os._exit(1)
    if name == "closes":
        os.close(1)
        time.sleep(3600)
    if name == "large":
        size = arguments.get("bytes", 50_000_000)
        return {"content": [{"type": "text", "text": "x" * size}]}
    if name == "deep":
        raise Answer('{"jsonrpc":"2.0","id":%d,"result":{"content":[],"structuredContent":%s}}'
                     % (id, "[" * 5000 + "]" * 5000))
    if name == "crowded":
        raise Answer('{"jsonrpc":"2.0","id":%d,"result":{"content":[],"structuredContent":[%s0]}}'
                     % (id, "0," * 1_000_000))
    if name == "number":
        raise Answer('{"jsonrpc":"2.0","id":%d,"result":{"content":[],"structuredContent":1e999}}' % id)
    if name == "unreadable":
        raise Answer('{"jsonrpc":"2.0","id":%d,"result":{"content":"none"},"result":}' % id)
    if name == "other":
        raise Answer('{"jsonrpc":"2.0","id":%d,"result":{"resources":[]}}' % id)
    if name == "wrong_id":
        channel.send({"jsonrpc": "2.0", "id": 10_000, "result": text("not yours")})
        channel.send({"jsonrpc": "2.0", "id": "x", "error": {"code": 1, "message": "x"}})
        return text("yours")
    if name == "floods":
        notification = {"jsonrpc": "2.0", "method": "notifications/message",
                        "params": {"level": "info", "data": "x" * 100}}
        for _ in range(2000):
            channel.send(notification)
            print("\x1b[31mlog", file=sys.stderr)
        print("y" * 10_000_000, file=sys.stderr)
        return text("done")
    if name == "changes":
        STATE["tools"].append("new")
        channel.send({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
        return text("changed")
    if name == "asks":
        replies = [
            asks(channel, 7001, "ping", {}),
            asks(channel, 7002, "sampling/createMessage", {"messages": [], "maxTokens": 1}),
            asks(channel, 7003, "roots/list", {}),
            asks(channel, 7004, "elicitation/create",
                 {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}),
        ]
        return text(json.dumps(["result" in it if it else None for it in replies]))
    if name == "fails":
        return {"content": [{"type": "text", "text": "no"}], "isError": True}
    if name == "refuses":
        raise KeyError("\x1b[31mno such \x00thing")
    if name == "cancelled":
        return text(json.dumps(STATE["cancelled"]))
    if name == "new":
        return text("new")
    raise KeyError(name)


READ_ONLY = {"annotations": {"readOnlyHint": True}}


def tools():
    names = ["count", "pid", "environment", "headers", "child", "hangs", "deaf", "dies", "closes",
             "large", "deep", "crowded", "number", "unreadable", "other", "wrong_id", "floods", "changes", "asks", "fails",
             "refuses", "cancelled"] + STATE["tools"]
    schema = {"type": "object", "properties": {}}
    echo = {"name": "echo", "description": "Says \x1b[31mit again.", "inputSchema": schema, **READ_ONLY}
    return [echo] + [{"name": name, "inputSchema": schema} for name in names]


def answer(message, channel):
    """The line that answers a request. None: nothing does."""
    id, method = message.get("id"), message.get("method")
    if method is None:
        with REPLIED:
            STATE["replies"][id] = message
            REPLIED.notify_all()
        return None
    if id is None:
        if method == "notifications/cancelled":
            STATE["cancelled"].append(message["params"]["requestId"])
            note("cancelled")
        return None
    params = message.get("params", {})
    try:
        if method == "initialize":
            if HOW == "never-ready":
                note("never-ready")
                time.sleep(3600)
            result = {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}},
                      "serverInfo": {"name": "test", "version": "1"}, "instructions": "x" * 100_000}
        elif method == "ping":
            result = {}
        elif method == "tools/list":
            count("lists")
            half = len(tools()) // 2
            if params.get("cursor") == "more":
                result = {"tools": tools()[half:]}
            else:
                result = {"tools": tools()[:half], "nextCursor": "more"}
        elif method == "tools/call":
            result = call(params["name"], params.get("arguments", {}), id, channel)
        else:
            raise KeyError(method)
    except Answer as instead:
        return instead.raw
    except KeyError as error:
        return json.dumps({"jsonrpc": "2.0", "id": id, "error": {"code": -32602, "message": str(error.args[0])}})
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result})


class Lines:
    def send(self, message):
        self.write(json.dumps(message))

    def write(self, line):
        with WRITING:
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def serve(self, message):
        line = answer(message, self)
        if line is not None:
            self.write(line)


def stdio():
    count("starts")
    if HOW == "dies":
        sys.exit(3)
    if HOW == "garbage":
        print("Welcome!\n\n{}\n[1]\n\xff", flush=True)
    lines = Lines()
    for line in sys.stdin:
        threading.Thread(target=lines.serve, args=(json.loads(line),), daemon=True).start()
        while STATE.get("deaf"):
            time.sleep(3600)
        if "\"deaf\"" in line:
            while True:
                time.sleep(3600)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_DELETE(self):
        count("deleted")
        self.reply(200, b"")

    def do_GET(self):
        self.reply(405, b"")

    def reply(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.path == "/moved":
            return self.reply(307, b"", [("location", "/mcp")])
        if self.path == "/page":
            return self.reply(200, b"<html>", [("content-type", "text/html")])
        if self.path == "/busy":
            return self.reply(503, b"", [("retry-after", "30")])
        if self.path == "/denied":
            return self.reply(401, b"who \x1b[31mare you?")
        session = self.headers.get("mcp-session-id")
        expired = os.path.exists(os.path.join(DIRECTORY, "expired"))
        if message.get("method") == "initialize":
            count("starts")
            session = "new" if expired else "old"
        elif expired and session == "old":
            return self.reply(404, b"")
        self.session = session
        if "id" not in message or "method" not in message:
            answer(message, self)
            return self.reply(202, b"")
        if HOW == "events":
            return self.events(message)
        body = answer(message, self).encode()
        self.reply(200, body, [("content-type", "application/json"), ("mcp-session-id", session)])

    def events(self, message):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("mcp-session-id", self.session)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        self.write(answer(message, self))

    def send(self, message):
        if HOW == "events":
            self.write(json.dumps(message))

    def write(self, line):
        self.wfile.write(b"event: message\ndata: " + line.encode() + b"\n\n")
        self.wfile.flush()


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def handle_error(self, *arguments):
        pass


if TRANSPORT == "stdio":
    stdio()
else:
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()
