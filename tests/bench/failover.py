#!/usr/bin/env python3
"""How long a job stands still when its media agent is killed: from kill -9 to the first byte of the next attempt.

    tests/bench/failover.py [--binary target/release/outlast] [--after 6] [--rounds 30]

A cluster of `outlast dev` in a temporary folder; a backup at 4 MiB/s; its media agent is killed in the middle and started again when the job is done.
Prints each round, then median and 95th percentile of what came on top of `failover_after`. Times are taken by looking every 50 ms.
"""
import argparse, json, os, random, shutil, signal, subprocess, sys, tempfile, time


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/outlast")
    parser.add_argument("--after", type=int, default=6, help="failover_after in seconds")
    parser.add_argument("--rounds", type=int, default=30)
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
    run("cluster", "set", "--disruption-grace", f"{max(1, options.after - 5)}s")
    run("pool", "set", "default", "--failover-after", f"{options.after}s")
    policy = os.path.join(data, "slow.toml")
    with open(policy, "w") as file:
        file.write(f'name = "slow"\ntype = "standard"\nclients = ["local"]\nitems = [{json.dumps(source)}]\npool = "default"\n'
                   '[limits]\nbandwidth = "4MiB/s"\n[checkpoint]\nrestart = true\ninterval = "1s"\n')
    run("policy", "apply", "-f", policy)
    random.seed(1)
    times = []
    for round_ in range(options.rounds):
        with open(os.path.join(source, "big"), "wb") as file:
            file.write(random.randbytes((options.after + 14) * 4 << 20))
        # What is younger than 2 s is read again, whatever a checkpoint says (S-14c).
        time.sleep(3)
        job = run("job", "run", "slow")["id"]
        wait("data to flow", lambda: ((run("job", "show", job) or {}).get("progress") or {}).get("bytes", 0) > 4 << 20)
        time.sleep(random.uniform(0, 2))
        agent = run("job", "show", job)["attempts"][-1]["media_agent"]
        os.kill(int(open(os.path.join(data, "run", f"{agent}.pid")).read()), signal.SIGKILL)
        killed = time.monotonic()

        def goes_on():
            shown = run("job", "show", job) or {}
            attempts = shown.get("attempts") or []
            return len(attempts) > 1 and (shown.get("progress") or {}).get("bytes", 0) > 0

        wait("the next attempt", goes_on)
        took = time.monotonic() - killed
        done = wait("the end", lambda: (lambda shown: shown if shown and shown["state"] == "done" else None)(run("job", "show", job)))
        statuses = [attempt["status"] for attempt in done["attempts"]]
        times.append(took - options.after)
        print(f"round {round_ + 1}: {took:.2f} s, {' '.join(statuses)}, carried over {done['attempts'][-1]['bytes_carried_over']}, "
              f"sent again {done['attempts'][-1]['bytes_resent']}", flush=True)
        subprocess.run([binary, "dev", "restart", agent, "--data-dir", data], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait("the agent to be back", lambda: any(a["name"] == agent and a["connected"] for a in run("agent", "list") or []))
    times.sort()
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))]
    print(f"failover_after {options.after} s, on top of it: median {at(0.5):+.2f} s, p95 {at(0.95):+.2f} s, most {times[-1]:+.2f} s, {len(times)} rounds")


if __name__ == "__main__":
    main()
