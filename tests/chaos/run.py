#!/usr/bin/env python3
"""Chaos: real processes on hosts of their own, load, random faults of every kind, and at the end everything is accounted for.

    tests/chaos/run.py [--outlast target/release/outlast] [--disks target/debug/test-disks] [--seconds 180] [--faults N] [--seed N] [--keep]
    tests/chaos/run.py --plan --seed N        prints the faults of a seed and does nothing

Three primaries, media agents on one storage unit, clients; each in a network namespace of its own, with a disk of its own that keeps only what was synced,
and a clock of its own. Backups of trees with new content each time from several policies, restores, cancels, without pause. Meanwhile the leader, the media agent at work, clients and
the others are killed, frozen, cut off (both ways, one way, from some), their disks are full or read-only, they lose power, their clocks jump; the storage unit is full or read-only;
everybody loses power at once; all primaries are set back to a copy. A seed is a sequence of faults. Then everything is healed, what runs may end, and every job, history,
restore point and byte of the repository is held against what was seen before. Ends with 0 only if there was no contradiction and every job ended; 77 where this machine lacks something;
otherwise the folder is kept. Needs root, Python 3.9, restic, rsync, iproute2, fuse3, faketime. docs/chaos.md says more.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
import hosts as all_hosts  # noqa: E402
from causes import Causes  # noqa: E402
from cluster import Cluster, Failed, end_as_if_interrupted  # noqa: E402
from compare import differences  # noqa: E402
from faults import Faults, plan  # noqa: E402
from load import Load  # noqa: E402
from validator import Books, Validator  # noqa: E402

CANNOT = 77
# Shorter than the defaults, so that outages of both kinds happen.
SETTINGS = [
    ["cluster", "set", "--disruption-grace", "2s", "--reconnect-for", "15s"],
    ["pool", "set", "default", "--failover-after", "8s"],
]
GRACE = 2
# For what still runs when the faults are over.
PATIENCE = 240


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


class Run:
    def __init__(self, args, folder, contradict):
        self.args, self.folder, self.contradict = args, folder, contradict
        self.rows, self.begun = {}, time.monotonic()
        names = [f"{kind}-{number}" for kind, count in [("primary", 3), ("media", args.media), ("client", 2)] for number in range(1, count + 1)]
        self.hosts = all_hosts.Hosts(folder / "hosts", names, args.seed, args.disks)
        try:
            self.cluster = Cluster(folder / "cluster", args.outlast, primaries=3, media_agents=args.media, clients=2, hosts=self.hosts)
        except BaseException:
            self.hosts.remove()
            raise
        self.books = Books(contradict)
        self.load = Load(self.cluster, folder, args.seed, self.books, contradict)
        self.faults = Faults(self.cluster, self.hosts, plan(args.seed, args.seconds, args.faults), self.load, contradict)

    def make(self):
        try:
            self.cluster.start()
            for command in SETTINGS:
                self.cluster.json(*command)
            self._say("up")
            self.load.start()
            self.faults.start()
            try:
                self.faults.wait()
            finally:
                self._say("the faults are over")
                self.load.stop_submitting()
                self._settle()
                self.load.stop_observing()
                self.faults.stop()
            self._say("everything that ends has ended")
            self._account()
        finally:
            self._say("the end")
            self.cluster.stop()
            self.hosts.remove()
        (self.folder / "faults.json").write_text(json.dumps(self.faults.records(), indent=1))
        self._errors_in_logs()
        self.rows["seconds in all"] = round(time.monotonic() - self.begun)
        return self.rows

    def _say(self, what):
        print(f"{time.monotonic() - self.begun:7.1f} s: {what}", file=sys.stderr, flush=True)

    def _settle(self):
        """Waits for every job to be done, as long as it may take; what is not is told of by the validator."""
        deadline = time.monotonic() + PATIENCE
        # Who has just ended on a bad disk is started again by then.
        time.sleep(3)
        self.cluster.wait_until_whole(90)
        while not (self.load.look() and all(job["state"] == "done" for job in self.books.jobs.values())):
            if time.monotonic() > deadline:
                return
            time.sleep(0.5)

    def _account(self):
        counts, records = self.load.counts, self.faults.records()
        kinds = {policy: kind for policy, (kind, _) in self.load.policies.items()}
        validator = Validator(self.cluster, counts, kinds, self.contradict)
        validator.clocks_were_right = not any(record["how"] == "clock" for record in records)
        validator.read()
        validator.validate()
        causes = Causes(records, self.books.closed, counts.submitted, GRACE, self.contradict)
        for job in validator.jobs.values():
            if job["state"] == "done" and job["id"] not in counts.lost:
                causes.look(job, self._is_marked)
        self._compare(validator)
        self.rows |= validator.rows | causes.rows
        self._count(records)

    def _is_marked(self, id):
        return any(line["text"] == "job is resilient" for line in self.cluster.json("job", "details", id))

    def _compare(self, validator):
        """A sample: restored by restic it is the source, byte for byte; and a backup that nothing disturbs gives the same trees."""
        rng = random.Random(f"{self.args.seed} samples")
        sample = rng.sample(sorted(validator.points), min(self.args.sample, len(validator.points)))
        for number, id in enumerate(sample):
            target, source = self.folder / "sample" / str(number), Path(validator.points[id]["item"])
            target.mkdir(parents=True)
            ran = self.cluster.restic("restore", id, "--target", target)
            found = ran.stderr if ran.code else differences(source, target / source.relative_to("/"), contents=True)
            validator.count("restore points: restored by restic and compared")
            if found:
                self.contradict("a restore point is not what the source is", f"{id} of {source}: {found[:500]}")
            shutil.rmtree(target, ignore_errors=True)
        items = sorted({validator.points[id]["item"] for id in sample})
        if items:
            self.cluster.apply("undisturbed", f'name = "undisturbed"\nclients = ["client-1"]\nitems = {items}\n')
            validator.undisturbed(self.cluster.run("job", "run", "undisturbed", "--wait").json())

    def _count(self, records):
        counts, rows = self.load.counts, self.rows
        for record in records:
            key = f"faults: {record['kind']}, {record['how']}"
            rows[key] = rows.get(key, 0) + 1
        rows["faults"] = len(records)
        rows["jobs that did not end"] = rows.get("jobs that did not end", 0)
        rows["failovers"] = rows.get("failovers", 0)
        rows["restore points: restored by outlast and compared"] = counts.restores_compared
        rows["readings: all jobs and histories"] = counts.reads
        rows["readings: without an answer, no leader"] = counts.reads_without_leader
        rows["processes: ended on a bad disk, and started again"] = self.faults.ended_on_bad_disks
        rows["submissions: with a number given out again after a set back, that no agent had heard of"] = sum(not known for known in counts.twice.values())
        rows["submissions: with a number given out again after a set back, before an agent said that it knew it"] = sum(counts.twice.values())
        rows["operator: released held jobs, checked storage units"] = counts.released + counts.checked

    def _errors_in_logs(self):
        for process in self.cluster.processes.values():
            for line in self.cluster.words(process.name):
                if "panicked at" in line:
                    self.contradict("a panic", f"{process.name}: {line}")
                self.rows["logs: errors and panics"] = self.rows.get("logs: errors and panics", 0) + (" ERROR " in line or "panicked at" in line)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlast", default="target/release/outlast", type=os.path.abspath)
    parser.add_argument("--disks", default="target/debug/test-disks", type=os.path.abspath)
    parser.add_argument("--seconds", type=float, default=180, help="of faults")
    parser.add_argument("--faults", type=int, help="so many planned faults at most; give more seconds than they take")
    parser.add_argument("--media", type=int, default=3, help="media agents")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--folder", type=lambda path: Path(path).resolve(), help="[default: a temporary one]")
    parser.add_argument("--sample", type=int, default=30, help="restore points that are restored at the end")
    parser.add_argument("--plan", action="store_true", help="print the faults and end")
    parser.add_argument("--keep", action="store_true", help="keep the folder in any case")
    return parser.parse_args()


def main():
    args = arguments()
    if args.plan:
        print("\n".join(map(str, plan(args.seed, args.seconds, args.faults))))
        return
    lacking = all_hosts.lacks(args.disks)
    if lacking:
        print(f"chaos needs {lacking}", file=sys.stderr)
        sys.exit(CANNOT)
    end_as_if_interrupted()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="outlast-chaos-", dir="/var/tmp"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"seed {args.seed}, {args.seconds:.0f} s of faults, {folder}", file=sys.stderr, flush=True)
    contradict = Contradictions()
    try:
        rows = Run(args, folder, contradict).make()
    except Failed as failed:
        contradict("the run could not go on", str(failed))
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
