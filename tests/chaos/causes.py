"""Whether what did not go well has a cause: each attempt that ended otherwise than `successful` needs a fault that can have done it, and a resilient one does not fail of
its primaries (R-03, R-04, F-09, F-16, F-18). It gets the faults as records and knows nothing of how they are made. Spans are those in which somebody here saw something, by the clock of
this machine: what hosts say of times counts for nothing, for their clocks may be wrong. Called by tests/chaos/run.py."""

# What a fault may still do after it is over: streams that come back, sessions that meet, attempts that wait for their turn.
SLACK = 15.0
# Elections, and agents that look for the leader.
RETURN = 4.0
# So many interrupted attempts end a job (docs/adr/0003).
FAILOVERS = 5

DISK, POWER = {"full", "read-only"}, {"power", "power of all"}
GONE = {"kill", *POWER}
CUT = {"cut", "mute", "deaf", "cut from primaries", "cut from clients"}
SET_BACK = {"copies are kept", "set back"}
# Code -> kind of host -> what can have done it. Where an agent's end is meant, being cut off for long may do the same.
NETWORK = {"media-agent": {*GONE, *CUT, "freeze", "clock", *DISK}, "client-agent": {*GONE, *CUT, "freeze", "clock", *DISK}}
STORAGE = {"storage": DISK, "media-agent": {*DISK, *POWER}}
CAN = {
    40: NETWORK,
    41: NETWORK,
    50: {"client-agent": {*GONE, *CUT, "freeze", *DISK}},
    58: {"client-agent": {*GONE, *CUT, "freeze", *DISK, "clock"}},
    84: STORAGE,
    129: STORAGE,
    2106: STORAGE | {"media-agent": {*DISK, *GONE, *CUT, "freeze", "clock"}},
    1102: STORAGE,
    1103: {"media-agent": {*GONE, *DISK}},
}
# An attempt that is handed on was lost by its media agent, or the client and it could not reach each other.
HANDED_ON = {"media-agent": {*GONE, *CUT, *DISK, "freeze", "clock"}, "client-agent": {*CUT, *GONE, "freeze"}, "storage": DISK}


class Causes:
    """`faults`: records with kind, name, how, begin, end; `closed`: (job, attempt) -> when it was first seen to have ended; `submitted`: job -> when it was acknowledged."""

    def __init__(self, faults, closed, submitted, grace, contradict):
        self.faults, self.closed, self.submitted, self.grace, self.contradict = faults, closed, submitted, grace, contradict
        self.rows = {}

    def count(self, row, by=1):
        self.rows[row] = self.rows.get(row, 0) + by

    def look(self, job, is_marked):
        """`is_marked`: whether an attempt of the job had its mark, asked only when it matters."""
        begin = self.submitted.get(job["id"], 0.0)
        for attempt in job["attempts"]:
            end = self.closed.get((job["id"], attempt["attempt"]), float("inf"))
            self._look(job, attempt, (begin, end), is_marked)
            begin = end

    def _look(self, job, attempt, span, is_marked):
        begin, end = span
        if attempt["status"] == "successful":
            self.count("attempts: successful, without a majority of primaries for a time", any(begin < since < end for since, _ in self._outages(0.0)))
            return
        self.count(f"attempts: {attempt['status']} with {attempt['status_code']}")
        if attempt["status"] in ["canceled", "missed"]:
            return
        found = [fault for fault in self.faults if fault["begin"] <= end and fault["end"] + SLACK >= begin]
        kinds = "+".join(sorted({f"{fault['kind']} {fault['how']}" for fault in found}))
        what = f"job {job['id']} ({job['policy'] or job['kind']}) attempt {attempt['attempt']}: {attempt['status']} {attempt['status_code']}: {attempt['error']} ({kinds})"
        is_one = lambda table: any(fault["how"] in table.get(fault["kind"], ()) for fault in found)
        if any(fault["how"] in SET_BACK for fault in found):
            return
        if attempt["status"] in ["failed_over", "resumed", "recovered"]:
            if not is_one(HANDED_ON):
                self.contradict("handed on without a fault of an agent or of the storage", what)
        elif attempt["status"] != "failed":
            self.contradict("a status without a cause", what)
        elif not found:
            self.contradict("failed without a fault", what)
        elif attempt["attempt"] >= FAILOVERS or is_one(CAN.get(attempt["status_code"], {})):
            return
        elif attempt["status_code"] not in [40, 41]:
            self.contradict("failed of what did not happen", what)
        elif is_marked(job["id"]):
            self.contradict("a resilient attempt failed though nothing happened to its agents", what)
        elif max((to - since for since, to in self._outages(RETURN) if since <= end and to >= begin), default=0.0) < self.grace:
            self.contradict("failed of an outage shorter than disruption_grace", what)

    def _outages(self, extra):
        """Spans in which no majority of primaries was there for the agents; each fault lasts `extra` longer."""
        edges = []
        for fault in self.faults:
            if fault["kind"] == "primary":
                edges += [(fault["begin"], 1), (fault["end"] + extra, -1)]
        spans, away, since = [], 0, 0.0
        for at, change in sorted(edges):
            if away < 2 <= away + change:
                since = at
            elif away >= 2 > away + change:
                spans.append((since, at))
            away += change
        return spans
