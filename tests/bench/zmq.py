"""The yardstick for outputs: what jupyter_client (ZMQ) needs to receive them. Runs inside the
sandbox, with a kernel of its own. Prints JSON: for each piece of code the median time in ms from
sending it until its idle has come, and the bytes of text received."""
import glob
import json
import os
import statistics
import sys
import time

# ipykernel and its kernelspec lie beside the sandbox's own packages (backend/sandbox/layers.h).
layer = glob.glob("/run/interpfs/jupyter/*/kernel")[0]
sys.path.append(layer)
os.environ["JUPYTER_PATH"] = os.path.join(os.path.dirname(layer), "data")
from jupyter_client.manager import KernelManager

CODES = {
    "prints": "for i in range(500): print(i, flush=True)",
    "megabytes": "for i in range(100): print('x' * 79999, flush=True)",
}

manager = KernelManager(kernel_name="python3", transport="ipc")  # as a notebook's
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=60)


def run(code):
    start, text = time.monotonic(), 0
    request = client.execute(code)
    while True:
        message = client.get_iopub_msg(timeout=60)
        if message["parent_header"].get("msg_id") != request:
            continue
        if message["msg_type"] == "stream":
            text += len(message["content"]["text"])
        if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
            break
    client.get_shell_msg(timeout=60)
    return (time.monotonic() - start) * 1e3, text


answer = {}
for name, code in CODES.items():
    run("1")
    runs = [run(code) for _ in range(5)]
    answer[name] = {"ms": statistics.median(r[0] for r in runs), "bytes": runs[0][1]}
client.stop_channels()
manager.shutdown_kernel(now=True)
json.dump(answer, sys.stdout)
