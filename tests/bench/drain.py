#!/usr/bin/env python3
"""How long no data is read when the media agent of a running backup is drained (C-08b).

    tests/bench/drain.py [--binary target/release/outlast] [--rounds 10] [--rate 64] [--mib 1500]

A cluster of `outlast dev` in a temporary folder and one long file; its job is moved to and fro between the two media agents. The gap is the longest time, from
the drain on, in which the client's process reads less than 256 KiB; /proc/PID/io is looked at every 2 ms. Prints each round, then median and 95th percentile.
"""
import argparse, json, os, random, shutil, signal, subprocess, sys, tempfile, threading, time

STEP = 256 << 10


class Reads(threading.Thread):
    """When the process had read another STEP."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.path, self.times, self.over = f"/proc/{pid}/io", [], False

    def run(self):
        last = 0
        while not self.over:
            with open(self.path) as file:
                read = int(file.readline().split()[1])
            if read - last >= STEP:
                last = read
                self.times.append(time.monotonic())
            time.sleep(0.002)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/outlast")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rate", type=int, default=64, help="MiB/s of the job")
    parser.add_argument("--mib", type=int, default=1500, help="size of the file")
    parser.add_argument("--port", type=int, default=18500)
    parser.add_argument("--folder", help="where; a temporary one under it is made and removed")
    options = parser.parse_args()
    binary = os.path.realpath(options.binary)
    folder = tempfile.mkdtemp(prefix="outlast-drain-", dir=options.folder)
    source = os.path.join(folder, "source")
    os.mkdir(source)
    open(os.path.join(source, "first"), "wb").write(b"x")
    data = os.path.join(folder, "dev")
    dev = subprocess.Popen([binary, "dev", source, "--data-dir", data, "--port", str(options.port)],
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        measure(binary, data, source, options)
    finally:
        dev.send_signal(signal.SIGTERM)
        dev.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def measure(binary, data, source, options):
    context = os.path.join(data, "client.toml")

    def run(*arguments):
        ran = subprocess.run([binary, "--context", context, "-o", "json", *arguments], capture_output=True, text=True)
        return json.loads(ran.stdout) if ran.returncode in (0, 1, 3) and ran.stdout.strip() else None

    def wait(what, is_so, seconds=180):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = is_so()
            if found:
                return found
            time.sleep(0.05)
        sys.exit(f"waited in vain for {what}")

    wait("the cluster", lambda: os.path.exists(context) and run("history", "list"))
    policy = os.path.join(data, "long.toml")
    with open(policy, "w") as file:
        file.write(f'name = "long"\ntype = "standard"\nclients = ["local"]\nitems = [{json.dumps(source)}]\npool = "default"\n'
                   f'[limits]\nbandwidth = "{options.rate}MiB/s"\n[checkpoint]\nrestart = true\ninterval = "1h"\n')
    run("policy", "apply", "-f", policy)
    with open(os.path.join(source, "big"), "wb") as file:
        generator = random.Random(1)
        for _ in range(options.mib):
            file.write(generator.randbytes(1 << 20))
    # What is younger than 2 s is read again, whatever a checkpoint says (S-14c).
    time.sleep(3)
    job = run("job", "run", "long", "--full")["id"]
    shown = lambda: run("job", "show", job) or {}
    wait("data to flow", lambda: (shown().get("progress") or {}).get("bytes", 0) > 32 << 20)
    reads = Reads(open(os.path.join(data, "run", "client-1.pid")).read().strip())
    reads.start()
    gaps = []
    for round_ in range(options.rounds):
        time.sleep(random.uniform(0.5, 1.5))
        before = shown()
        if before["state"] != "active" or before["attempts"][-1]["status"]:
            print("the file is too short for more rounds")
            break
        agent, attempts = before["attempts"][-1]["media_agent"], len(before["attempts"])
        drained = time.monotonic()
        run("agent", "drain", agent)
        wait("the next attempt", lambda: len(shown()["attempts"]) > attempts)
        wait("data", lambda: reads.times[-1] > drained + 3)
        run("agent", "enable", agent)
        times = [at for at in reads.times if at > drained - 0.2]
        gap, at = max((b - a, a) for a, b in zip(times, times[1:]))
        gaps.append(gap)
        print(f"round {round_ + 1}: no data for {gap:.3f} s, from {at - drained:.3f} s after the drain on", flush=True)
    reads.over = True
    done = wait("the end", lambda: (lambda job: job if job.get("state") == "done" else None)(shown()), 600)
    again = [attempt["bytes_resent"] for attempt in done["attempts"][1:]]
    print(f"{done['status']}, {len(done['attempts'])} attempts, read again: {again}")
    gaps.sort()
    at = lambda share: gaps[min(len(gaps) - 1, int(share * len(gaps)))]
    print(f"no data for: median {at(0.5):.3f} s, p95 {at(0.95):.3f} s, most {gaps[-1]:.3f} s, {len(gaps)} rounds")


if __name__ == "__main__":
    main()
