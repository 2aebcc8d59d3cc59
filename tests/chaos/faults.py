"""What goes wrong in a run, and when. The plan comes out of the seed alone, before anything has started: the same seed is the same sequence of faults, at the same
times after the start. Who "the leader" or "the media agent at work" is shows itself when it happens. What happened is kept, by the clock of this machine: tests/chaos/causes.py
asks whether an end has a cause. Started by tests/chaos/run.py."""

import os
import random
import shutil
import threading
import time
from dataclasses import asdict, dataclass, field

from hosts import STORAGE

# Weights are how often they stand here.
PROCESS = ["kill", "kill", "freeze"]
NETWORK = ["cut", "mute", "deaf"]
DISK = ["full", "read-only", "power"]
WHAT = {
    "primary": [*PROCESS, *PROCESS, *NETWORK, *DISK, "clock"],
    "media-agent": [*PROCESS, *PROCESS, *NETWORK, "cut from primaries", "cut from clients", *DISK, "clock"],
    "client-agent": [*PROCESS, *NETWORK, "cut from primaries", "full", "power", "clock"],
    STORAGE: ["full", "read-only"],
}
WHO = {
    "primary": ["leader", "leader", "one", "two", "all"],
    "media-agent": ["at work", "at work", "one", "all"],
    "client-agent": ["one", "one", "all"],
    STORAGE: ["storage"],
}
# Seconds between the faults of one kind of process, and how long they last: many a media agent is away for longer than `failover_after`.
GAPS = {"primary": (1, 8), "media-agent": (0.5, 6), "client-agent": (4, 16), STORAGE: (15, 40)}
LASTS = {
    "primary": [(0.1, 2), (0.1, 2), (2, 8), (8, 18)],
    "media-agent": [(0.1, 2), (2, 8), (10, 20), (10, 20)],
    "client-agent": [(0.1, 2), (2, 8), (8, 25)],
    STORAGE: [(0.5, 3), (3, 8)],
}
# Wrong clocks, in seconds.
CLOCKS = [-3000, -400, -45, 45, 400, 3000]
# What happens to all at once: nothing else does meanwhile.
POWER_OF_ALL, KEEP, SET_BACK = "power of all", "copies are kept", "set back"


@dataclass(frozen=True)
class Planned:
    at: float
    lasts: float
    kind: str
    what: str
    who: str = "all"
    choice: float = 0.0

    def __str__(self):
        return f"{self.at:7.2f} s: {self.kind}: {self.what}, {self.who}, for {self.lasts:.1f} s"


def plan(seed, seconds, most=None):
    """All faults of a run in the order of their times; `most` of them at most."""
    whole = _of_all(random.Random(f"{seed} all"), seconds)
    planned = list(whole)
    for kind in WHAT:
        rng = random.Random(f"{seed} {kind}")
        at = rng.uniform(*GAPS[kind]) / 2
        while at < seconds:
            lasts = rng.uniform(*rng.choice(LASTS[kind]))
            one = Planned(round(at, 2), round(lasts, 2), kind, rng.choice(WHAT[kind]), rng.choice(WHO[kind]), rng.random())
            if all(at + lasts < other.at or at > other.at + other.lasts for other in whole):
                planned.append(one)
            at += lasts + rng.uniform(*GAPS[kind])
    return sorted(planned, key=lambda one: one.at)[:most]


def _of_all(rng, seconds):
    """A cut of everybody's power each minute or two; in between the primaries are copied and set back to that copy once in each five minutes."""
    planned, at, round_ = [], rng.uniform(40, 70), 0
    while at < seconds:
        what = [POWER_OF_ALL, KEEP, SET_BACK, POWER_OF_ALL][round_ % 4]
        planned.append(Planned(round(at, 2), round(rng.uniform(0.1, 4), 2), "everything", what))
        at += rng.uniform(25, 40) if seconds <= 300 else rng.uniform(50, 90)
        round_ += 1
    return planned


@dataclass
class Fault:
    """One host away from `begin` to `end` (of the wall clock; none while it lasts)."""

    kind: str
    name: str
    how: str
    begin: float
    end: float = field(default=float("inf"))


class Faults:
    """Carries the plan out, and watches for processes that end without being told to."""

    def __init__(self, cluster, hosts, planned, load, contradict):
        self.cluster, self.hosts, self.planned, self.load, self.contradict = cluster, hosts, planned, load, contradict
        self.over = threading.Event()
        self.happened, self.away, self.ended_on_bad_disks = [], set(), 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._guarded, args=(self._run,)), threading.Thread(target=self._guarded, args=(self._watch,))]
        self.kept = None

    def _guarded(self, work):
        try:
            work()
        except Exception as error:
            self.contradict("a thread of the harness itself failed", f"{work.__name__}: {error!r}")
            raise

    def start(self):
        self.begun = time.monotonic()
        for thread in self.threads:
            thread.start()

    def wait(self):
        """Until the whole plan was carried out; everything is back then, or soon."""
        self.threads[0].join()

    def stop(self):
        """Nobody looks after those that end by themselves any more."""
        self.over.set()
        self.threads[1].join()

    def records(self):
        return [asdict(fault) for fault in self.happened]

    def _run(self):
        open_ones = []
        for one in self.planned:
            self._end_until(open_ones, self.begun + one.at)
            if one.kind == "everything":
                self._end_until(open_ones, float("inf"))
                since = time.monotonic()
                self._to_all(one)
                self.begun += time.monotonic() - since
            else:
                # The next one of this kind begins later than that, however late this one begins.
                open_ones.append((self.begun + one.at + one.lasts, one, self._begin(one)))
        self._end_until(open_ones, float("inf"))

    def _end_until(self, open_ones, until):
        """Ends what is to end before that; waits for each, and at last for that."""
        while open_ones and min(open_ones, key=lambda entry: entry[0])[0] <= until:
            entry = min(open_ones, key=lambda entry: entry[0])
            open_ones.remove(entry)
            time.sleep(max(0.0, entry[0] - time.monotonic()))
            self._end(*entry[1:])
        if until != float("inf"):
            time.sleep(max(0.0, until - time.monotonic()))

    # --- one, two or all of a kind

    def _who(self, one):
        if one.kind == STORAGE:
            return [STORAGE]
        names = self.cluster.names(one.kind)
        first = int(one.choice * len(names))
        if one.who == "all":
            return names
        if one.who == "two":
            return [names[first], names[(first + 1) % len(names)]]
        found = self.load.leader() if one.who == "leader" else self.load.at_work() if one.who == "at work" else None
        return [found if found in names else names[first]]

    def _others(self, name, kinds=("primary", "media-agent", "client-agent")):
        return [other for kind in kinds for other in self.cluster.names(kind) if other != name]

    def _pairs(self, what, name):
        """Of hosts; what the first sends to the second is lost."""
        everybody = [*self._others(name), "operator"]
        both = lambda others: [pair for other in others for pair in ((name, other), (other, name))]
        return {
            "mute": [(name, other) for other in everybody],
            "deaf": [(other, name) for other in everybody],
            "cut from primaries": both(self._others(name, ["primary"])),
            "cut from clients": both(self._others(name, ["client-agent"])),
        }[what]

    def _begin(self, one):
        faults = []
        for name in self._who(one):
            with self.lock:
                fault = Fault(one.kind, name, one.what, time.time())
                self.happened.append(fault)
                faults.append(fault)
                if one.what in ["kill", "power", "freeze"]:
                    self.away.add(name)
            self._do(one, name)
        return faults

    def _do(self, one, name):
        what = one.what
        if what == "kill":
            self.cluster[name].kill()
        elif what == "freeze":
            # One that ended by itself has been told of; here it only comes back.
            if self.cluster[name].is_running():
                self.cluster[name].pause()
        elif what == "power":
            self._lose_power([name])
        elif what in ["full", "read-only"]:
            self.hosts.disk(what, name)
        elif what == "clock":
            self.hosts.set_clock(name, CLOCKS[int(one.choice * len(CLOCKS))])
        elif what == "cut":
            self.hosts.unplug(name)
        else:
            self.hosts.sever(self._pairs(what, name))

    def _end(self, one, faults):
        for fault in faults:
            self._undo(one.what, fault.name)
            with self.lock:
                fault.end = time.time()
                self.away.discard(fault.name)

    def _undo(self, what, name):
        if what in ["kill", "freeze", "power"]:
            process = self.cluster[name]
            if what == "power":
                self.hosts.disk("return", name)
            if process.paused:
                process.go_on()
            elif not process.is_running():
                process.start()
        elif what in ["full", "read-only"]:
            self.hosts.disk("sound", name)
        elif what == "clock":
            self.hosts.set_clock(name, 0)
        elif what == "cut":
            self.hosts.plug(name)
        else:
            self.hosts.join(self._pairs(what, name))

    # --- all

    def _to_all(self, one):
        what = one.what if one.what != SET_BACK or self.kept else KEEP
        names = list(self.cluster.processes) if what == POWER_OF_ALL else self.cluster.names("primary")
        with self.load.reading:
            with self.lock:
                self.away.update(names)
                faults = [Fault(self.cluster[name].kind, name, what, time.time()) for name in names]
                self.happened += faults
            if what == POWER_OF_ALL:
                self._lose_power(names, [STORAGE])
            for name in names:
                self.cluster[name].kill()
            if what == POWER_OF_ALL:
                for name in [*names, STORAGE]:
                    self.hosts.disk("return", name)
            elif what == KEEP:
                self._copy(names)
                self.kept = self.load.mark()
            else:
                self._copy_back(names)
                self.load.set_back(self.kept)
        time.sleep(one.lasts)
        for fault in faults:
            self._undo("kill", fault.name)
            with self.lock:
                fault.end = time.time()
                self.away.discard(fault.name)

    def _lose_power(self, names, disks=()):
        """Nobody lives to see an error of a disk whose power went."""
        for name in names:
            if self.cluster[name].is_running():
                self.cluster[name].pause()
        for name in [*names, *disks]:
            self.hosts.disk("cut", name)
        for name in names:
            self.cluster[name].kill()

    def _copy(self, names):
        for name in names:
            copy(self.hosts.state(name), self.cluster.folder / "kept" / name)

    def _copy_back(self, names):
        for name in names:
            copy(self.cluster.folder / "kept" / name, self.hosts.state(name))

    # --- those that end by themselves

    def _watch(self):
        while not self.over.wait(1):
            with self.lock:
                gone = [p for p in self.cluster.processes.values() if p.name not in self.away and not p.is_running()]
                bad = {fault.name for fault in self.happened if fault.how in ["full", "read-only"] and fault.end + 5 > time.time()}
                for process in gone:
                    # A daemon that lost a part it needs ends; somebody starts it again.
                    if process.name in bad:
                        self.ended_on_bad_disks += 1
                    else:
                        tail = self.cluster.words(process.name)[-3:]
                        self.contradict("a process ended by itself", f"{process.name}: {' / '.join(tail)}")
                    process.start()


def copy(source, target):
    """A folder as another, which goes; on its disk when this returns."""
    target.mkdir(parents=True, exist_ok=True)
    for entry in target.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    shutil.copytree(source, target, dirs_exist_ok=True)
    for folder, _, files in os.walk(target):
        for path in [folder, *(os.path.join(folder, name) for name in files)]:
            opened = os.open(path, os.O_RDONLY)
            os.fsync(opened)
            os.close(opened)
