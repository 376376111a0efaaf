"""`python -m training.processes.child`: a process that a run started beside itself; `children` starts it."""

import json
import os
import signal
import sys
import threading


def main() -> int:
    """Train as the first line of standard input says; the exit code. Rank 0 tells the user what there is to tell."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches rank 0 too, which ends this process
    told = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    from configs.errors import UserError
    from configs.frozen import thaw
    from training.processes.launcher import Place
    from training.run import run
    from training.signals import Interrupted

    try:
        run(thaw(told["config"]), Place(**told["place"]))
    except Interrupted as interrupted:
        return interrupted.exit_code
    except UserError as error:
        return error.exit_code
    return 0


def end_with_parent() -> None:
    """Nothing more comes on standard input: its end is that of rank 0."""
    while os.read(0, 1024):
        pass
    os._exit(1)


if __name__ == "__main__":
    raise SystemExit(main())
