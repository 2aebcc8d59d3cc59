#!/usr/bin/env python3
"""How long a job stands still when its media agent is killed or drained: until the first byte of the next attempt.

    tests/bench/failover.py [--binary target/release/outlast] [--after 6 30] [--rounds 30] [--drain-rounds 30]

A cluster of `outlast dev` in a temporary folder; a backup at 4 MiB/s with a checkpoint each second. In each round its media agent is killed with -9 in the middle, and started again when the job is done;
in the rounds behind those it is drained instead, and enabled again. Prints each round, and at the end a table: median and 95th percentile of what came on top of `failover_after`, and of all of it for a
drained one. Times are taken by looking every 50 ms. Some 20 s a round with 6 s, 60 s with 30 s.
"""
import argparse, json, os, random, shutil, signal, subprocess, sys, tempfile, time

MIB = 1 << 20
RATE = 4 * MIB


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/outlast")
    parser.add_argument("--after", type=int, nargs="*", default=[6, 30], help="failover_after in seconds, one or several")
    parser.add_argument("--rounds", type=int, default=30, help="for each of them")
    parser.add_argument("--drain-rounds", type=int, default=30)
    parser.add_argument("--port", type=int, default=18400)
    options = parser.parse_args()
    binary = os.path.realpath(options.binary)
    folder = tempfile.mkdtemp(prefix="outlast-failover-")
    source = os.path.join(folder, "source")
    os.mkdir(source)
    open(os.path.join(source, "first"), "wb").write(b"x")
    data = os.path.join(folder, "dev")
    dev = subprocess.Popen(
        [binary, "dev", source, "--data-dir", data, "--port", str(options.port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = []
    try:
        bench = Bench(binary, data, source)
        for after in options.after:
            bench.be_patient_for(after)
            rows.append((f"killed, `failover_after` {after} s, on top of it", [bench.round(after) for _ in range(options.rounds)]))
        if options.drain_rounds:
            bench.be_patient_for(30)
            rows.append(("drained, all of it", [bench.round(None) for _ in range(options.drain_rounds)]))
    finally:
        dev.send_signal(signal.SIGTERM)
        dev.wait(60)
        shutil.rmtree(folder, ignore_errors=True)
    print("\n| media agent | rounds | p50 | p95 | most |\n|---|---|---|---|---|")
    for what, times in rows:
        times.sort()
        at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
        if times:
            print(f"| {what} | {len(times)} | {at(0.5):.2f} s | {at(0.95):.2f} s | {times[-1]:.2f} s |")


class Bench:
    def __init__(self, binary, data, source):
        self.binary, self.data, self.source = binary, data, source
        self.context = os.path.join(data, "client.toml")
        self.random = random.Random(1)
        self.wait("the cluster", lambda: os.path.exists(self.context) and self.run("history", "list"))
        policy = os.path.join(data, "slow.toml")
        with open(policy, "w") as file:
            file.write(f'name = "slow"\ntype = "standard"\nclients = ["local"]\nitems = [{json.dumps(source)}]\npool = "default"\n'
                       '[limits]\nbandwidth = "4MiB/s"\n[checkpoint]\nrestart = true\ninterval = "1s"\n')
        self.run("policy", "apply", "-f", policy)

    def run(self, *arguments):
        ran = subprocess.run([self.binary, "--context", self.context, "-o", "json", *arguments], capture_output=True, text=True)
        return json.loads(ran.stdout) if ran.returncode in (0, 1, 3) and ran.stdout.strip() else None

    def wait(self, what, is_so, seconds=180):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = is_so()
            if found:
                return found
            time.sleep(0.05)
        sys.exit(f"waited in vain for {what}")

    def be_patient_for(self, after):
        """First what has to be the smaller one of the two."""
        both = [("cluster", "set", "--disruption-grace", f"{min(20, max(1, after - 5))}s"), ("pool", "set", "default", "--failover-after", f"{after}s")]
        for command in both + both[:1]:
            self.run(*command)
        set_ = self.run("pool", "show", "default")["failover_after"]
        if set_ != after:
            sys.exit(f"failover_after is {set_} s, not {after} s")

    def round(self, after):
        """Seconds on top of `after`; of a drained media agent if that is None."""
        with open(os.path.join(self.source, "big"), "wb") as file:
            file.write(self.random.randbytes(14 * RATE))
        # What is younger than 2 s is read again, whatever a checkpoint says (S-14c).
        time.sleep(3)
        job = self.run("job", "run", "slow")["id"]
        show = lambda: self.run("job", "show", job) or {}
        flows = lambda attempts: lambda: len(show().get("attempts") or []) >= attempts and (show().get("progress") or {}).get("bytes", 0) > 0
        self.wait("data to flow", lambda: (show().get("progress") or {}).get("bytes", 0) > RATE)
        time.sleep(self.random.uniform(0, 2))
        agent = show()["attempts"][-1]["media_agent"]
        begun = time.monotonic()
        if after is None:
            self.run("agent", "drain", agent)
        else:
            os.kill(int(open(os.path.join(self.data, "run", f"{agent}.pid")).read()), signal.SIGKILL)
        self.wait("the next attempt", flows(2))
        took = time.monotonic() - begun
        done = self.wait("the end", lambda: (lambda shown: shown if shown.get("state") == "done" else None)(show()))
        statuses, last = [attempt["status"] for attempt in done["attempts"]], done["attempts"][-1]
        print(f"{agent} {'drained' if after is None else 'killed'}: {took:.2f} s, {' '.join(statuses)}, "
              f"carried over {last['bytes_carried_over']}, sent again {last['bytes_resent']}", flush=True)
        if after is None:
            self.run("agent", "enable", agent)
        else:
            subprocess.run([self.binary, "dev", "restart", agent, "--data-dir", self.data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.wait("the agent to be back", lambda: any(a["name"] == agent and a["connected"] for a in self.run("agent", "list") or []))
        return took - (after or 0)


if __name__ == "__main__":
    main()
