"""What the soak asks of the cluster: backups of trees that never change once they are made, restores, now and then a cancel, and an observer that reads everything again and
again and holds what it reads against what it read before. Started by tests/soak/run.py."""

import os
import random
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from compare import differences  # noqa: E402

KIB, MIB = 1 << 10, 1 << 20
NOT_REACHABLE, REFUSED = 4, 5
# So many jobs of one policy may wait for one another.
LINE = 5
# Of a history; links to attempts that come later are added later.
VERDICT = ["job", "attempt", "media_agent", "client", "status", "status_code", "stopped", "error", "started_at", "ended_at", "files", "bytes", "bytes_new"]


@dataclass(frozen=True)
class Kind:
    """A kind of policy: what its trees are like, and what stands in its file."""

    name: str
    resilient: bool
    patience: float
    large: tuple
    file: str


KINDS = [
    Kind("small", True, 0.3, (0, 0), ""),
    Kind("middle", True, 0.9, (2 * MIB, 12 * MIB), '[limits]\nbandwidth = "4MiB/s"\n[checkpoint]\ninterval = "1s"\n'),
    Kind("plain", False, 1, (1 * MIB, 10 * MIB), '[limits]\nbandwidth = "2MiB/s"\n[shape]\nmultiplex = 2\n[retry]\ndelay = "5s"\ntries = 2\n'),
]


def make_tree(rng, folder, large):
    """A tree with a bit of everything; its content is nowhere twice."""
    folder.mkdir(parents=True)
    (folder / "empty").mkdir()
    for number in range(rng.randint(3, 25)):
        place = folder / f"d{rng.randint(0, 3)}"
        place.mkdir(exist_ok=True)
        (place / f"file-{number}").write_bytes(rng.randbytes(rng.randint(0, 40 * KIB)))
    os.symlink("nowhere", folder / "link")
    (folder / "one").write_bytes(rng.randbytes(100))
    os.link(folder / "one", folder / "two")
    if large[1]:
        (folder / "large").write_bytes(rng.randbytes(rng.randint(*large)))
    (folder / "with a hole").touch()
    os.truncate(folder / "with a hole", 1 * MIB)


@dataclass
class Counts:
    """What was asked for and what the answers were."""

    accepted: dict = field(default_factory=dict)  # id -> policy, or "restore"
    canceled: dict = field(default_factory=dict)  # id -> [(exit code, time of the answer)]
    unknown: dict = field(default_factory=dict)  # policy -> submissions without an answer: they may have been taken
    restores_compared: int = 0
    reads: int = 0
    reads_without_leader: int = 0


class Load:
    """All threads that use the cluster."""

    def __init__(self, cluster, folder, seed, contradict):
        self.cluster, self.folder, self.contradict = cluster, folder, contradict
        self.over, self.observing = threading.Event(), threading.Event()
        self.counts, self.lock = Counts(), threading.Lock()
        self.jobs, self.verdicts = {}, {}
        rng = lambda name: random.Random(f"{seed} {name}")
        clients = cluster.names("client-agent")
        self.policies = {f"{kind.name}-{client}": (kind, client) for kind in KINDS for client in clients}
        self.workers = [self._thread(self._submit, name, rng(name)) for name in self.policies]
        self.workers.append(self._thread(self._restore, rng("restores")))
        self.workers.append(self._thread(self._cancel, rng("cancels")))
        self.observer = self._thread(self._observe, rng("observer"))

    def _thread(self, work, *args):
        """One that does not end in silence."""

        def run():
            try:
                work(*args)
            except Exception as error:
                self.contradict("a thread of the soak itself failed", f"{work.__name__}: {error!r}")
                raise

        return threading.Thread(target=run)

    def start(self):
        for thread in [*self.workers, self.observer]:
            thread.start()

    def stop_submitting(self):
        self.over.set()
        for thread in self.workers:
            thread.join()

    def stop_observing(self):
        self.observing.set()
        self.observer.join()

    # --- submissions

    def _submit(self, policy, rng):
        kind, client = self.policies[policy]
        trees = []
        while not self.over.is_set():
            if not trees or rng.random() < 0.85:
                tree = self.folder / "source" / f"{policy}-{len(trees)}"
                make_tree(rng, tree, kind.large)
                trees.append(tree)
            items = rng.sample(trees, min(len(trees), rng.choice([1, 1, 2])))
            text = f'name = "{policy}"\nclients = ["{client}"]\nitems = {[str(item) for item in items]}\n{kind.file}'
            if self._applied(policy, text):
                id = self._accepted(policy, rng, "job", "run", policy)
                # Some wait for the end, some stand in line behind others.
                if rng.random() < kind.patience or self._waiting(policy) > LINE:
                    self._wait_for_end(id)
            self.over.wait(rng.uniform(0, 1))

    def _applied(self, policy, text):
        while not self.over.is_set():
            ran = self.cluster.apply(policy, text)
            if ran.code == 0:
                return True
            if ran.code != NOT_REACHABLE:
                self.contradict("a policy was refused", f"{policy}: {ran.code}: {ran.stderr}")
                return False
        return False

    def _accepted(self, policy, rng, *command):
        """Submits; the job's id, if the answer came."""
        ran = self.cluster.run("--timeout", rng.choice(["300ms", "1s", "4s", "10s"]), *command)
        with self.lock:
            if ran.code == 0:
                id = ran.json()["id"]
                if id in self.counts.accepted:
                    self.contradict("two submissions got one job", id)
                self.counts.accepted[id] = policy
                return id
            self.counts.unknown[policy] = self.counts.unknown.get(policy, 0) + 1
        if ran.code != NOT_REACHABLE:
            self.contradict("a submission was refused", f"{' '.join(map(str, command))}: {ran.code}: {ran.stderr}")
        return None

    def _waiting(self, policy):
        return sum(job["policy"] == policy and job["state"] != "done" for job in list(self.jobs.values()))

    def _wait_for_end(self, id):
        while id and not self.over.is_set() and self.jobs.get(id, {}).get("state") != "done":
            self.over.wait(0.1)

    # --- restores

    def _restore(self, rng):
        number = 0
        while not self.over.wait(rng.uniform(0.5, 3)):
            done = [job for job in list(self.jobs.values()) if job["kind"] == "backup" and job["status"] == "successful"]
            if not done:
                continue
            job = rng.choice(done)
            item, number = rng.choice(job["items"]), number + 1
            target = self.folder / "target" / str(number)
            target.mkdir(parents=True)
            id = self._accepted("restore", rng, "restore", item["restore_point"], "--to", target)
            self._wait_for_end(id)
            ended = self.jobs.get(id, {})
            if ended.get("status") == "successful":
                found = differences(item["path"], target / Path(item["path"]).relative_to("/"), contents=True)
                self.counts.restores_compared += 1
                if found:
                    self.contradict("a successful restore differs from the source", f"job {id} of {item['restore_point']}: {found[:500]}")
            # Where no answer came it may still be written to.
            if ended.get("state") == "done":
                shutil.rmtree(target, ignore_errors=True)

    # --- canceling

    def _cancel(self, rng):
        while not self.over.wait(rng.uniform(2, 12)):
            # Some of those that were not done when they were last seen are by now.
            open_ones = [job["id"] for job in list(self.jobs.values()) if job["state"] != "done"]
            if not open_ones:
                continue
            id = rng.choice(open_ones)
            ran = self.cluster.run("--timeout", rng.choice(["300ms", "4s"]), "job", "cancel", id)
            with self.lock:
                self.counts.canceled.setdefault(id, []).append((ran.code, time.time()))
            if ran.code not in [0, NOT_REACHABLE, REFUSED]:
                self.contradict("a cancel got another answer than yes, done, or no leader", f"{id}: {ran.code}: {ran.stderr}")

    # --- the observer

    def _observe(self, rng):
        while not self.observing.wait(0.5):
            self.look(stale=rng.random() < 0.25)

    def look(self, stale=False):
        """Reads all jobs and histories, and holds them against what was read before; whether there was an answer."""
        which = ["--stale"] if stale else []
        histories = self.cluster.run("--timeout", "2s", *which, "history", "list", "--limit", "100000")
        jobs = self.cluster.run("--timeout", "2s", *which, "job", "list", "--limit", "100000")
        self.counts.reads += 1
        if histories.code or jobs.code:
            self.counts.reads_without_leader += 1
            return False
        self._compare_histories(histories.json(), stale)
        self._compare_jobs(jobs.json(), stale)
        return True

    def _compare_histories(self, listed, stale):
        seen = {}
        for history in listed:
            verdict = [history[key] for key in VERDICT]
            key = (history["job"], history["attempt"])
            if key in seen:
                self.contradict("two histories for one attempt", f"{key}: {seen[key]} and {history['id']}")
            seen[key] = history["id"]
            before = self.verdicts.setdefault(history["id"], verdict)
            if before != verdict:
                self.contradict("a history changed after it was closed", f"{history['id']}: {before} became {verdict}")
        for id in set() if stale else set(self.verdicts) - {history["id"] for history in listed}:
            self.contradict("a history vanished", f"{id}: {self.verdicts[id]}")

    def _compare_jobs(self, listed, stale):
        for job in listed:
            before = self.jobs.get(job["id"])
            if before and before["state"] == "done":
                if stale and job["state"] != "done":
                    continue
                if any(before[key] != job[key] for key in ["state", "status", "status_code"]):
                    self.contradict("a job changed after it was done", f"{job['id']}: {before['status']} became {job['state']} {job['status']}")
            if not stale or not before or job["state"] == "done":
                self.jobs[job["id"]] = job
        for id in set() if stale else set(self.jobs) - {job["id"] for job in listed}:
            self.contradict("a job vanished", id)
