#!/usr/bin/env python3
"""The validator finds every lie it is there to find, and the causes every failure without one: a world in which all is well, and one lie told about it at a time. A seed is a
sequence of faults. No cluster is needed."""

import copy
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from causes import Causes  # noqa: E402
from cluster import Ran  # noqa: E402
from faults import CLOCKS, KEEP, SET_BACK, STORAGE, WHAT, copy as copy_folder, plan  # noqa: E402
from load import KINDS, Counts  # noqa: E402
from validator import VERDICT, Books, Validator, seconds  # noqa: E402

NOON = seconds("2026-11-21T12:00:00Z")
POINT, TREE = "ab" * 32, "cd" * 32
SECOND = "ef" * 32
KNOWN = {"middle-client-1": KINDS[1], "undisturbed": KINDS[0]}


def history(job, attempt, status, code, **more):
    numbers = {"exceptions": 0, "bytes_resent": None, "bytes_carried_over": None}
    known = dict.fromkeys([*VERDICT, "failed_over_to", "resumed_from", "retry_of"]) | numbers
    times = {"started_at": f"2026-11-21T12:00:{attempt}0Z", "ended_at": f"2026-11-21T12:00:{attempt}9Z"}
    return known | times | {"id": f"{job}-{attempt}", "job": job, "attempt": attempt, "status": status, "status_code": code, "media_agent": "media-1"} | more


def line(attempt, code, second=19.5, text="attempt is over"):
    return f'2026-11-21T12:00:{second:04.1f}Z  INFO outlast_media_agent: {text} job=1 attempt={attempt} code={code}'


def well():
    """Job 1 was resumed and is successful; its media agent had been killed."""
    first = history("1", 1, "resumed", 1111, failed_over_to="1-2")
    attempts = [first, history("1", 2, "successful", 0, resumed_from="1-1", bytes_carried_over=7, bytes_resent=5)]
    item = {"path": "/source", "outcome": "done", "restore_point": POINT}
    job = {"id": "1", "kind": "backup", "policy": "middle-client-1", "state": "done", "status": "successful", "status_code": 0, "resilient": True}
    job["ended_at"] = attempts[-1]["ended_at"]
    tags = ["outlast", "job:1", "attempt:2"]
    return {
        "jobs": [job | {"waiting": None, "created_at": attempts[0]["started_at"], "items": [item], "attempts": attempts}],
        "histories": copy.deepcopy(attempts),
        "points": [{"id": POINT, "policy": "middle-client-1", "job": "1", "attempt": 2, "item": "/source"}],
        "snapshots": [{"id": POINT, "tags": tags, "tree": TREE}, {"id": SECOND, "tags": tags, "tree": TREE}],
        "check": 0,
        "log": [line(2, 0, 29.5)],
        "asked": Counts(accepted={"1": "middle-client-1"}),
        "undisturbed": {"id": "9", "status": "successful", "status_code": 0, "items": [{"path": "/source", "restore_point": SECOND}]},
    }


class World:
    """Stands for the command line, restic and the logs."""

    def __init__(self, facts):
        self.facts = facts

    def json(self, *args):
        jobs = {job["id"]: job for job in self.facts["jobs"]}
        answers = {"job list": self.facts["jobs"], "history list": self.facts["histories"], "restore-point list": self.facts["points"]}
        return copy.deepcopy(jobs[args[2]] if args[:2] == ("job", "show") else answers[" ".join(args[:2])])

    def restic(self, command, *_):
        return {"check": Ran(self.facts["check"], "", ""), "snapshots": Ran(0, json.dumps(self.facts["snapshots"]), "")}[command]

    def names(self, kind):
        return ["media-1"]

    def words(self, name):
        return self.facts["log"]


def found(facts, clocks=True):
    kinds = []
    validator = Validator(World(facts), facts["asked"], KNOWN, lambda kind, what: kinds.append(kind))
    validator.clocks_were_right = clocks
    validator.read()
    validator.validate()
    validator.undisturbed(facts["undisturbed"])
    return kinds


def both(facts, attempt, **changes):
    """Changes a history wherever it is told."""
    for listed in [facts["jobs"][0]["attempts"], facts["histories"]]:
        listed[attempt - 1].update(changes)


def end(facts, status, code, log):
    """The only attempt ended so."""
    ended = history("1", 1, status, code)
    facts["jobs"][0].update(status=status, status_code=code, attempts=[ended])
    facts.update(histories=[ended], log=log)


# What is told, and what has to be found.
LIES = {
    "an accepted job is lost": lambda f: f["asked"].accepted.update({"2": "middle-client-1"}),
    "more jobs than submissions": lambda f: f["asked"].accepted.clear(),
    "a job did not end": lambda f: f["jobs"][0].update(state="active"),
    "attempts are not numbered from 1": lambda f: f["jobs"][0]["attempts"].pop(0),
    "a job's status is not that of its last attempt": lambda f: f["jobs"][0].update(status_code=1),
    "a history without a status": lambda f: both(f, 1, status=None),
    "a status and a code that do not belong together": lambda f: both(f, 1, status_code=1110),
    "an attempt follows one that had ended": lambda f: both(f, 1, status="successful"),
    "a link between histories is missing": lambda f: both(f, 1, failed_over_to=None),
    "a link between histories is missing (back)": lambda f: both(f, 2, resumed_from=None),
    "a link to an attempt that is not there": lambda f: both(f, 2, failed_over_to="1-3"),
    "more was sent again than a checkpoint apart": lambda f: both(f, 2, bytes_resent=20 << 20),
    "a job's resilience is not that of its policy": lambda f: f["jobs"][0].update(resilient=False),
    "an exception, for which nothing in the trees gives cause": lambda f: both(f, 1, exceptions=1),
    "a successful job without its restore points": lambda f: f["points"].clear(),
    "an item names a restore point that is not its own": lambda f: f["points"][0].update(item="/other"),
    "jobs and histories differ": lambda f: f["histories"][0].update(error="another"),
    "two histories for one attempt": lambda f: f["histories"].append(f["histories"][0] | {"id": "3"}),
    "two restore points for one item of a job": lambda f: f["points"].append(f["points"][0] | {"id": SECOND}),
    "a restore point that no item names": lambda f: f["points"].append(f["points"][0] | {"id": SECOND, "item": "/no-item"}),
    "a complete attempt is recorded as something else": lambda f: end(f, "failed", 40, [line(1, 0)]),
    "a complete attempt is recorded as something else (and run again)": lambda f: f["log"].append(line(1, 0, 12.5)),
    "a history has another code than the media agent's": lambda f: f["log"].append(line(2, 41, text="attempt has failed")),
    "a media agent ended an attempt that has no history": lambda f: f["log"].append(line(4, 0)),
    "a media agent ended an attempt that has no history (and failed it)": lambda f: f["log"].append(line(3, 84, text="attempt has failed")),
    "no media agent has said anything of its attempts": lambda f: f.update(log=[line(2, 0).replace("attempt is over", "attempt ended")]),
    "the repository is not clean": lambda f: f.update(check=1),
    "a restore point without its snapshot": lambda f: f["snapshots"].pop(0),
    "a restore point whose snapshot is another attempt's": lambda f: f["points"][0].update(attempt=1),
    "restore points of one unchanged item differ": lambda f: (f["points"].append(f["points"][0] | {"id": SECOND}), f["snapshots"][1].update(tree="0")),
    "a finished job left a checkpoint": lambda f: f["snapshots"].append({"id": "c", "tags": ["outlast", "checkpoint", "job:1"], "tree": "0"}),
    "an undisturbed backup was not successful": lambda f: f["undisturbed"].update(status="failed"),
    "a restore point has another tree than an undisturbed backup": lambda f: f["snapshots"][1].update(tree="0"),
    "canceled though nobody asked for it": lambda f: f["jobs"][0].update(status="canceled"),
    "a job went on after it was canceled": lambda f: f["asked"].canceled.update({"1": [(0, NOON - 5)]}),
    "a cancel was refused though the job was not done": lambda f: f["asked"].canceled.update({"1": [(5, NOON + 1)]}),
}


class Validates(unittest.TestCase):
    def test_all_is_well(self):
        self.assertEqual(found(well()), [])

    def test_every_lie_is_found(self):
        for kind, lie in LIES.items():
            facts = well()
            lie(facts)
            with self.subTest(kind):
                self.assertIn(kind.split(" (")[0], found(facts))

    def test_it_knows_nothing_of_faults(self):
        text = (Path(__file__).parent / "validator.py").read_text()
        imports = {line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))}
        self.assertEqual(imports, {"json", "re", "time", "datetime"})

    def test_what_comes_after_the_next_attempt_has_looked_does_not_count(self):
        facts = well()
        facts["log"].append(line(1, 0, 20.5))
        self.assertEqual(found(facts), [])

    def test_words_are_read_however_the_log_is_coloured(self):
        facts = well()
        facts["log"] = [f"\x1b[2m{line(2, 41, text='attempt has failed')}\x1b[0m".replace("job=", "\x1b[3mjob\x1b[0m=")]
        self.assertIn("a history has another code than the media agent's", found(facts))

    def test_an_attempt_that_found_everything_never_was(self):
        facts = well()
        facts["log"].append(line(3, 0))
        self.assertEqual(found(facts), [])

    def test_what_its_disk_did_not_take_a_media_agent_has_not_promised(self):
        facts = well()
        failed = ' text="the media agent\'s data folder, not the storage unit, failed: the journal /x cannot be read or written"'
        facts["log"].append(line(2, 84, text="attempt has failed") + failed)
        self.assertEqual(found(facts), [])

    def test_what_primaries_lost_that_were_set_back_is_not_missed(self):
        facts = well()
        facts["asked"].accepted["2"] = "middle-client-1"
        facts["asked"].lost.add("2")
        facts["log"].append(line(1, 0).replace("job=1", "job=2"))
        self.assertEqual(found(facts), [])


class KeepsBooks(unittest.TestCase):
    def books(self):
        kinds = []
        return Books(lambda kind, what: kinds.append(kind)), kinds

    def test_a_verdict_stays_what_it_was(self):
        for kind, change in {"a history changed after it was closed": {"status_code": 40}, "two histories for one attempt": None, "a history vanished": {}}.items():
            books, kinds = self.books()
            first = history("1", 1, "successful", 0)
            books.saw_histories([first], False)
            self.assertEqual(kinds, [])
            later = [] if change == {} else [first, first | {"id": "other"}] if change is None else [first | change]
            books.saw_histories(later, False)
            self.assertEqual(kinds, [kind])

    def test_a_job_that_is_done_stays_done(self):
        books, kinds = self.books()
        done = {"id": "1", "state": "done", "status": "successful", "status_code": 0}
        books.saw_jobs([done], False)
        # A node that is behind may say what was; never anything else.
        books.saw_jobs([{"id": "1", "state": "active", "status": None, "status_code": None}], True)
        self.assertEqual(kinds, [])
        books.saw_jobs([done | {"status": "failed"}], True)
        books.saw_jobs([], False)
        self.assertEqual(kinds, ["a job changed after it was done", "a job vanished"])

    def test_what_was_known_when_primaries_were_copied_they_know(self):
        books, kinds = self.books()
        done = lambda id: {"id": id, "state": "done", "status": "successful", "status_code": 0}
        books.saw_jobs([done("1")], False)
        mark = books.mark()
        books.saw_jobs([done("1"), done("2")], False)
        books.set_back(mark)
        books.saw_jobs([done("1")], False)
        self.assertEqual(kinds, [])
        books.saw_jobs([], False)
        self.assertEqual(kinds, ["a job vanished"])


def fault(kind, how, begin, end):
    return {"kind": kind, "name": f"{kind}-1", "how": how, "begin": begin, "end": end}


def causes(status, code, faults, marked=False, attempt=1):
    """What is found of a job whose only attempt was there from 100 to 110."""
    kinds = []
    looked = Causes(faults, {("1", attempt): 110.0}, {"1": 100.0}, 2, lambda kind, what: kinds.append(kind))
    job = {"id": "1", "kind": "backup", "policy": "p", "attempts": [history("1", attempt, status, code)]}
    looked.look(job, lambda id: marked)
    return kinds


class FindsCauses(unittest.TestCase):
    def test_failures_without_a_fault_that_can_have_done_it_are_found(self):
        killed = lambda kind, begin=101.0, end=103.0: [fault(kind, "kill", begin, end)]
        primaries = lambda lasts: [fault("primary", "kill", 101.0, 101.0 + lasts)] * 3
        rows = [
            ("successful", 0, [], False, []),
            ("canceled", 150, [], False, []),
            ("failed", 40, [], False, ["failed without a fault"]),
            ("failed", 50, killed("client-agent"), True, []),
            ("failed", 50, killed("client-agent", 20.0, 30.0), True, ["failed without a fault"]),
            ("failed", 50, killed("media-agent"), True, ["failed of what did not happen"]),
            ("failed", 84, killed("client-agent"), True, ["failed of what did not happen"]),
            ("failed", 84, [fault("storage", "full", 90.0, 101.0)], True, []),
            ("failed", 129, [fault("storage", "read-only", 109.0, 120.0)], True, []),
            ("failed", 13, killed("client-agent"), True, ["failed of what did not happen"]),
            ("failed", 40, primaries(30), True, ["a resilient attempt failed though nothing happened to its agents"]),
            ("failed", 40, primaries(30), False, []),
            ("failed", 40, [fault("primary", "kill", 101.0, 130.0)], False, ["failed of an outage shorter than disruption_grace"]),
            ("resumed", 1111, killed("media-agent"), True, []),
            ("resumed", 1111, primaries(30), True, ["handed on without a fault of an agent or of the storage"]),
            ("failed_over", 1110, [], True, ["handed on without a fault of an agent or of the storage"]),
            ("completed_with_exceptions", 1, killed("media-agent"), True, ["a status without a cause"]),
        ]
        for status, code, faults, marked, expected in rows:
            with self.subTest(status=status, code=code, faults=faults, marked=marked):
                self.assertEqual(causes(status, code, faults, marked), expected)


class Plans(unittest.TestCase):
    def test_a_seed_is_a_sequence_of_faults(self):
        self.assertEqual(plan(7, 300), plan(7, 300))
        self.assertNotEqual(plan(7, 300), plan(8, 300))
        self.assertEqual(len(plan(7, 300, 5)), 5)

    def test_a_long_plan_has_every_fault_and_no_two_at_once_of_one_kind(self):
        planned = plan(1, 4000)
        self.assertGreater(len(planned), 1000)
        for kind, what in WHAT.items():
            ones = [one for one in planned if one.kind == kind]
            self.assertEqual({one.what for one in ones}, set(what))
            for one, later in zip(ones, ones[1:]):
                self.assertLess(one.at + one.lasts, later.at)
        whole = [one for one in planned if one.kind == "everything"]
        self.assertLess([one.what for one in whole].index(KEEP), [one.what for one in whole].index(SET_BACK))
        for one in whole:
            self.assertFalse([other for other in planned if other is not one and other.at < one.at < other.at + other.lasts])
        self.assertEqual(len({int(one.choice * len(CLOCKS)) for one in planned if one.what == "clock"}), len(CLOCKS))
        self.assertIn(STORAGE, {one.kind for one in planned})

    def test_the_plan_is_printed_without_a_cluster(self):
        run = Path(__file__).parent / "run.py"
        ran = subprocess.run([sys.executable, str(run), "--plan", "--seed", "3", "--seconds", "60"], capture_output=True, text=True)
        self.assertEqual(ran.returncode, 0, ran.stderr)
        self.assertEqual(len(ran.stdout.splitlines()), len(plan(3, 60)))

    def test_a_folder_becomes_as_the_other_was(self):
        with tempfile.TemporaryDirectory() as folder:
            one, two = Path(folder) / "one", Path(folder) / "two"
            (one / "deep").mkdir(parents=True)
            (one / "deep" / "file").write_text("kept")
            copy_folder(one, two)
            (one / "deep" / "file").write_text("later")
            (one / "more").write_text("later")
            copy_folder(two, one)
            self.assertEqual((one / "deep" / "file").read_text(), "kept")
            self.assertFalse((one / "more").exists())


if __name__ == "__main__":
    unittest.main()
