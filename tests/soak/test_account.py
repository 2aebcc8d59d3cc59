#!/usr/bin/env python3
"""The account finds every lie it is there to find: a world in which all is well, and one lie told about it at a time. No cluster is needed."""

import copy
import json
import random
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from account import Account  # noqa: E402
from cluster import Ran  # noqa: E402
from faults import Fault  # noqa: E402
from load import KINDS, VERDICT, Counts, Load  # noqa: E402

NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z
POINT = "ab" * 32


def history(job, attempt, status, code, **more):
    known = dict.fromkeys([*VERDICT, "failed_over_to", "resumed_from", "retry_of"])
    times = {"started_at": "2026-11-21T12:00:00Z", "ended_at": "2026-11-21T12:00:10Z"}
    return known | times | {"id": f"{job}-{attempt}", "job": job, "attempt": attempt, "status": status, "status_code": code, "media_agent": "media-1"} | more


def well():
    """Job 1 was failed over and is successful; its media agent had been killed."""
    attempts = [history("1", 1, "failed_over", 1110, failed_over_to="1-2"), history("1", 2, "successful", 0)]
    item = {"path": "/source", "outcome": "done", "restore_point": POINT}
    job = {"id": "1", "kind": "backup", "policy": "small-client-1", "state": "done", "status": "successful", "status_code": 0, "resilient": True}
    job["ended_at"] = attempts[-1]["ended_at"]
    return {
        "jobs": [job | {"waiting": None, "created_at": attempts[0]["started_at"], "items": [item], "attempts": attempts}],
        "histories": copy.deepcopy(attempts),
        "points": [{"id": POINT, "job": "1", "item": "/source"}],
        "snapshots": [{"id": POINT, "tags": ["outlast", "job:1"]}],
        "check": 0,
        "log": "2026-11-21T12:00:09.5Z  INFO attempt is over job=1 attempt=2 ending=Ended(Done { code: StatusCode(0), text: \"\" })\n",
        "accepted": {"1": "small-client-1"},
        "canceled": {},
        "details": [{"time": "2026-11-21T12:00:01Z", "text": "job is resilient"}],
        "faults": [Fault("media-agent", "media-1", "kill", NOON + 1, NOON + 3)],
    }


class World:
    """Stands for the cluster, the faults and the folder of the soak."""

    def __init__(self, facts, folder):
        self.facts, self.folder = facts, folder / "cluster"
        self.log, self.happened = folder / "log", facts["faults"]
        self.log.write_text(facts["log"])

    def json(self, *args):
        jobs = {job["id"]: job for job in self.facts["jobs"]}
        answers = {"job list": self.facts["jobs"], "history list": self.facts["histories"], "restore-point list": self.facts["points"], "job details": self.facts["details"]}
        return copy.deepcopy(jobs[args[2]] if args[:2] == ("job", "show") else answers[" ".join(args[:2])])

    def restic(self, command, *_):
        return {"check": Ran(self.facts["check"], "", ""), "snapshots": Ran(0, json.dumps(self.facts["snapshots"]), ""), "restore": Ran(1, "", "no such file")}[command]

    def names(self, kind):
        return ["media-1"]

    def __getitem__(self, name):
        return self

    def overlapping(self, begin, end, slack):
        return [fault for fault in self.happened if fault.begin <= end and fault.end + slack >= begin]


class Asked:
    policies = {"small-client-1": (KINDS[0], "client-1")}

    def __init__(self, facts):
        self.counts = Counts(accepted=facts["accepted"], canceled=facts["canceled"])


def found(facts, sample=0):
    kinds = []
    with tempfile.TemporaryDirectory() as folder:
        world = World(facts, Path(folder))
        Account(world, Asked(facts), world, 6, lambda kind, what: kinds.append(kind)).make(random.Random(1), sample)
    return kinds


def fail(facts, code):
    """The only attempt failed."""
    ended = history("1", 1, "failed", code)
    facts["jobs"][0].update(status="failed", status_code=code, attempts=[ended])
    facts.update(histories=[ended], log="")


def primaries(facts, lasted):
    facts["faults"] = [Fault("primary", f"primary-{n}", "kill", NOON + 1, NOON + 1 + lasted) for n in (1, 2, 3)]


# What is told, and what has to be found.
LIES = {
    "an accepted job is lost": lambda f: f["accepted"].update({"2": "small-client-1"}),
    "more jobs than submissions": lambda f: f["accepted"].clear(),
    "a job is still not done": lambda f: f["jobs"][0].update(state="active"),
    "attempts are not numbered from 1": lambda f: f["jobs"][0]["attempts"].pop(0),
    "a job's status is not that of its last attempt": lambda f: f["jobs"][0].update(status_code=1),
    "an attempt follows one that had ended": lambda f: f["jobs"][0]["attempts"][0].update(status="successful"),
    "a link between histories is missing": lambda f: f["jobs"][0]["attempts"][0].update(failed_over_to=None),
    "a job's resilience is not that of its policy": lambda f: f["jobs"][0].update(resilient=False),
    "a successful job without its restore points": lambda f: f["points"].clear(),
    "an item names a restore point that is not its own": lambda f: f["points"][0].update(item="/other"),
    "failed over without a fault of a media agent": lambda f: f["faults"].clear(),
    "failed without a fault": lambda f: (fail(f, 40), f["faults"].clear()),
    "a resilient attempt failed though its client was not killed": lambda f: (fail(f, 40), primaries(f, 30)),
    "failed of an outage shorter than disruption_grace": lambda f: (fail(f, 40), primaries(f, 0.2), f["details"].clear()),
    "jobs and histories differ": lambda f: f["histories"][0].update(error="another"),
    "two histories for one attempt": lambda f: f["histories"].append(f["histories"][0] | {"id": "3"}),
    "a complete attempt is recorded as something else": lambda f: fail(f, 40) or f.update(log=f_log(1, 0)),
    "a history has another code than the media agent's": lambda f: f.update(log=f_log(2, 41)),
    "a media agent ended an attempt that has no history": lambda f: f.update(log=f_log(3, 0)),
    "the repository is not clean": lambda f: f.update(check=1),
    "a restore point without its snapshot": lambda f: f["snapshots"].clear(),
    "a finished job left a checkpoint": lambda f: f["snapshots"].append({"id": "c", "tags": ["outlast", "checkpoint", "job:1"]}),
    "canceled though nobody asked for it": lambda f: f["jobs"][0].update(status="canceled"),
    "a job went on after it was canceled": lambda f: f["canceled"].update({"1": [(0, NOON - 5)]}),
    "a cancel was refused though the job was not done": lambda f: f["canceled"].update({"1": [(5, NOON + 1)]}),
    "a status without a cause": lambda f: (fail(f, 1), f["jobs"][0]["attempts"][0].update(status="completed_with_exceptions")),
}


def f_log(attempt, code):
    return f'2026-11-21T12:00:09.5Z  INFO attempt is over job=1 attempt={attempt} ending=Ended(Done {{ code: StatusCode({code}), text: "" }})\n'


class Accounts(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual(found(well()), [])

    def test_every_lie_is_found(self):
        for kind, lie in LIES.items():
            facts = well()
            lie(facts)
            with self.subTest(kind):
                self.assertIn(kind, found(facts))

    def test_failures_with_a_cause_are_none(self):
        facts = well()
        fail(facts, 50)
        facts["faults"] = [Fault("client-agent", "client-1", "kill", NOON + 1, NOON + 3)]
        self.assertEqual(found(facts), [])
        facts["faults"] = [Fault("client-agent", "client-1", "pause", NOON + 1, NOON + 3)]
        self.assertEqual(found(facts), ["a resilient attempt failed though its client was not killed"])
        fail(facts, 40)
        primaries(facts, 9)
        facts["details"].clear()
        self.assertEqual(found(facts), [])

    def test_a_point_that_does_not_restore_is_found(self):
        self.assertIn("a restore point is not what the source is", found(well(), sample=1))


class Observers(unittest.TestCase):
    def load(self):
        kinds = []
        load = Load.__new__(Load)
        load.jobs, load.verdicts, load.contradict = {}, {}, lambda kind, what: kinds.append(kind)
        return load, kinds

    def test_a_verdict_stays_what_it_was(self):
        for kind, change in {"a history changed after it was closed": {"status_code": 40}, "two histories for one attempt": None, "a history vanished": {}}.items():
            load, kinds = self.load()
            first = history("1", 1, "successful", 0)
            load._compare_histories([first], False)
            self.assertEqual(kinds, [])
            later = [] if change == {} else [first, first | {"id": "other"}] if change is None else [first | change]
            load._compare_histories(later, False)
            self.assertEqual(kinds, [kind])

    def test_a_job_that_is_done_stays_done(self):
        load, kinds = self.load()
        done = {"id": "1", "state": "done", "status": "successful", "status_code": 0}
        load._compare_jobs([done], False)
        # A node that is behind may say what was; never anything else.
        load._compare_jobs([{"id": "1", "state": "active", "status": None, "status_code": None}], True)
        self.assertEqual(kinds, [])
        load._compare_jobs([done | {"status": "failed"}], True)
        load._compare_jobs([], False)
        self.assertEqual(kinds, ["a job changed after it was done", "a job vanished"])


if __name__ == "__main__":
    unittest.main()
