"""Accounts for everything after the soak, when all is healed: jobs and histories (S-12, S-13, S-01), the cause of each failure (R-03, R-04, F-09, F-16),
restore points and the repository (S-14), the media agents' own words (R-05).
Called by tests/soak/run.py."""

import json
import re
import sys
from datetime import datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from compare import differences  # noqa: E402
from faults import KILL, PAUSE  # noqa: E402
from load import REFUSED  # noqa: E402

# What a fault may still do after it is over: streams that come back, sessions that meet.
SLACK = 5.0
# Elections, and agents that look for the leader.
RETURN = 2.0
# So many interrupted attempts end a job (docs/adr/0003).
FAILOVERS = 5
GOOD = ["successful", "failed_over", "resumed"]
# A media agent's last word on an attempt that it ended with a result.
OVER = re.compile(r"attempt is over.*?ending=Ended\(Done \{ code: StatusCode\((\d+)\)")
LABEL = re.compile(r"\b(job|attempt)=(\d+)")


def seconds(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


class Account:
    """The books of one soak."""

    def __init__(self, cluster, load, faults, grace, contradict):
        self.cluster, self.load, self.faults, self.grace, self.contradict = cluster, load, faults, grace, contradict
        self.rows = {}

    def count(self, row, by=1):
        self.rows[row] = self.rows.get(row, 0) + by

    def make(self, rng, sample):
        listed = self.cluster.json("job", "list", "--limit", "100000")
        self.jobs = {job["id"]: job for job in (self.cluster.json("job", "show", job["id"]) for job in listed)}
        self.histories = self.cluster.json("history", "list", "--limit", "100000")
        self.points = {point["id"]: point for point in self.cluster.json("restore-point", "list")}
        self._submissions()
        for job in self.jobs.values():
            self._job(job)
        self._histories()
        self._media_agents_agree()
        self._repository(rng, sample)

    # --- what was asked for

    def _submissions(self):
        accepted, unknown = self.load.counts.accepted, self.load.counts.unknown
        for id in set(accepted) - set(self.jobs):
            self.contradict("an accepted job is lost", f"{id} of {accepted[id]}")
        surplus = {}
        for job in self.jobs.values():
            policy = "restore" if job["kind"] == "restore" else job["policy"]
            if job["id"] not in accepted:
                surplus[policy] = surplus.get(policy, 0) + 1
        for policy, number in surplus.items():
            if number > unknown.get(policy, 0):
                self.contradict("more jobs than submissions", f"{policy}: {number} nobody knows of, {unknown.get(policy, 0)} submissions without an answer")
        self.count("submissions: accepted", len(accepted))
        self.count("submissions: without an answer, no leader", sum(unknown.values()))
        self.count("submissions: without an answer, made a job all the same", sum(surplus.values()))

    # --- jobs

    def _job(self, job):
        self.count(f"jobs: {job['kind']}s, {job['status'] if job['state'] == 'done' else job['state']}")
        if job["state"] != "done":
            self.contradict("a job is still not done", f"{job['id']}: {job['state']}, waiting {job['waiting']}")
            return
        attempts = job["attempts"]
        numbers = [attempt["attempt"] for attempt in attempts]
        if numbers not in (list(range(1, len(attempts) + 1)), [0]):
            self.contradict("attempts are not numbered from 1", f"{job['id']}: {numbers}")
            return
        self._canceled(job)
        last = (attempts[-1]["status"], attempts[-1]["status_code"])
        # One that was canceled while it waited to go on has no attempt of its own for that.
        if last != (job["status"], job["status_code"]) and (last[0], job["status"]) not in [("failed_over", "canceled"), ("resumed", "canceled")]:
            self.contradict("a job's status is not that of its last attempt", f"{job['id']}: {job['status']} {job['status_code']} and {last}")
        for attempt, follower in zip(attempts, attempts[1:]):
            if attempt["status"] not in ["failed_over", "resumed", "failed"]:
                self.contradict("an attempt follows one that had ended", f"{job['id']}: {attempt['status']}")
            if attempt["status"] == "failed_over" and attempt["failed_over_to"] != follower["id"]:
                self.contradict("a link between histories is missing", f"{job['id']} attempt {attempt['attempt']}")
        for attempt in attempts:
            self._cause(job, attempt)
            self._outlasted(attempt)
        if job["kind"] == "backup":
            self._backup(job)

    def _canceled(self, job):
        """X-09, F-11: canceled only by somebody; and what is canceled does not go on."""
        answers = self.load.counts.canceled.get(job["id"], [])
        if job["status"] == "canceled" and not any(code != REFUSED for code, _ in answers):
            self.contradict("canceled though nobody asked for it", job["id"])
        for code, time in answers:
            self.count(f"cancels: {({0: 'accepted', REFUSED: 'refused, for the job was done'}).get(code, 'without an answer, no leader')}")
            if code == 0 and any(seconds(attempt["started_at"] or job["created_at"]) > time + 0.5 for attempt in job["attempts"]):
                self.contradict("a job went on after it was canceled", f"{job['id']} at {time}: {job['attempts']}")
            if code == REFUSED and seconds(job["ended_at"]) > time:
                self.contradict("a cancel was refused though the job was not done", job["id"])

    def _backup(self, job):
        kind, _ = self.load.policies[job["policy"]]
        if job["resilient"] is not kind.resilient and not (job["resilient"] is None and job["attempts"][-1]["attempt"] == 0):
            self.contradict("a job's resilience is not that of its policy", f"{job['id']}: {job['resilient']}")
        for item in job["items"]:
            point = self.points.get(item["restore_point"])
            if job["status"] == "successful" and (item["outcome"] != "done" or point is None):
                self.contradict("a successful job without its restore points", f"{job['id']}: {item}")
            if item["restore_point"] and (point is None or point["job"] != job["id"] or point["item"] != item["path"]):
                self.contradict("an item names a restore point that is not its own", f"{job['id']}: {item}: {point}")

    def _cause(self, job, attempt):
        """An attempt that did not succeed needs a fault that can have caused it."""
        if attempt["status"] == "successful":
            return
        if attempt["status"] == "canceled":
            self.count(f"attempts: canceled with {attempt['status_code']}")
            return
        begin = seconds(attempt["started_at"] or job["created_at"])
        found = self.faults.overlapping(begin, seconds(attempt["ended_at"]), SLACK)
        kinds = "+".join(sorted({f"{fault.kind} {fault.how}" for fault in found}))
        what = f"job {job['id']} ({job['policy'] or job['kind']}) attempt {attempt['attempt']}: {attempt['status']} {attempt['status_code']}: {attempt['error']} ({kinds})"
        self.count(f"attempts: {attempt['status']} with {attempt['status_code']}")
        if attempt["status"] in ["failed_over", "resumed"]:
            if not any(fault.kind == "media-agent" for fault in found):
                self.contradict("failed over without a fault of a media agent", what)
        elif attempt["status"] != "failed":
            self.contradict("a status without a cause", what)
        elif not found:
            self.contradict("failed without a fault", what)
        elif attempt["attempt"] >= FAILOVERS or any((fault.kind, fault.how) == ("client-agent", KILL) for fault in found):
            return
        elif self._is_marked(job, attempt):
            self.contradict("a resilient attempt failed though its client was not killed", what)
        elif self._outage(begin, seconds(attempt["ended_at"])) < self.grace:
            self.contradict("failed of an outage shorter than disruption_grace", what)

    def _is_marked(self, job, attempt):
        lines = [line for line in self.cluster.json("job", "details", job["id"]) if line["text"] == "job is resilient"]
        return any(seconds(line["time"]) <= seconds(attempt["ended_at"]) for line in lines)

    def _outage(self, begin, end):
        """The longest time of this span in which media agents may have had no primary: no majority of them, or themselves stood still."""
        spans = self._outages(RETURN, [("media-agent", PAUSE)])
        return max((to - since for since, to in spans if since <= end and to >= begin), default=0.0)

    def _outages(self, extra, also=()):
        """Spans in which no majority of primaries was there, or something else of `also`; each fault lasts `extra` longer."""
        edges = []
        for fault in self.faults.happened:
            weight = 1 if fault.kind == "primary" else 2 if (fault.kind, fault.how) in also else 0
            edges += [(fault.begin, weight), (fault.end + extra, -weight)]
        spans, away, since = [], 0, 0.0
        for time, change in sorted(edges):
            if away < 2 <= away + change:
                since = time
            elif away >= 2 > away + change:
                spans.append((since, time))
            away += change
        return spans

    def _outlasted(self, attempt):
        """Attempts that ended with a result although the primaries went away meanwhile: that is what it is all about (R-04, R-05)."""
        if attempt["status"] == "successful" and attempt["started_at"]:
            begin, end = seconds(attempt["started_at"]), seconds(attempt["ended_at"])
            self.count("attempts: successful, without a majority of primaries for a time", any(begin < since < end for since, _ in self._outages(0.0)))

    # --- histories

    def _histories(self):
        of_jobs = {attempt["id"]: attempt for job in self.jobs.values() for attempt in job["attempts"]}
        listed = {history["id"]: history for history in self.histories}
        for id in set(of_jobs) ^ set(listed):
            self.contradict("jobs and histories differ", id)
        keys = [(history["job"], history["attempt"]) for history in self.histories]
        for key in {key for key in keys if keys.count(key) > 1}:
            self.contradict("two histories for one attempt", str(key))
        for id, history in listed.items():
            self.count(f"histories: {history['status']}")
            if id in of_jobs and of_jobs[id] != history:
                self.contradict("jobs and histories differ", f"{id}: {of_jobs[id]} and {history}")

    def _media_agents_agree(self):
        """What a media agent said when an attempt was over is what the history says, if its last word was a result."""
        verdicts = {(history["job"], str(history["attempt"])): history for history in self.histories}
        for name in self.cluster.names("media-agent"):
            for line in self.cluster[name].log.read_text(errors="replace").splitlines():
                over = OVER.search(line)
                if not over:
                    continue
                labels, code = dict(LABEL.findall(line)), int(over.group(1))
                history = verdicts.get((labels["job"], labels["attempt"]))
                self.count("histories: also in the media agents' logs")
                ended = seconds(line.split()[0])
                self.count("histories: ended while there was no majority of primaries", any(since < ended < to for since, to in self._outages(0.0)))
                if history is None:
                    self.contradict("a media agent ended an attempt that has no history", line)
                elif history["status_code"] != code:
                    kind = "a complete attempt is recorded as something else" if code <= 1 else "a history has another code than the media agent's"
                    self.contradict(kind, f"{history['status']} {history['status_code']}: {line}")

    # --- the storage unit

    def _repository(self, rng, sample):
        check = self.cluster.restic("check", "--read-data")
        self.count("repository: clean by restic check --read-data" if check.code == 0 else "repository: NOT clean")
        if check.code:
            self.contradict("the repository is not clean", f"{check.stdout}{check.stderr}"[:2000])
        listed = json.loads(self.cluster.restic("snapshots", "--json").stdout)
        snapshots = {snapshot["id"] for snapshot in listed if "checkpoint" not in snapshot["tags"]}
        self.count("restore points: all", len(self.points))
        self.count("repository: snapshots nobody refers to", len(snapshots - set(self.points)))
        for checkpoint in (snapshot for snapshot in listed if "checkpoint" in snapshot["tags"]):
            self.count("repository: checkpoints left")
            job = next(tag.removeprefix("job:") for tag in checkpoint["tags"] if tag.startswith("job:"))
            if self.jobs[job]["status"] in ("successful", "completed_with_exceptions"):
                self.contradict("a finished job left a checkpoint", f"{checkpoint['id']} of job {job}")
        for id in set(self.points) - snapshots:
            self.contradict("a restore point without its snapshot", id)
        for number, point in enumerate(rng.sample(sorted(self.points), min(sample, len(self.points)))):
            self._restores_identical(point, self.cluster.folder.parent / "sample" / str(number))

    def _restores_identical(self, id, target):
        target.mkdir(parents=True)
        source = Path(self.points[id]["item"])
        ran = self.cluster.restic("restore", id, "--target", target)
        found = ran.stderr if ran.code else differences(source, target / source.relative_to("/"), contents=True)
        self.count("restore points: restored by restic and compared")
        if found:
            self.contradict("a restore point is not what the source is", f"{id} of {source}: {found[:500]}")
