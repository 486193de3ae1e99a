"""Writers as processes of their own, each as if the command had been typed, but without importing everything anew.

They are forked from a server process that has imported what they need and started nothing: no thread, no device. Their
programs are compiled quickly, as those of the tests are, since it is what they write that matters.
"""

import json
import multiprocessing
import os
import signal
import sys
import time

from flags import chosen


def start(folder, *words):
    """A process that runs `jepa-sweep run ...`; what it prints goes to files in `folder`."""
    os.environ.setdefault("EQX_ON_ERROR", "nan")  # read when equinox is imported, and part of the names of programs
    context = multiprocessing.get_context("forkserver")
    needed = [
        "jepa_sweep.cli",
        "jepa_sweep.running.execute",
        "jepa_sweep.systems.flow_rows",
        "jepa_sweep.engine.forward",
    ]
    context.set_forkserver_preload([f"jepa_sweep.{module}" for module in needed])
    process = context.Process(target=_command, args=(str(folder), [str(word) for word in words], chosen()))
    process.start()
    process.folder = folder
    return process


def _command(folder, words, flags):
    os.environ["XLA_FLAGS"] = flags
    number = os.getpid()
    sys.stdout = open(f"{folder}/{number}.out", "w", buffering=1)  # noqa: SIM115, it ends with the process
    sys.stderr = open(f"{folder}/{number}.err", "w", buffering=1)  # noqa: SIM115, as above
    sys.argv = ["jepa-sweep", "run", *words, "--json"]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
    from jepa_sweep import cli

    cli.main()


def finished(process):
    """Its report, once it has ended well."""
    process.join()
    assert process.exitcode == 0, (process.folder / f"{process.pid}.err").read_text()
    return json.loads((process.folder / f"{process.pid}.out").read_text())


def killed(process, sent, there, more, rng):
    """Send a signal a random moment after `there()` has grown beyond `more`; returns the exit code."""
    while process.is_alive() and there() <= more:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.03))
    os.kill(process.pid, sent)
    process.join()
    return process.exitcode
