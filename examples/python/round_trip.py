#!/usr/bin/env python3
"""Publishes one message, consumes it and acknowledges it, with the standard library alone.

    python3 examples/python/round_trip.py gmq-quickstart/client.toml
"""
import json, pathlib, socket, ssl, sys, tomllib

profile_path = pathlib.Path(sys.argv[1])
profile = tomllib.loads(profile_path.read_text())
path = lambda name: str(profile_path.parent / profile[name])
host, port = profile["server"].rsplit(":", 1)

tls = ssl.create_default_context(cafile=path("ca"))
tls.minimum_version = ssl.TLSVersion.TLSv1_3
tls.set_alpn_protocols(["gmq/1"])
tls.load_cert_chain(path("certificate"), path("key"))
stream = tls.wrap_socket(socket.create_connection((host, int(port))), server_hostname=host)
lines = stream.makefile("rw", encoding="utf-8", newline="\n")

def receive(wanted):
    for line in lines:
        message = json.loads(line)
        if message.get("ok") is False or message.get("event") == "closing":
            sys.exit(f"refused: {line}")
        if wanted(message):
            return message
    sys.exit("the server closed the connection")

def request(number, **fields):
    lines.write(json.dumps({"id": number, **fields}) + "\n")
    lines.flush()
    return receive(lambda message: message.get("id") == number)

request(1, op="auth", tenant=profile["tenant"], user=profile["user"], password=profile["password"])
published = request(2, op="publish", queue="greetings", body={"hello": "from Python"})
print("published, seq", published["seq"])
request(3, op="consume", queue="greetings", prefetch=1)
message = receive(lambda message: message.get("event") == "message")
print("consumed:", json.dumps(message["body"]))
print("acknowledged:", request(4, op="ack", tag=message["tag"])["acked"])
