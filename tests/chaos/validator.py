"""Holds what is told against what was told before and what is there: jobs and histories (S-12, S-13, S-01, F-07), restore points and the repository (S-14), the media
agents' own words (R-05, C-07). It knows nothing of faults: whatever happened, this has to be so. It reads the public API, the repository through plain restic, and what media agents
have said when a record was in their journals. Called by tests/chaos/load.py (the books) and tests/chaos/run.py (the end); it imports nothing of the harness."""

import json
import re
import time
from datetime import datetime

# Of a history; links to attempts that come later are added later.
VERDICT = ["job", "attempt", "media_agent", "client", "status", "status_code", "stopped", "error", "started_at", "ended_at", "files", "bytes", "bytes_new"]
# Ends that hand the job on, and those that can be followed by another attempt.
HANDED_ON = {"failed_over": 1110, "resumed": 1111, "recovered": 1112}
FOLLOWED = {*HANDED_ON, "failed"}
STATUSES = {*FOLLOWED, "successful", "completed_with_exceptions", "canceled", "canceled_timed_out", "missed"}
REFUSED = 5
# A media agent's last word on an attempt that it ended with a result: said when that is in its journal.
OVER = re.compile(r"attempt (?:is over|has failed)\b.*")
# What it says where its own disk took no record of the end: then nothing was promised, and the next attempt's survey decides.
NOT_JOURNALLED = "data folder, not the storage unit, failed: the journal"
LABEL = re.compile(r"\b(job|attempt|code)=(\d+)\b")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def seconds(time):
    return datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


class Books:
    """What was read of jobs and histories, kept while the run goes on: what has ended stays as it is."""

    def __init__(self, contradict):
        self.contradict = contradict
        self.jobs, self.verdicts = {}, {}
        # When each attempt was first seen to have ended, by the clock of this machine: (job, attempt) -> seconds.
        self.closed = {}

    def mark(self):
        return dict(self.jobs), dict(self.verdicts)

    def set_back(self, mark):
        """Those who answer are to know what they knew then, and need not know more."""
        self.jobs, self.verdicts = dict(mark[0]), dict(mark[1])

    def saw_histories(self, listed, stale):
        seen = {}
        for history in listed:
            verdict = [history[key] for key in VERDICT]
            key = (history["job"], history["attempt"])
            if key in seen:
                self.contradict("two histories for one attempt", f"{key}: {seen[key]} and {history['id']}")
            seen[key] = history["id"]
            self.closed.setdefault(key, time.time())
            before = self.verdicts.setdefault(history["id"], verdict)
            if before != verdict:
                self.contradict("a history changed after it was closed", f"{history['id']}: {before} became {verdict}")
        for id in set() if stale else set(self.verdicts) - {history["id"] for history in listed}:
            self.contradict("a history vanished", f"{id}: {self.verdicts[id]}")

    def saw_jobs(self, listed, stale):
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


class Validator:
    """`api` has `json(*args)` of the command line, `restic(*args)`, `names(kind)` and `words(name)`, the log of a media agent; `asked` what was asked for: `accepted` (id -> policy), `lost`
    (ids that need not be known any more), `unknown` (policy -> submissions without an answer), `canceled` (id -> [(exit code, time)]); `kinds` has for each policy whether it is resilient, and
    how many bytes may be sent again after a checkpoint, and whether its trees were old enough for their files to be believed."""

    def __init__(self, api, asked, kinds, contradict):
        self.api, self.asked, self.kinds, self.contradict = api, asked, kinds, contradict
        self.rows = {}
        # Whether the times that hosts say can be compared.
        self.clocks_were_right = True

    def count(self, row, by=1):
        self.rows[row] = self.rows.get(row, 0) + by

    def read(self):
        listed = self.api.json("job", "list", "--limit", "100000")
        self.jobs = {job["id"]: job for job in (self.api.json("job", "show", job["id"]) for job in listed)}
        self.histories = self.api.json("history", "list", "--limit", "100000")
        self.listed_points = self.api.json("restore-point", "list")
        self.points = {point["id"]: point for point in self.listed_points}

    def validate(self):
        self._submissions()
        for job in self.jobs.values():
            self._job(job)
        self._histories()
        self._points()
        self._media_agents_agree()
        self._repository()

    # --- what was asked for

    def _submissions(self):
        accepted, unknown = self.asked.accepted, self.asked.unknown
        for id in set(accepted) - set(self.jobs) - self.asked.lost:
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
        self.count("submissions: lost with primaries that were set back", len(self.asked.lost - set(self.jobs)))

    # --- jobs

    def _job(self, job):
        self.count(f"jobs: {job['kind']}s, {job['status'] if job['state'] == 'done' else job['state']}")
        self.count("jobs")
        if job["state"] != "done":
            self.count("jobs that did not end")
            self.contradict("a job did not end", f"{job['id']} ({job['policy'] or job['kind']}): {job['state']}, waiting {job['waiting']}")
            return
        attempts = job["attempts"]
        numbers = [attempt["attempt"] for attempt in attempts]
        if numbers not in (list(range(1, len(attempts) + 1)), [0]):
            self.contradict("attempts are not numbered from 1", f"{job['id']}: {numbers}")
            return
        self.count("attempts", len(attempts))
        self._canceled(job)
        self._chain(job, attempts)
        if job["kind"] == "backup":
            self._backup(job)

    def _chain(self, job, attempts):
        """S-12, S-13, S-03, S-04: each ended, linked to the next both ways; the job has the status of the last."""
        last = (attempts[-1]["status"], attempts[-1]["status_code"])
        # One that was canceled while it waited to go on has no attempt of its own for that.
        if last != (job["status"], job["status_code"]) and not (last[0] in HANDED_ON and job["status"] == "canceled"):
            self.contradict("a job's status is not that of its last attempt", f"{job['id']}: {job['status']} {job['status_code']} and {last}")
        for attempt in attempts:
            what = f"{job['id']} attempt {attempt['attempt']}: {attempt['status']} {attempt['status_code']}"
            if attempt["status"] not in STATUSES:
                self.contradict("a history without a status", what)
            if HANDED_ON.get(attempt["status"], attempt["status_code"]) != attempt["status_code"]:
                self.contradict("a status and a code that do not belong together", what)
        for attempt, follower in zip(attempts, attempts[1:]):
            what = f"{job['id']} attempt {attempt['attempt']}: {attempt['status']}"
            if attempt["status"] not in FOLLOWED:
                self.contradict("an attempt follows one that had ended", what)
            if attempt["status"] in HANDED_ON:
                self.count("failovers")
            if attempt["status"] in HANDED_ON and attempt["failed_over_to"] != follower["id"]:
                self.contradict("a link between histories is missing", what)
            if attempt["status"] == "resumed" and follower["resumed_from"] != attempt["id"]:
                self.contradict("a link between histories is missing", f"{what}, back")
            self._sent_again(job, attempt, follower)
        if attempts[-1]["failed_over_to"] is not None:
            self.contradict("a link to an attempt that is not there", f"{job['id']} attempt {attempts[-1]['attempt']}")

    def _sent_again(self, job, attempt, follower):
        """F-07: at most the data since the last checkpoint."""
        again = follower["bytes_resent"]
        if attempt["status"] != "resumed" or again is None or job["kind"] != "backup":
            return
        self.count("attempts: resumed, and it is known what was sent again")
        most = self.kinds[job["policy"]].again
        if most is not None and again > most:
            self.contradict("more was sent again than a checkpoint apart", f"{job['id']} attempt {follower['attempt']}: {again}, at most {most}")

    def _canceled(self, job):
        """X-09, F-11: canceled only by somebody; and what is canceled does not go on."""
        answers = self.asked.canceled.get(job["id"], [])
        if job["status"] == "canceled" and not any(code != REFUSED for code, _ in answers):
            self.contradict("canceled though nobody asked for it", job["id"])
        for code, at in answers:
            self.count(f"cancels: {({0: 'accepted', REFUSED: 'refused, for the job was done'}).get(code, 'without an answer, no leader')}")
            if not self.clocks_were_right or job["id"] in self.asked.lost:
                continue
            if code == 0 and any(seconds(attempt["started_at"] or job["created_at"]) > at + 0.5 for attempt in job["attempts"]):
                self.contradict("a job went on after it was canceled", f"{job['id']} at {at}: {job['attempts']}")
            if code == REFUSED and seconds(job["ended_at"]) > at:
                self.contradict("a cancel was refused though the job was not done", job["id"])

    def _backup(self, job):
        kind = self.kinds[job["policy"]]
        if job["resilient"] is not kind.resilient and job["resilient"] is not None:
            self.contradict("a job's resilience is not that of its policy", f"{job['id']}: {job['resilient']}")
        if any(attempt["exceptions"] for attempt in job["attempts"]):
            self.contradict("an exception, for which nothing in the trees gives cause", job["id"])
        for item in job["items"]:
            point = self.points.get(item["restore_point"])
            if job["status"] == "successful" and (item["outcome"] != "done" or point is None):
                self.contradict("a successful job without its restore points", f"{job['id']}: {item}")
            if item["restore_point"] and (point is None or point["job"] != job["id"] or point["item"] != item["path"]):
                self.contradict("an item names a restore point that is not its own", f"{job['id']}: {item}: {point}")

    # --- histories

    def _histories(self):
        of_jobs = {attempt["id"]: attempt for job in self.jobs.values() if job["state"] == "done" for attempt in job["attempts"]}
        listed = {history["id"]: history for history in self.histories if self.jobs.get(history["job"], {}).get("state") == "done"}
        for id in set(of_jobs) ^ set(listed):
            self.contradict("jobs and histories differ", id)
        keys = [(history["job"], history["attempt"]) for history in self.histories]
        for key in {key for key in keys if keys.count(key) > 1}:
            self.contradict("two histories for one attempt", str(key))
        for id, history in listed.items():
            self.count(f"histories: {history['status']}")
            if id in of_jobs and of_jobs[id] != history:
                self.contradict("jobs and histories differ", f"{id}: {of_jobs[id]} and {history}")

    def _points(self):
        """One for each item of a job, and every one belongs to an item."""
        seen, named = {}, {item["restore_point"] for job in self.jobs.values() for item in job["items"]}
        for point in self.listed_points:
            key = (point["job"], point["item"])
            if key in seen:
                self.contradict("two restore points for one item of a job", f"{key}: {seen[key]} and {point['id']}")
            seen[key] = point["id"]
            if point["id"] not in named:
                self.contradict("a restore point that no item names", f"{point['id']} of job {point['job']}")

    def _media_agents_agree(self):
        """What a media agent said when an attempt was over is what the history says, if its last word was a result; or it was superseded before."""
        verdicts = {(history["job"], str(history["attempt"])): history for history in self.histories}
        agreed = 0
        for name in self.api.names("media-agent"):
            for line in self.api.words(name):
                over = OVER.search(COLOUR.sub("", line))
                labels = dict(LABEL.findall(over.group(0))) if over else {}
                if set(labels) != {"job", "attempt", "code"} or NOT_JOURNALLED in line or labels["job"] in {*self.asked.lost, *self.asked.twice} or labels["job"] not in self.jobs:
                    continue
                history, code = verdicts.get((labels["job"], labels["attempt"])), int(labels["code"])
                agreed += 1
                if history is None and self._never_was(labels, code):
                    self.count("histories: of attempts before, which the next one found to be complete")
                elif history is None:
                    self.contradict("a media agent ended an attempt that has no history", line)
                elif history["status_code"] != code:
                    self._disagree(history, code, line)
        self.count("histories: also in the media agents' logs", agreed)
        if not agreed and any(history["status"] == "successful" for history in self.histories):
            self.contradict("no media agent has said anything of its attempts", "has their log another form?")

    def _never_was(self, labels, code):
        """F-14: where the next attempt finds everything, the one before has ended so, and the next has no history."""
        last = self.jobs[labels["job"]]["attempts"][-1]
        return code <= 1 and last["status_code"] == code and int(labels["attempt"]) == last["attempt"] + 1

    def _disagree(self, history, code, line):
        follower = next((one for one in self.histories if one["id"] == history["failed_over_to"]), None)
        # C-07: what comes when the next attempt has looked does not count; what had come before does.
        if history["status"] in HANDED_ON or history["status"] == "canceled":
            said = seconds(COLOUR.sub("", line).split()[0])
            if follower is None or not self.clocks_were_right or said > seconds(follower["started_at"] or history["ended_at"]) - 1:
                self.count("histories: superseded before the media agent had ended it")
                return
        kind = "a complete attempt is recorded as something else" if code <= 1 else "a history has another code than the media agent's"
        self.contradict(kind, f"{history['status']} {history['status_code']}: {line}")

    # --- the storage unit

    def _repository(self):
        check = self.api.restic("check", "--read-data")
        self.count("repository: clean by restic check --read-data" if check.code == 0 else "repository: NOT clean")
        if check.code:
            self.contradict("the repository is not clean", f"{check.stdout}{check.stderr}"[:2000])
        listed = json.loads(self.api.restic("snapshots", "--json").stdout)
        snapshots = {snapshot["id"]: snapshot for snapshot in listed if "checkpoint" not in snapshot["tags"]}
        self.count("restore points", len(self.points))
        unknown = [self._job_of(snapshots[id]) for id in set(snapshots) - set(self.points)]
        self.count("repository: snapshots nobody refers to, of jobs that are known", sum(job in self.jobs for job in unknown))
        self.count("repository: snapshots nobody refers to, of jobs that are not", sum(job not in self.jobs for job in unknown))
        for checkpoint in (snapshot for snapshot in listed if "checkpoint" in snapshot["tags"]):
            self.count("repository: checkpoints left")
            job = self._job_of(checkpoint)
            if self.jobs.get(job, {}).get("status") in ("successful", "completed_with_exceptions"):
                self.contradict("a finished job left a checkpoint", f"{checkpoint['id']} of job {job}")
        trees = {}
        for id, point in self.points.items():
            if id not in snapshots:
                self.contradict("a restore point without its snapshot", id)
                continue
            if not {f"job:{point['job']}", f"attempt:{point['attempt']}"} <= set(snapshots[id]["tags"]):
                self.contradict("a restore point whose snapshot is another attempt's", f"{point}: {snapshots[id]['tags']}")
            if self.kinds[point["policy"]].settled:
                trees.setdefault(point["item"], set()).add(snapshots[id]["tree"])
        # F-07: the sources never change, so whatever interrupted a backup, its tree is that of every other.
        for item, different in trees.items():
            if len(different) > 1:
                self.contradict("restore points of one unchanged item differ", f"{item}: {sorted(different)}")

    def _job_of(self, snapshot):
        return next(tag.removeprefix("job:") for tag in snapshot["tags"] if tag.startswith("job:"))

    def undisturbed(self, done):
        """`done`: the document of a backup that nothing disturbed: each of its items has the tree that it has in every other restore point."""
        if done["status"] != "successful":
            self.contradict("an undisturbed backup was not successful", f"{done['id']}: {done['status']} {done['status_code']}")
            return
        trees = {snapshot["id"]: snapshot["tree"] for snapshot in json.loads(self.api.restic("snapshots", "--json").stdout)}
        alone = {item["path"]: trees.get(item["restore_point"]) for item in done["items"]}
        for point in self.points.values():
            if point["item"] in alone and self.kinds[point["policy"]].settled:
                self.count("restore points: of the tree of an undisturbed backup")
                if trees.get(point["id"]) != alone[point["item"]]:
                    self.contradict("a restore point has another tree than an undisturbed backup", f"{point['id']} of {point['item']}")
