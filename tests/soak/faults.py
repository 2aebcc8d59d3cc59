"""Faults at random times: processes are killed with -9 or stood still, and come back. Two tracks, one for primaries and one for agents, so that
both happen at once. What happened when is kept: tests/soak/account.py asks whether a failure has a cause. Started by tests/soak/run.py."""

import random
import threading
import time
from dataclasses import dataclass, field

KILL, PAUSE = "kill", "pause"


@dataclass
class Fault:
    """One process away from `begin` to `end` (of the wall clock; none while it lasts)."""

    kind: str
    name: str
    how: str
    begin: float
    end: float = field(default=float("inf"))


def primaries_of(rng, cluster):
    return rng.sample(cluster.names("primary"), rng.choice([1, 1, 2, 3, 3]))


def agents_of(rng, cluster):
    media, clients = cluster.names("media-agent"), cluster.names("client-agent")
    return rng.choice([[rng.choice(media)], [rng.choice(media)], media, [rng.choice(clients)], [rng.choice(clients)], clients, media + clients])


class Faults:
    """Both tracks, and a watch for processes that end without being told to."""

    def __init__(self, cluster, seed, contradict):
        self.cluster, self.contradict = cluster, contradict
        self.over = threading.Event()
        self.happened, self.away = [], set()
        self.lock = threading.Lock()
        tracks = [(primaries_of, (0.3, 7.0), "primaries"), (agents_of, (0.3, 9.0), "agents")]
        self.threads = [threading.Thread(target=self._track, args=(random.Random(f"{seed} {name}"), choose, gap)) for choose, gap, name in tracks]
        self.threads.append(threading.Thread(target=self._watch))

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        """No more faults; everything is back afterwards."""
        self.over.set()
        for thread in self.threads:
            thread.join()

    def overlapping(self, begin, end, slack):
        """Faults that lasted at some time between `begin` and `end`, or had just ended."""
        return [fault for fault in self.happened if fault.begin <= end and fault.end + slack >= begin]

    def _track(self, rng, choose, gap):
        while not self.over.wait(rng.uniform(*gap)):
            names, how = choose(rng, self.cluster), rng.choice([KILL, KILL, PAUSE])
            lasts = rng.uniform(*rng.choice([(0.1, 2), (0.1, 2), (2, 8), (8, 18)]))
            apart = [rng.uniform(0, 0.5) for _ in names]
            faults = [self._begin(name, how) for name in names]
            self.over.wait(lasts)
            for fault, seconds in zip(faults, apart):
                self.over.wait(seconds)
                self._end(fault)

    def _begin(self, name, how):
        process = self.cluster[name]
        with self.lock:
            self.away.add(name)
            fault = Fault(process.kind, name, how, time.time())
            self.happened.append(fault)
        # One that ended by itself has been told of; here it only comes back.
        if how == KILL or not process.is_running():
            process.kill()
        else:
            process.pause()
        return fault

    def _end(self, fault):
        process = self.cluster[fault.name]
        if process.paused:
            process.go_on()
        else:
            process.start()
        with self.lock:
            fault.end = time.time()
            self.away.discard(fault.name)

    def _watch(self):
        while not self.over.wait(0.3):
            with self.lock:
                gone = [p for p in self.cluster.processes.values() if p.name not in self.away and not p.is_running()]
            for process in gone:
                tail = process.log.read_text(errors="replace").splitlines()[-3:]
                self.contradict("a process ended by itself", f"{process.name}: {' / '.join(tail)}")
                process.start()
