"""The service under test: it does nothing but say, in a file of its own, that it runs and what its node then held on disk.

These lines are what the verifier believes: written by what really ran, stamped with the machine's monotonic clock, which no test
sets. ``start``: a process began. ``serve``: the executor's own file names it as what counts. ``end``: it was told to end.
"""

RUNS, HARNESS = "RUNS", "HARNESS"
"""Variables: the file that the lines are appended to, and the process of the test. A program ends when either is gone."""

TEXT = '''"""shop {version}"""

import hashlib, json, os, signal, socket, sys, time

state, me = os.environ["TIDEGATE_STATE"], os.getpid()
file, runs = os.path.join(state, "process-shop"), os.environ["RUNS"]
out = os.open(runs, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
begun = int(open("/proc/self/stat").read().rpartition(")")[2].split()[19])
served = False


def say(what, **more):
    line = {{"what": what, "node": os.environ["TIDEGATE_NODE"], "version": {version!r}, "pid": me, "started": begun,
            "at_ms": time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000, **more}}
    os.write(out, json.dumps(line).encode() + b"\\n")


def held(slot):
    """What one copy of the node's memory says: who orders, and what was begun."""
    try:
        length, digest, body = open(os.path.join(state, slot), "rb").read().split(b"|", 2)
    except (OSError, ValueError):
        return None
    if int(length) != len(body) or hashlib.sha256(body).hexdigest().encode() != digest:
        return None
    memory = json.loads(body)
    shop = memory.get("services", {{}}).get("shop", {{}})
    document = shop.get("accepted", {{}}).get("document")
    undertaking = shop.get("undertaking")
    return {{
        "serial": memory["serial"],
        "order": [document["root_version"], document["epoch"], document["generation"]] if document else None,
        "begun": [undertaking["artifact"]["version"], undertaking.get("token", "")] if undertaking else None,
    }}


def counts():
    try:
        journal = json.load(open(file, "rb"))
    except (OSError, ValueError):
        return False
    named = [journal.get("current") or {{}}, *journal.get("retiring", [])]
    return any((one.get("pid"), one.get("started")) == (me, begun) for one in named)


def look():
    global served
    if not served and counts():
        served = True
        say("serve")


def over(*_):
    look()
    say("end")
    os._exit(0)


signal.signal(signal.SIGTERM, over)
launch = json.loads(os.environ["TIDEGATE_LAUNCH"])
slots = sorted(filter(None, map(held, ("state-a", "state-b"))), key=lambda one: one["serial"])
say("start", sha256=hashlib.sha256(open(sys.argv[0], "rb").read()).hexdigest(), token=launch.get("token", ""), slots=slots)
time.sleep({start_s})
ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ready.connect(os.environ["NOTIFY_SOCKET"].replace("@", "\\0", 1))
ready.send(b"READY=1")
while os.path.exists(runs) and os.path.exists("/proc/" + os.environ["HARNESS"]):
    look()
    time.sleep(0.5 if served else 0.01)
'''


def text(version: str, start_s: float) -> str:
    """Return the program of a version that takes so long to become ready."""
    return TEXT.format(version=version, start_s=start_s)
