"""What is asked of the cluster in a run: backups of trees that never change once they are made, restores, now and then a cancel; an observer that reads everything again and
again for the books (validator.py), and an operator who does what operators do when a job is held or a storage unit is not trusted. Started by tests/chaos/run.py."""

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
# Seconds after which a file counts as unchanged if it looks so.
SETTLED = 2.2
# Seconds until the agents have told primaries that were set back what they know.
AGENTS_RETURN = 10
NOT_REACHABLE, REFUSED, NO_SUCH_THING = 4, 5, 6
# So many jobs of one policy may wait for one another.
LINE = 3


@dataclass(frozen=True)
class Kind:
    """A kind of policy: what its trees are like, and what stands in its file."""

    name: str
    resilient: bool
    patience: float
    large: tuple
    file: str
    # Bytes that may be sent again after a checkpoint: what an interval has room for, and what may be under way.
    again: int = None
    # Its trees are older than 2 s when they are backed up; in younger ones files are marked, which tells restore points apart (S-14c).
    settled: bool = True


# A job that loses its client goes on soon, and whenever it does.
RETRY = '[retry]\ndelay = "5s"\ntries = 100\n'
KINDS = [
    Kind("small", True, 0.5, (0, 0), RETRY, settled=False),
    Kind("middle", True, 0.95, (6 * MIB, 20 * MIB), '[limits]\nbandwidth = "3MiB/s"\n[checkpoint]\ninterval = "1s"\n' + RETRY, 19 * MIB),
    Kind("plain", False, 1, (1 * MIB, 8 * MIB), '[limits]\nbandwidth = "2MiB/s"\n[checkpoint]\nrestart = false\n[shape]\nmultiplex = 2\n' + RETRY),
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
    submitted: dict = field(default_factory=dict)  # id -> when the answer came
    canceled: dict = field(default_factory=dict)  # id -> [(exit code, time of the answer)]
    unknown: dict = field(default_factory=dict)  # policy -> submissions without an answer: they may have been taken
    lost: set = field(default_factory=set)  # ids that primaries may not know any more, which were set back
    restores_compared: int = 0
    reads: int = 0
    reads_without_leader: int = 0
    twice: dict = field(default_factory=dict)  # ids that were given out again after that -> whether an agent had heard of them
    released: int = 0
    checked: int = 0


class Load:
    """All threads that use the cluster."""

    def __init__(self, cluster, folder, seed, books, contradict):
        self.cluster, self.folder, self.books, self.contradict = cluster, folder, books, contradict
        self.over, self.observing = threading.Event(), threading.Event()
        # Held while something is read and compared, and while everybody's disks change.
        self.counts, self.lock, self.reading = Counts(), threading.Lock(), threading.Lock()
        self.known_leader, self.working, self.set_back_at = None, [], 0.0
        rng = lambda name: random.Random(f"{seed} {name}")
        clients = cluster.names("client-agent")
        self.policies = {f"{kind.name}-{client}": (kind, client) for kind in KINDS for client in clients}
        self.workers = [self._thread(self._submit, name, rng(name)) for name in self.policies]
        self.workers.append(self._thread(self._restore, rng("restores")))
        self.workers.append(self._thread(self._cancel, rng("cancels")))
        self.observer = self._thread(self._observe, rng("observer"))
        self.operator = self._thread(self._operate)

    @property
    def jobs(self):
        return self.books.jobs

    def _thread(self, work, *args):
        """One that does not end in silence."""

        def run():
            try:
                work(*args)
            except Exception as error:
                self.contradict("a thread of the harness itself failed", f"{work.__name__}: {error!r}")
                raise

        return threading.Thread(target=run)

    def start(self):
        for thread in [*self.workers, self.observer, self.operator]:
            thread.start()

    def stop_submitting(self):
        self.over.set()
        for thread in self.workers:
            thread.join()

    def stop_observing(self):
        self.observing.set()
        self.observer.join()
        self.operator.join()

    # --- for those who do the faults

    def leader(self):
        return self.known_leader

    def at_work(self):
        return self.working[0] if self.working else None

    def mark(self):
        """What is known when the primaries are copied; nothing is being read."""
        with self.lock:
            return self.books.mark(), set(self.counts.accepted)

    def set_back(self, mark):
        """The primaries know what was known then, and nothing later."""
        books, accepted = mark
        with self.lock:
            self.books.set_back(books)
            self.set_back_at = time.time()
            self.counts.lost |= set(self.counts.accepted) - accepted

    # --- submissions

    def _submit(self, policy, rng):
        kind, client = self.policies[policy]
        trees = []
        while not self.over.is_set():
            if not trees or rng.random() < 0.85:
                tree = self.folder / "source" / f"{policy}-{len(trees)}"
                make_tree(rng, tree, kind.large)
                trees.append(tree)
                self.over.wait(SETTLED if kind.settled else 0)
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
                    self._given_again(id)
                self.counts.accepted[id] = policy
                self.counts.submitted[id] = time.time()
                return id
            self.counts.unknown[policy] = self.counts.unknown.get(policy, 0) + 1
        if ran.code != NOT_REACHABLE and not (ran.code == NO_SUCH_THING and self.counts.lost):
            self.contradict("a submission was refused", f"{' '.join(map(str, command))}: {ran.code}: {ran.stderr}")
        return None

    def _given_again(self, id):
        """S-12b: primaries that were set back may give a number again that no agent has heard of, or, so far, before the first agent has said what it knows (docs/chaos.md)."""
        is_known = any(job == id and attempt > 0 for job, attempt in self.books.closed)
        if id not in self.counts.lost or is_known and time.time() > self.set_back_at + AGENTS_RETURN:
            self.contradict("two submissions got one job", id)
            return
        self.counts.lost.discard(id)
        self.counts.twice[id] = is_known
        self.counts.canceled.pop(id, None)
        for key in [key for key in self.books.closed if key[0] == id]:
            del self.books.closed[key]

    def _waiting(self, policy):
        return sum(job["policy"] == policy and job["state"] != "done" for job in list(self.jobs.values()))

    def _wait_for_end(self, id):
        while id and id not in self.counts.lost and not self.over.is_set() and self.jobs.get(id, {}).get("state") != "done":
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
            if job["id"] in self.counts.lost:
                continue
            target = self.folder / "target" / str(number)
            target.mkdir(parents=True)
            id = self._accepted("restore", rng, "restore", item["restore_point"], "--to", target)
            if id in self.counts.lost:
                continue
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
            if ran.code not in [0, NOT_REACHABLE, REFUSED] and not (ran.code == NO_SUCH_THING and self.counts.lost):
                self.contradict("a cancel got another answer than yes, done, or no leader", f"{id}: {ran.code}: {ran.stderr}")

    # --- the observer

    def _observe(self, rng):
        while not self.observing.wait(0.5):
            self.look(stale=rng.random() < 0.25)

    def look(self, stale=False):
        """Reads all jobs and histories for the books; whether there was an answer."""
        which = ["--stale"] if stale else []
        with self.reading:
            histories = self.cluster.run("--timeout", "2s", *which, "history", "list", "--limit", "100000")
            jobs = self.cluster.run("--timeout", "2s", *which, "job", "list", "--limit", "100000")
            self.counts.reads += 1
            if histories.code or jobs.code:
                self.counts.reads_without_leader += 1
                return False
            self.books.saw_histories(histories.json(), stale)
            self.books.saw_jobs(jobs.json(), stale)
        return True

    # --- the operator

    def _operate(self):
        while not self.observing.wait(1):
            status = self.cluster.run("--timeout", "500ms", "cluster", "status")
            if status.code == 0:
                self.known_leader = status.json()["leader"]
            listed = self.cluster.run("--timeout", "500ms", "agent", "list")
            if listed.code == 0:
                self._look_after(listed.json())

    def _look_after(self, agents):
        self.working = [agent["name"] for agent in agents if agent["kind"] == "media-agent" and agent["active_jobs"]]
        random.shuffle(self.working)
        for unit in {(agent.get("storage") or {}).get("unit") for agent in agents if (agent.get("storage") or {}).get("state") == "suspect"}:
            self.counts.checked += self.cluster.run("storage", "check", unit, "--wait").code == 0
        for job in [job["id"] for job in list(self.jobs.values()) if job["state"] == "held"]:
            self.counts.released += self.cluster.run("--timeout", "2s", "job", "release", job).code == 0
