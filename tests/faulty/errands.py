"""What processes are sent to do, in a module that they can import as well."""

import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection


def echo(connection: Connection, *arguments: object) -> None:
    """Says its arguments, then what it hears."""
    connection.send(arguments)
    while True:
        connection.send(connection.recv())


def chatter(connection: Connection) -> None:
    print("x" * 100_000)  # noqa: T201
    print("WARNING something odd")  # noqa: T201
    os.write(2, b"\xff not text\n")
    connection.send("done")
    connection.recv()


def end(_: Connection, code: int) -> None:
    sys.exit(code)


def crash(_: Connection) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def sleep(connection: Connection) -> None:
    """Sleeps, and so does a process that it started."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    connection.send(child.pid)
    time.sleep(600)
