"""Each process on a host of its own: a network namespace joined to the others by a bridge, a disk that keeps only what was synced, a clock. What can go wrong
with a host is done to it here; when, and to whom, is decided in faults.py. Needs root, `ip`, /dev/fuse, libfaketime and the program test-disks
(cargo build -p outlast-test-filesystems --bin test-disks)."""

import glob
import os
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "support"))
from cluster import Failed  # noqa: E402

OPERATOR, STORAGE = "operator", "storage"
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"


def lacks(disks):
    """What this machine has not and this needs; None if all is there."""
    if os.geteuid() != 0:
        return "root"
    if not Path("/dev/fuse").exists():
        return "/dev/fuse"
    if not glob.glob(FAKETIME):
        return "libfaketime (Debian package faketime)"
    if not os.access(disks, os.X_OK):
        return f"{disks} (cargo build -p outlast-test-filesystems --bin test-disks)"
    probe = f"outlast-probe-{os.getpid()}"
    try:
        made = subprocess.run(["ip", "netns", "add", probe], capture_output=True)
        bridged = subprocess.run(["ip", "-n", probe, "link", "add", "bridge", "type", "bridge"], capture_output=True)
        subprocess.run(["ip", "netns", "delete", probe], capture_output=True)
    except FileNotFoundError:
        return "ip (Debian package iproute2)"
    return None if made.returncode == bridged.returncode == 0 else "network namespaces with bridges"


class Hosts:
    """All hosts of one run; what they are called is known when the cluster is made."""

    def __init__(self, folder, names, seed, disks):
        self.folder, self.names = Path(folder), [*names, OPERATOR]
        self.id = f"{os.getpid():x}"
        self.faketime = glob.glob(FAKETIME)[0]
        self.numbers = {name: number for number, name in enumerate([*names, STORAGE])}
        self.lock = threading.Lock()
        for name in self.numbers:
            (self.folder / name).mkdir(parents=True)
        self._make_network()
        self.disks = subprocess.Popen(
            [disks, str(seed), *(str(self.folder / name) for name in self.numbers)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        if self.disks.stdout.readline() != "ok\n":
            raise Failed("the disks could not be made")
        for name in self.names:
            self.set_clock(name, 0)
        for name in self.numbers:
            self.state(name).mkdir()
            disk = os.open(self.state(name).parent, os.O_RDONLY)
            os.fsync(disk)
            os.close(disk)

    # --- what a process of the cluster needs of its host

    def address(self, name):
        return f"10.78.0.{self.names.index(name) + 1}"

    def port(self):
        return 7400

    def state(self, name):
        return self.folder / name / "disk" / "state"

    def command(self, name, command):
        return ["nsenter", f"--net=/run/netns/{self._netns(name)}", *command]

    def environment(self, name):
        """Times of files stay what they are; so does what counts seconds."""
        clock = {"LD_PRELOAD": self.faketime, "FAKETIME_TIMESTAMP_FILE": str(self._clock(name)), "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_NO_CACHE": "1"}
        return clock | {"NO_FAKE_STAT": "1", "FAKETIME_DISABLE_SHM": "1"} if name != OPERATOR else {}

    # --- the network

    def _netns(self, name):
        return f"outlast-chaos-{self.id}-{name}"

    def _ip(self, name, *lines):
        ran = subprocess.run(["ip", "-n", self._netns(name), "-force", "-batch", "-"], input="\n".join(lines) + "\n", capture_output=True, text=True)
        return ran.stderr

    def _make_network(self):
        for name in ["switch", *self.names]:
            subprocess.run(["ip", "netns", "add", self._netns(name)], check=True)
        self._ip("switch", "link add bridge type bridge", "link set bridge up")
        for number, name in enumerate(self.names):
            said = self._ip(name, "link set lo up", f"link add eth0 type veth peer name port{number} netns {self._netns('switch')}")
            said += self._ip("switch", f"link set port{number} master bridge up")
            said += self._ip(name, f"address add {self.address(name)}/24 dev eth0", "link set eth0 up")
            if said:
                raise Failed(f"the network of {name}: {said}")

    def unplug(self, name):
        self._ip(name, "link set eth0 down")

    def plug(self, name):
        self._ip(name, "link set eth0 up")

    def sever(self, pairs):
        """What the first of each pair sends to the second is lost from now on."""
        for name in dict.fromkeys(a for a, _ in pairs):
            self._ip(name, *(f"route add blackhole {self.address(b)}/32" for a, b in pairs if a == name))

    def join(self, pairs):
        for name in dict.fromkeys(a for a, _ in pairs):
            self._ip(name, *(f"route delete blackhole {self.address(b)}/32" for a, b in pairs if a == name))

    # --- disks

    def disk(self, command, name):
        """`cut`, `return`, `full`, `read-only`, `sound`."""
        with self.lock:
            self.disks.stdin.write(f"{command} {self.numbers[name]}\n")
            self.disks.stdin.flush()
            answer = self.disks.stdout.readline()
        if answer != "ok\n":
            raise Failed(f"disk of {name}: {command}: {answer}")

    # --- clocks

    def _clock(self, name):
        return self.folder / f"{name}.clock"

    def set_clock(self, name, seconds):
        new = self._clock(name).with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._clock(name))

    def remove(self):
        """Whoever ran there is gone."""
        self.disks.stdin.close()
        self.disks.wait(30)
        for name in [*self.names, "switch"]:
            subprocess.run(["ip", "netns", "delete", self._netns(name)], capture_output=True)
