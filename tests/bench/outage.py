#!/usr/bin/env python3
"""Measures a running resilient backup while all primaries are killed against the same backup while they are there (R-04).

    tests/bench/outage.py --outlast target/release/outlast --folder /var/tmp/outage [--source /dev/shm/outage] [--mib 4096] [--pairs 4]

Real processes: three primaries, one media agent, one client; one large incompressible file. Each job is cut by its progress into three windows.
In one job of a pair the primaries are there, killed with -9, there again; in the other killed, there again, killed again. So each third of the job is
measured in both ways, and what makes one third slower than another is the same on both sides. What counts is the media agent's writing (`wchar` of its
process, that is what goes to the repository). Beside it stand the client's reading, the CPU of both agents for each GB, and how many cores somebody
else took meanwhile (the kernel's writing to disk included): a job in which that was much is printed and does not count. Needs Python 3.9 and nothing else.
"""

import argparse
import os
import shutil
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
sys.path.insert(0, str(Path(__file__).parent))
import run as bench  # noqa: E402
from cluster import Cluster, Failed, end_as_if_interrupted  # noqa: E402

MIB = 1 << 20
THERE, KILLED = "there", "killed"
ORDERS = [[THERE, KILLED, THERE], [KILLED, THERE, KILLED]]
# Of the job's bytes: where primaries are killed or come back, where the window begins, and where it ends. The return takes a second
# (elections, agents that look for the leader), and a window begins at the same place whatever was before it.
THIRDS = [(0.02, 0.12, 0.34), (0.34, 0.46, 0.65), (0.65, 0.77, 0.96)]
TICK = 0.01


def made(folder, mib):
    """The source: one file of noise."""
    path = folder / f"noise-{mib}"
    if not (path / ".done").exists():
        shutil.rmtree(path, ignore_errors=True)
        (path / "data").mkdir(parents=True)
        print(f"making {path}", file=sys.stderr)
        bench.make_noise(path / "data", mib / 3072)
        (path / ".done").touch()
    return path / "data"


def io(process):
    """Bytes read and written by system calls on files so far, all threads."""
    fields = dict(line.split(": ") for line in Path(f"/proc/{process.pid()}/io").read_text().splitlines())
    return int(fields["rchar"]), int(fields["wchar"])


def machine():
    """Seconds of CPU the machine spent so far, on anything, and those the hypervisor took."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / os.sysconf("SC_CLK_TCK")


class Job:
    """One backup, from its mark to its end."""

    def __init__(self, cluster, size):
        self.cluster, self.size = cluster, size
        self.client, self.media = cluster["client-1"], cluster["media-1"]
        self.primaries = [cluster[name] for name in cluster.names("primary")]
        self.written_before = io(self.media)[1]

    def begin(self):
        self.id = self.cluster.json("job", "run", "bench")["id"]
        deadline = time.monotonic() + 30
        while not any(line["text"] == "job is resilient" for line in self.cluster.json("job", "details", self.id)):
            if time.monotonic() > deadline:
                raise Failed(f"job {self.id} was not marked")

    def progress(self):
        return (io(self.media)[1] - self.written_before) / self.size

    def reach(self, share):
        deadline = time.monotonic() + 120
        while self.progress() < share:
            if time.monotonic() > deadline:
                raise Failed(f"job {self.id} stands at {self.progress():.2f}")
            time.sleep(TICK)

    def become(self, state):
        if state == KILLED:
            for primary in self.primaries:
                primary.process.kill()
            for primary in self.primaries:
                primary.kill()
        elif not self.primaries[0].is_running():
            for primary in self.primaries:
                primary.start()
            # They have found each other and the agents have found them.
            self.cluster.wait_until_whole(60)

    def sample(self):
        agents = bench.cpu_of([self.client.pid(), self.media.pid()])
        ours = agents + bench.cpu_of([p.pid() for p in self.primaries if p.is_running()] + [os.getpid()])
        return {"read": io(self.client)[0], "written": io(self.media)[1], "agents": agents, "others": machine() - ours, "time": time.monotonic()}

    def window(self, state, begin, end):
        if self.progress() > begin + 0.01:
            raise Failed(f"at {self.progress():.2f} of the job the primaries have changed, too late for {begin:.2f}: take more --mib")
        self.reach(begin)
        before = self.sample()
        self.reach(end)
        after = self.sample()
        spent = {key: after[key] - before[key] for key in after}
        seconds, written = spent["time"], spent["written"]
        rates = {key: spent[key] / seconds for key in ["read", "written", "others"]}
        return {"state": state, "seconds": seconds, **rates, "cpu": spent["agents"] / (written / 1e9)}

    def finish(self):
        self.become(THERE)
        ended = self.cluster.json("job", "watch", self.id, patience=300)
        if (ended["status"], len(ended["attempts"])) != ("successful", 1):
            raise Failed(f"job {self.id} ended {ended['status']} after {len(ended['attempts'])} attempts")


def one_job(args, source, size, order):
    """The three windows of a job on a fresh cluster and repository."""
    folder = args.folder / "cluster"
    shutil.rmtree(folder, ignore_errors=True)
    cluster = Cluster(folder, args.outlast, primaries=3, media_agents=1, clients=1)
    try:
        cluster.start()
        applied = cluster.apply("bench", f'name = "bench"\nclients = ["client-1"]\nitems = ["{source}"]\n')
        if applied.code != 0:
            raise Failed(applied.stderr)
        bench.warm(source)
        job = Job(cluster, size)
        job.begin()
        windows = []
        for state, (change, begin, end) in zip(order, THIRDS):
            job.reach(change)
            job.become(state)
            windows.append(job.window(state, begin, end))
        job.finish()
        return windows
    finally:
        cluster.stop()
        cluster.remove()
        # What one job leaves to be written to disk is not the next one's.
        os.sync()


def ratio(pair, key):
    """Killed against there, of one pair: the geometric mean over the thirds."""
    by_third = []
    for windows in zip(*pair):
        value = {window["state"]: window[key] for window in windows}
        by_third.append(value[KILLED] / value[THERE])
    return statistics.geometric_mean(by_third)


def row(number, which, third, w):
    figures = [f"{w['seconds']:.2f}", f"{w['written'] / 1e6:.0f}", f"{w['read'] / 1e6:.0f}", f"{w['cpu']:.2f}", f"{w['others']:.2f}"]
    return f"| {number} | {'AB'[which]} | {third} | {w['state']} | {' | '.join(figures)} |"


def report(pairs):
    """Medians of all windows of these pairs, and what the pairs come to."""
    windows = [window for pair in pairs for job in pair for window in job]
    for key, unit, by in [("written", "MB/s", 1e6), ("cpu", "CPU s of both agents for each GB", 1)]:
        medians = {state: statistics.median(w[key] for w in windows if w["state"] == state) / by for state in [THERE, KILLED]}
        ratios = [ratio(pair, key) for pair in pairs]
        each = ", ".join(f"{value:.3f}" for value in ratios)
        print(f"\n{unit}: there {medians[THERE]:.2f}, killed {medians[KILLED]:.2f} (medians of {len(windows) // 2} windows each)")
        print(f"killed against there, each pair: {each}; geometric mean {statistics.geometric_mean(ratios):.3f}, median {statistics.median(ratios):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlast", default="target/release/outlast", type=os.path.abspath)
    parser.add_argument("--folder", type=lambda path: Path(path).resolve(), required=True, help="for cluster and repository; emptied after each job")
    parser.add_argument("--source", type=lambda path: Path(path).resolve(), help="for the file that is backed up; kept [default: FOLDER]")
    parser.add_argument("--mib", type=int, default=4096)
    parser.add_argument("--pairs", type=int, default=4, help="of jobs that nothing disturbed; gives up after three times as many")
    parser.add_argument("--others", type=float, default=0.3, help="cores that others may take before a job counts as disturbed")
    args = parser.parse_args()
    source = made(args.source or args.folder, args.mib)
    size = bench.size_of(source)
    print("| job | order | third | primaries | s | MB/s written | MB/s read | agents' CPU s for each GB | cores taken by others |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    # Of both orders, the jobs that nothing disturbed.
    quiet = [[], []]
    for number in range(1, 6 * args.pairs + 1):
        # The order of the two jobs of a pair changes too: A B, B A, ...
        which = (number // 2) % 2
        windows = one_job(args, source, size, ORDERS[which])
        for third, window in enumerate(windows, 1):
            print(row(number, which, third, window), flush=True)
        if all(window["others"] <= args.others for window in windows):
            quiet[which].append(windows)
        if min(map(len, quiet)) >= args.pairs:
            break
    pairs = list(zip(*quiet))
    print(f"\n{number} jobs, {sum(map(len, quiet))} of them with no more than {args.others} cores taken by others in any window; {len(pairs)} pairs of these count")
    if pairs:
        report(pairs)


if __name__ == "__main__":
    try:
        end_as_if_interrupted()
        main()
    except Failed as failed:
        sys.exit(str(failed))
