#!/usr/bin/env python3
"""Measures outlast against restic (and rustic and borg, where installed) on the same data, in turns.

    tests/bench/run.py --outlast target/release/outlast --folder /var/tmp/bench [--scale 0.25] [--rounds 3] [--sets mixed,small]

Makes seeded data sets under FOLDER (kept, so that a second run need not make them again), backs each up into a fresh repository with each tool in turn, then
restores it, and prints a table of medians and of ratios against restic (or, with --before, against an older build of outlast, run in the same turns). The page cache is warm: the source is read once before each timed run.
CPU and memory of outlast are those of its client agent, media agent and primary together. Needs Python 3.9 and nothing else.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

MIB = 1 << 20
PASSWORD = "benchmark"


# --- data sets ---------------------------------------------------------------------------------------------------------

WORDS = [bytes(random.Random(n).choices(b"abcdefghijklmnopqrstuvwxyz", k=2 + n % 9)) for n in range(4000)]


def text(rng, size):
    out = bytearray()
    while len(out) < size:
        stamp = b"2026-11-%02dT%02d:%02d:%02d " % (rng.randint(1, 30), rng.randint(0, 23), rng.randint(0, 59), rng.randint(0, 59))
        out += stamp + b" ".join(rng.choices(WORDS, k=12)) + b"\n"
    return bytes(out[:size])


def table(rng, size):
    out = bytearray()
    while len(out) < size:
        out += b"%d,%d,%.3f,%s\n" % (rng.getrandbits(40), rng.randint(0, 999), rng.random() * 1e4, rng.choice(WORDS))
    return bytes(out[:size])


def pages(rng, size):
    """Like a database or a disk image: pages half full, some empty."""
    out = bytearray()
    while len(out) < size:
        filled = rng.choice([0, 2048, 3072, 4096])
        out += rng.randbytes(filled) + bytes(4096 - filled)
    return bytes(out[:size])


def write_large(path, rng, make, size):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        while size > 0:
            piece = make(rng, min(size, 4 * MIB))
            # The same 4 MiB eight times over would deduplicate: each copy gets its own mark in every chunk.
            file.write(piece)
            size -= len(piece)


def make_mixed(folder, scale):
    rng = random.Random(1)
    total = int(4096 * MIB * scale)
    kinds = [("log", text, 0.15), ("csv", table, 0.15), ("db", pages, 0.30), ("media", lambda r, n: r.randbytes(n), 0.40)]
    for name, make, share in kinds:
        count = max(1, int(12 * min(1, scale * 4)))
        for number in range(count):
            write_large(folder / name / f"{number:02}.{name}", rng, make, int(total * share / count))


def make_small(folder, scale):
    rng = random.Random(2)
    for number in range(int(100_000 * scale)):
        size = min(int(rng.lognormvariate(8.6, 1.3)), 400_000)
        path = folder / f"{number % 97:02}" / f"{number % 89:02}" / f"file-{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        make = text if rng.random() < 0.8 else (lambda r, n: r.randbytes(n))
        path.write_bytes(make(rng, size))


def make_noise(folder, scale):
    write_large(folder / "noise", random.Random(3), lambda r, n: r.randbytes(n), int(3072 * MIB * scale))


def change_two_percent(folder, seed):
    """Overwrites extents in place, the same for the same seed; gives what undoes it."""
    rng = random.Random(seed)
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    left = sum(p.stat().st_size for p in files) // 50
    undo = []
    while left > 0:
        path = rng.choice(files)
        size = path.stat().st_size
        extent = min(rng.choice([16, 64, 256]) << 10, size)
        offset = rng.randrange(max(1, size - extent))
        with open(path, "r+b") as file:
            file.seek(offset)
            undo.append((path, offset, file.read(extent)))
            file.seek(offset)
            file.write(rng.randbytes(extent))
        left -= max(extent, 1)
    return undo


def change_back(undo):
    for path, offset, content in reversed(undo):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(content)


MAKERS = {"mixed": make_mixed, "small": make_small, "noise": make_noise}


def data_set(folder, name, scale):
    path = folder / f"{name}-{scale}"
    if not (path / ".done").exists():
        shutil.rmtree(path, ignore_errors=True)
        (path / "data").mkdir(parents=True)
        print(f"making {path}", file=sys.stderr)
        MAKERS[name](path / "data", scale)
        (path / ".done").touch()
    return path / "data"


# A file younger than this when it is read is read again by the next backup (S-14c).
YOUNG = 2.5


def warm(path):
    time.sleep(YOUNG)
    for file in path.rglob("*"):
        if file.is_file():
            with open(file, "rb") as data:
                while data.read(4 * MIB):
                    pass


def size_of(path):
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


# --- measuring ---------------------------------------------------------------------------------------------------------


class Figure(dict):
    """wall and cpu in seconds, memory and repository in bytes."""


def timed(command, env=None):
    """A command on its own: rusage of it and its children."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=env)
    err = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{' '.join(map(str, command))} failed: {err.decode(errors='replace')}")
    return Figure(wall=wall, cpu=usage.ru_utime + usage.ru_stime, memory=usage.ru_maxrss * 1024)


def cpu_of(pids):
    """Seconds of CPU these processes used so far."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Tool:
    def __init__(self, folder):
        self.folder = folder

    def reset(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)


class Restic(Tool):
    name = "restic"

    def env(self):
        return os.environ | {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": str(self.folder / "repo"), "RESTIC_CACHE_DIR": str(self.folder / "cache")}

    def start(self):
        self.reset()
        timed(["restic", "init", "--repository-version", "2"], self.env())

    def backup(self, source):
        return timed(["restic", "--quiet", "backup", str(source)], self.env())

    def restore(self, target):
        return timed(["restic", "--quiet", "restore", "latest", "--target", str(target)], self.env())

    def repository(self):
        return size_of(self.folder / "repo")

    def stop(self):
        pass


class Rustic(Restic):
    name = "rustic"

    def env(self):
        return os.environ | {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_REPOSITORY": str(self.folder / "repo"), "RUSTIC_NO_CACHE": "true"}

    def start(self):
        self.reset()
        timed(["rustic", "init"], self.env())

    def backup(self, source):
        return timed(["rustic", "backup", str(source)], self.env())

    def restore(self, target):
        return timed(["rustic", "restore", "latest", str(target)], self.env())


class Borg(Tool):
    name = "borg"

    def env(self):
        return os.environ | {"BORG_PASSPHRASE": PASSWORD, "BORG_REPO": str(self.folder / "repo"), "BORG_BASE_DIR": str(self.folder / "base")}

    def start(self):
        self.reset()
        self.count = 0
        timed(["borg", "init", "--encryption", "repokey-blake2"], self.env())

    def backup(self, source):
        self.count += 1
        return timed(["borg", "create", "-C", "zstd,3", f"::{self.count}", str(source)], self.env())

    def restore(self, target):
        command = f"cd '{target}' && borg extract ::{self.count}"
        return timed(["sh", "-c", command], self.env())

    def repository(self):
        return size_of(self.folder / "repo")

    def stop(self):
        pass


class Outlast(Tool):
    # Exit codes of a job that did what it was to do.
    good = (0,)

    def __init__(self, folder, binary, name="outlast"):
        super().__init__(folder)
        self.binary = binary
        self.name = name

    def command(self, *args):
        return [self.binary, "--context", str(self.folder / "dev/client.toml"), "-o", "json", *args]

    def start(self):
        self.reset()
        dev = [self.binary, "dev", "--port", "0", "--primaries", "1", "--media-agents", "1", "--data-dir", str(self.folder / "dev")]
        self.dev = subprocess.Popen(dev, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while True:
            listed = subprocess.run(self.command("--timeout", "1s", "agent", "list"), capture_output=True)
            if listed.returncode == 0 and sum(a["connected"] is True for a in json.loads(listed.stdout)) == 2:
                break
            if time.monotonic() > deadline:
                sys.exit("the outlast cluster did not come up")
            time.sleep(0.1)
        self.source = None

    def apply(self, source):
        if self.source != source:
            policy = self.folder / "policy.toml"
            policy.write_text(f'name = "bench"\nclients = ["local"]\nitems = ["{source}"]\n')
            subprocess.run(self.command("policy", "apply", "-f", str(policy)), check=True, stdout=subprocess.DEVNULL)
            self.source = source

    def children(self):
        names = ["client-1", "media-1", "primary-1"]
        return [int((self.folder / "dev/run" / f"{name}.pid").read_text()) for name in names]

    def cpu(self):
        return cpu_of(self.children())

    def peak(self):
        total = 0
        for pid in self.children()[:2]:
            status = Path(f"/proc/{pid}/status").read_text()
            total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024
        return total

    def timed(self, *args):
        for pid in self.children():
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        cpu, start = self.cpu(), time.monotonic()
        ran = subprocess.run(self.command(*args, "--wait"), capture_output=True)
        wall = time.monotonic() - start
        if ran.returncode not in self.good:
            sys.exit(f"outlast {' '.join(args)} failed: {ran.stdout.decode()} {ran.stderr.decode()}")
        self.last = json.loads(ran.stdout)
        return Figure(wall=wall, cpu=self.cpu() - cpu, memory=self.peak())

    def backup(self, source):
        self.apply(source)
        return self.timed("job", "run", "bench")

    def restore(self, target):
        listed = subprocess.run(self.command("restore-point", "list"), capture_output=True, check=True)
        return self.timed("restore", json.loads(listed.stdout)[0]["id"], "--to", str(target))

    def repository(self):
        return size_of(self.folder / "dev/storage")

    def stop(self):
        self.dev.send_signal(signal.SIGTERM)
        self.dev.wait(60)


# --- the series --------------------------------------------------------------------------------------------------------


def one_round(tool, name, source, folder, results, number):
    def note(what, figure):
        results.setdefault((name, what), {}).setdefault(tool.name, []).append(figure)
        print(f"{tool.name:8} {name:6} {what:9} {figure['wall']:7.2f} s  cpu {figure['cpu']:7.2f} s", file=sys.stderr)

    tool.start()
    try:
        warm(source)
        first = tool.backup(source)
        note("first", first | {"repository": tool.repository()})
        note("unchanged", tool.backup(source))
        target = folder / "restored"
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir()
        note("restore", tool.restore(target))
        shutil.rmtree(target)
        if name == "mixed":
            before = tool.repository()
            undo = change_two_percent(source, number)
            try:
                warm(source)
                note("2% changed", tool.backup(source) | {"repository": tool.repository() - before})
            finally:
                change_back(undo)
    finally:
        tool.stop()
        shutil.rmtree(tool.folder, ignore_errors=True)


def table_of(results, tools, base_name):
    columns = ["data set", "run", "tool", "wall s (min..max)", "CPU s", "peak MiB", "repository MB", f"speed against {base_name}", "CPU against it"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for (name, what), by_tool in results.items():
        base = by_tool.get(base_name)
        for tool in tools:
            figures = by_tool.get(tool.name)
            if not figures:
                continue
            median = lambda key: statistics.median(f.get(key, 0) for f in figures)
            walls = [f["wall"] for f in figures]
            against = lambda key: f"{statistics.median(f[key] for f in base) / median(key):.2f}" if base else "-"
            repository = f"{median('repository') / 1e6:.0f}" if "repository" in figures[0] else ""
            lines.append(
                f"| {name} | {what} | {tool.name} | {median('wall'):.2f} ({min(walls):.2f}..{max(walls):.2f}) | {median('cpu'):.2f} "
                f"| {median('memory') / MIB:.0f} | {repository} | {against('wall')} | {against('cpu')} |"
            )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlast", default="target/release/outlast")
    parser.add_argument("--before", help="an older build of outlast to compare with")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--scale", type=float, default=1.0, help="1: 4 GiB mixed, 100,000 small files, 3 GiB noise")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sets", default="mixed,small,noise")
    parser.add_argument("--tools", default="outlast,restic,rustic,borg")
    args = parser.parse_args()
    work = args.folder.absolute()
    all_tools = [Outlast(work / "outlast", os.path.abspath(args.outlast)), Restic(work / "restic"), Rustic(work / "rustic"), Borg(work / "borg")]
    wanted = [tool for tool in all_tools if tool.name in args.tools.split(",")]
    tools = [tool for tool in wanted if tool.name == "outlast" or shutil.which(tool.name)]
    if args.before:
        tools.insert(1, Outlast(work / "before", os.path.abspath(args.before), "before"))
    results = {}
    for name in args.sets.split(","):
        source = data_set(work, name, args.scale)
        for number in range(args.rounds):
            # Whoever comes second finds a file system full of deleted inodes: each comes first in turn.
            for tool in tools if number % 2 == 0 else reversed(tools):
                one_round(tool, name, source, work, results, number)
    print(f"{os.cpu_count()} cores, page cache warm, scale {args.scale}, {args.rounds} rounds in turns, medians\n")
    print(table_of(results, tools, "before" if args.before else "restic"))


if __name__ == "__main__":
    main()
