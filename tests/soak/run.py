#!/usr/bin/env python3
"""A bounded soak: real processes under load and random faults, and at the end everything is accounted for.

    tests/soak/run.py --outlast target/release/outlast [--seconds 300] [--seed N] [--folder DIR] [--sample 30] [--keep]

Three primaries, two media agents on one storage unit, two clients. Backups of trees with new content each time from three policies for each client
(small; middle with a bandwidth limit and checkpoints; one that is not resilient), and restores, without pause. Meanwhile processes of all three
kinds are killed with -9 or stood still (SIGSTOP), one or several at once, and come back. Then everything is healed, what runs may end, and every
job, history, restore point and byte of the repository is held against what was seen before. The same seed gives the same plan, not the same run.
Ends with 0 only if there was no contradiction; otherwise the folder is kept. Needs Python 3.9, restic and rsync. docs/soak.md says more.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from account import Account  # noqa: E402
from cluster import Cluster, Failed, end_as_if_interrupted  # noqa: E402
from faults import Faults  # noqa: E402
from load import Load  # noqa: E402

# Shorter than the default of 20 s, so that outages of both kinds happen.
GRACE = 6
# For what still runs when the faults are over; nothing here takes as long.
PATIENCE = 180


class Contradictions:
    """What must not be. Told at once, kept for the end; the same thing once."""

    def __init__(self):
        self.found, self.lock = {}, threading.Lock()

    def __call__(self, kind, what):
        with self.lock:
            known = self.found.setdefault(kind, [])
            if what not in known:
                known.append(what)
                print(f"CONTRADICTION: {kind}: {what}", file=sys.stderr, flush=True)

    def count(self):
        return sum(map(len, self.found.values()))


def settle(cluster, load):
    """Waits for every job to be done, as long as it may take; what is not is told of by the account."""
    cluster.wait_until_whole(60)
    deadline = time.monotonic() + PATIENCE
    while not (load.look() and all(job["state"] == "done" for job in load.jobs.values())):
        if time.monotonic() > deadline:
            return
        time.sleep(0.5)


def soak(args, folder, contradict):
    cluster = Cluster(folder / "cluster", args.outlast, primaries=3, media_agents=2, clients=2)
    load, faults = Load(cluster, folder, args.seed, contradict), Faults(cluster, args.seed, contradict)
    account = Account(cluster, load, faults, GRACE, contradict)
    begun = time.monotonic()
    try:
        cluster.start()
        cluster.json("cluster", "set", "--disruption-grace", f"{GRACE}s")
        load.start()
        faults.start()
        try:
            time.sleep(args.seconds)
        finally:
            faults.stop()
            load.stop_submitting()
            settle(cluster, load)
            load.stop_observing()
        account.make(random.Random(f"{args.seed} samples"), args.sample)
    finally:
        cluster.stop()
    for fault in faults.happened:
        account.count(f"faults: {fault.kind} {'killed' if fault.how == 'kill' else 'stood still'}")
    account.count("restore points: restored by outlast and compared", load.counts.restores_compared)
    account.count("readings: all jobs and histories", load.counts.reads)
    account.count("readings: without an answer, no leader", load.counts.reads_without_leader)
    account.count("logs: errors and panics", errors_in_logs(cluster, contradict))
    account.count("time: seconds in all", round(time.monotonic() - begun))
    return account.rows


def errors_in_logs(cluster, contradict):
    number = 0
    for process in cluster.processes.values():
        for line in process.log.read_text(errors="replace").splitlines():
            if "panicked at" in line:
                contradict("a panic", f"{process.name}: {line}")
            elif " ERROR " in line:
                print(f"{process.name}: {line}", file=sys.stderr)
            number += " ERROR " in line or "panicked at" in line
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlast", default="target/release/outlast", type=os.path.abspath)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--folder", type=lambda path: Path(path).resolve(), help="[default: a temporary one]")
    parser.add_argument("--sample", type=int, default=30, help="restore points that are restored at the end")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    args = parser.parse_args()
    end_as_if_interrupted()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="outlast-soak-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {args.seed}, {args.seconds:.0f} s, {folder}", file=sys.stderr, flush=True)
    contradict = Contradictions()
    try:
        rows = soak(args, folder, contradict)
    except Failed as failed:
        contradict("the soak could not go on", str(failed))
        rows = {}
    rows["**contradictions**"] = contradict.count()
    print("| what | count |\n|---|---|\n" + "\n".join(f"| {row} | {count} |" for row, count in sorted(rows.items())))
    for kind, found in contradict.found.items():
        print(f"{len(found)} x {kind}")
    if contradict.count():
        sys.exit(f"seed {args.seed}: {contradict.count()} contradictions; everything is in {folder}")
    if not args.keep:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
