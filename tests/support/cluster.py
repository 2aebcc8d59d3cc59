"""A cluster of real processes with hand-made files, as on real hosts, that can be killed, paused and started again one by one.

Used by tests/bench/outage.py and tests/chaos. Each process is its own host (`host_id`); where these really are, `hosts` says: all on this machine, or as
tests/chaos/hosts.py makes them. Needs Python 3.9 and nothing else.
"""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

# Below the range from which systems take ports for outgoing connections, so that one stays free until its process takes it.
PORTS = range(10_240, 32_768)
ARENAS = {"MALLOC_ARENA_MAX": "4"}  # as in the agents' units


class Failed(Exception):
    """A command that had to succeed did not."""


class Ran:
    """What a command came to."""

    def __init__(self, code, stdout, stderr):
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def json(self):
        return json.loads(self.stdout)


def end_as_if_interrupted():
    """SIGTERM runs what is to be run at the end, above all what stops the processes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def free_port():
    while True:
        port = random.SystemRandom().choice(PORTS)
        with socket.socket() as attempt:
            try:
                attempt.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class OneHost:
    """Everything on this machine, with ports of its own."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def address(self, name):
        return "127.0.0.1"

    def port(self):
        return free_port()

    def state(self, name):
        folder = self.folder / ("storage" if name == "storage" else f"state/{name}")
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def command(self, name, command):
        return command

    def environment(self, name):
        return {}


class Process:
    """One daemon: its file, its log, and its process while there is one."""

    def __init__(self, name, kind, command, config, log, port, environment):
        self.name, self.kind, self.command, self.config, self.log, self.port = name, kind, command, config, log, port
        self.environment = environment
        self.process = None
        self.paused = False

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | ARENAS | self.environment)
        self.paused = False

    def pid(self):
        return self.process.pid

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """-9, and collected."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process, self.paused = None, False

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.paused = True

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)
        self.paused = False

    def end(self, patience):
        if self.process is None:
            return
        if self.paused:
            self.go_on()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Cluster:
    """Primaries, media agents that share one storage unit, and clients, in a folder."""

    def __init__(self, folder, binary, primaries=3, media_agents=1, clients=1, hosts=None):
        self.folder, self.binary, self.hosts = Path(folder), os.path.abspath(binary), hosts or OneHost(folder)
        for name in ["config", "log"]:
            (self.folder / name).mkdir(parents=True)
        self.storage, self.password, self.context = self.hosts.state("storage"), self.folder / "repository-password", self.folder / "client.toml"
        self.password.write_text(f"{random.SystemRandom().getrandbits(128):032x}\n")
        self.password.chmod(0o600)
        self._authority("create")
        self._authority("issue", "operator", "admin")
        named = lambda what, count: [(f"{what}-{number}", self.hosts.port()) for number in range(1, count + 1)]
        members = named("primary", primaries)
        self.addresses = [f"{self.hosts.address(name)}:{port}" for name, port in members]
        self.processes = {}
        for number, (name, port) in enumerate(members, 1):
            self._add(name, "primary", port, f"node_id = {number}\n", self._initial_members(members))
        for name, port in named("media", media_agents):
            storage = f'\n[storage]\nunit = "storage"\npath = {json.dumps(str(self.storage))}\npassword_file = {json.dumps(str(self.password))}\n'
            # On a host of its own clients reach it through the network alone.
            socket = "" if hosts is None else "local_socket = false\n"
            self._add(name, "media-agent", port, f'pool = "default"\n{socket}primaries = {json.dumps(self.addresses)}\n', storage)
        for number in range(1, clients + 1):
            self._add(f"client-{number}", "client-agent", None, f"primaries = {json.dumps(self.addresses)}\n", "")
        self.context.write_text(f"primaries = {json.dumps(self.addresses)}\n{self._tls('admin')}")

    def _authority(self, *args):
        subprocess.run([self.binary, "authority", *args, "--folder", str(self.folder / "tls")], check=True, capture_output=True)

    def _tls(self, name):
        file = lambda suffix: json.dumps(str(self.folder / "tls" / suffix))
        return f"\n[tls]\nca = {file('ca.pem')}\ncert = {file(name + '.pem')}\nkey = {file(name + '-key.pem')}\n"

    def _initial_members(self, members):
        each = [f'\n[[initial_members]]\nnode_id = {n}\nname = "{name}"\naddress = "{self.hosts.address(name)}:{port}"\n' for n, (name, port) in enumerate(members, 1)]
        return "".join(each)

    def _add(self, name, kind, port, head, tail):
        self._authority("issue", kind, name)
        config, state = self.folder / "config" / f"{name}.toml", self.hosts.state(name)
        listen = f'listen = "{self.hosts.address(name)}:{port}"\n' if port else ""
        common = f'name = "{name}"\nhost_id = "host-of-{name}"\ndata_dir = {json.dumps(str(state))}\n'
        config.write_text(common + listen + head + self._tls(name) + tail)
        command = self.hosts.command(name, [self.binary, kind, "--config", str(config)])
        self.processes[name] = Process(name, kind, command, config, self.folder / "log" / f"{name}.log", port, self.hosts.environment(name))

    def names(self, kind):
        return [process.name for process in self.processes.values() if process.kind == kind]

    def __getitem__(self, name):
        return self.processes[name]

    def start(self):
        """Starts everything and waits until all agents are connected."""
        for process in self.processes.values():
            process.start()
        self.wait_until_whole(60)

    def wait_until_whole(self, patience):
        """Until a leader answers, all primaries are reachable and all agents connected."""
        agents = sum(process.kind != "primary" for process in self.processes.values())
        deadline = time.monotonic() + patience
        while True:
            dead = [process.name for process in self.processes.values() if not process.is_running()]
            if dead:
                raise Failed(f"{', '.join(dead)} ended by themselves; see {self.folder / 'log'}")
            listed, status = (self.run("--timeout", "2s", *what) for what in (["agent", "list"], ["cluster", "status"]))
            if listed.code == 0 and status.code == 0:
                connected = sum(agent["connected"] is True for agent in listed.json())
                members = status.json()["members"]
                if connected == agents and all(member["reachable"] is not False for member in members):
                    return
            if time.monotonic() > deadline:
                raise Failed(f"the cluster is not whole after {patience} s: {listed.stdout}{listed.stderr}{status.stdout}{status.stderr}")
            time.sleep(0.1)

    def stop(self):
        """In the order of `dev`: media agents first, last those that record what they say."""
        for kind in ["media-agent", "client-agent", "primary"]:
            for name in self.names(kind):
                self.processes[name].end(20)

    def run(self, *args, patience=120):
        """A command of the command line, with JSON for its output."""
        command = self.hosts.command("operator", [self.binary, "--context", str(self.context), "-o", "json", *map(str, args)])
        try:
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=patience)
        except subprocess.TimeoutExpired:
            return Ran(-1, "", f"{' '.join(map(str, args))}: no end after {patience} s")
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def json(self, *args, patience=120):
        """The JSON of a command that has to succeed."""
        ran = self.run(*args, patience=patience)
        if ran.code != 0:
            raise Failed(f"{' '.join(map(str, args))}: {ran.code}: {ran.stdout}{ran.stderr}")
        return ran.json()

    def apply(self, name, text):
        """Applies a policy; what it ran to."""
        file = self.folder / "config" / f"policy-{name}.toml"
        file.write_text(text)
        return self.run("policy", "apply", "-f", file)

    def restic(self, *args):
        """Runs restic on the storage unit."""
        options = ["--no-cache", "--quiet", "--no-lock", "--repo", str(self.storage), "--password-file", str(self.password)]
        ran = subprocess.run(["restic", *options, *map(str, args)], capture_output=True, text=True)
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    def words(self, name):
        """What a process has said in its log, line by line."""
        return self[name].log.read_text(errors="replace").splitlines()

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)
