#!/usr/bin/env python3
"""A long, bad cable between two network namespaces: frames arrive later, and some never do.

    tests/support/link.py NAMESPACE DEVICE NAMESPACE DEVICE --delay MILLISECONDS --loss PERCENT [--seed N]

Makes a TAP device in each namespace and carries between them until it is ended (SIGTERM); prints "up" when both are there. What the kernel's netem does where it is built in: below TCP, so that
it is TCP that has to cope. Each direction has the delay and the loss. Needs root and /dev/net/tun. Used by deploy/lab.
"""

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
CLONE_NEWNET = 0x40000000
LONGEST = 65_536
# Frames under way at once; a router has no room for more either.
MOST = 4096


def tap(namespace, device):
    """A device in a namespace; this process ends up in it."""
    space = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"entering network namespace {namespace}")
    os.close(space)
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TAP | IFF_NO_PI))
    return file


def carry(ends, delay, loss, rng):
    under_way, number = [], 0
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for end in select.select(ends, [], [], wait)[0]:
            frame = os.read(end, LONGEST)
            number += 1
            if rng.random() >= loss and len(under_way) < MOST:
                heapq.heappush(under_way, (time.monotonic() + delay, number, other[end], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, _, end, frame = heapq.heappop(under_way)
            try:
                os.write(end, frame)
            except OSError:
                # The device is down, or full: as any cable, it tells nobody.
                pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs=4, metavar="NAMESPACE DEVICE")
    parser.add_argument("--delay", type=float, required=True, help="milliseconds, each way")
    parser.add_argument("--loss", type=float, required=True, help="percent, each way")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    one, two = args.places[:2], args.places[2:]
    ends = [tap(*one), tap(*two)]
    print("up", flush=True)
    carry(ends, args.delay / 1000, args.loss / 100, random.Random(args.seed))


if __name__ == "__main__":
    main()
