#!/usr/bin/env python3
"""Shows that memory does not grow with what is backed up.

    tests/scale/run.py --outlast target/release/outlast --folder /var/tmp/scale [--directory 1000000] [--names 750000] [--files 250000,500000,1000000]

`--directory N`: one directory with N files of a few bytes, all different, through the full path: backup, backup again unchanged, `restic check`,
restore by us and by restic, both compared with the source by rsync. `--names N`: one directory with N empty files whose names are 247 random letters, so that
nothing of them compresses, backed up four times by the same processes. `--files N,...`: trees of N empty files, 1,000 to a directory, backed up
and backed up again. Prints wall time, CPU and the peak memory of client agent and media agent for each step. Needs Python 3.9, restic and rsync.
"""

import argparse
import os
import random
import shutil
import string
import sys
from pathlib import Path

for room in ["bench", "support"]:
    sys.path.insert(0, str(Path(__file__).parent.parent / room))
import run as bench  # noqa: E402
from compare import differences  # noqa: E402

MIB = 1 << 20


class Outlast(bench.Outlast):
    """Keeps the peaks of the two agents apart."""

    def peak(self):
        peaks = []
        for pid in self.children()[:2]:
            status = Path(f"/proc/{pid}/status").read_text()
            peaks.append(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024)
        return peaks

    def restic(self, *args):
        options = ["--no-cache", "--quiet", "--no-lock", "--repo", self.folder / "dev/storage", "--password-file", self.folder / "dev/repository-password"]
        return bench.timed(["restic", *map(str, options), *map(str, args)])

    def chunks_log(self):
        """What the media agent says of its index and of what the client may name."""
        lines = (self.folder / "dev/log/media-1.log").read_text().splitlines()
        return [line for line in lines if "may name are known" in line]


def make_directory(folder, count):
    folder.mkdir(parents=True)
    for number in range(count):
        # Names in another order than they were made, content that is nowhere twice.
        descriptor = os.open(folder / f"file-{number * 2654435761 % 2**32:08x}-{number}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(descriptor, b"%d\n" % number)
        os.close(descriptor)


def make_names(folder, count):
    folder.mkdir(parents=True)
    letters = random.Random(7)
    for _ in range(count):
        os.mknod(folder / "".join(letters.choices(string.ascii_letters, k=247)), 0o644 | 0o100000)


def make_tree(folder, count):
    for directory in range(count // 1000):
        place = folder / f"{directory // 1000:03}" / f"{directory:06}"
        place.mkdir(parents=True)
        for number in range(1000):
            os.mknod(place / f"file-{number:04}", 0o644 | 0o100000)


def made(folder, make, count):
    if not (folder / ".done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        print(f"making {folder}", file=sys.stderr)
        make(folder / "data", count)
        (folder / ".done").touch()
    return folder / "data"


def row(what, step, figure):
    memory = figure["memory"]
    memory = [f"{peak / MIB:.0f}" for peak in memory] + [f"{sum(memory) / MIB:.0f}"] if isinstance(memory, list) else ["", "", f"{memory / MIB:.0f} (restic)"]
    print(f"| {what} | {step} | {figure['wall']:.1f} | {figure['cpu']:.1f} | {' | '.join(memory)} |", flush=True)


def same(source, restored):
    found = differences(source, restored)
    if found:
        sys.exit(f"{source} and {restored} differ: {found[:1000]}")


def directory(tool, folder, count, with_restores):
    source, what = made(folder / f"directory-{count}", make_directory, count), f"one directory of {count:,}"
    added = source / "added"
    tool.start()
    try:
        row(what, "first backup", tool.backup(source))
        row(what, "unchanged", tool.backup(source))
        # Something to offer: only then it matters what the client may name.
        added.write_text("one more\n")
        row(what, "one file more", tool.backup(source))
        if not with_restores:
            return
        row(what, "restic check", tool.restic("check"))
        target = folder / "restored"
        for who in ["restore by us", "restore by restic"]:
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir()
            row(what, who, tool.restore(target) if who.endswith("us") else tool.restic("restore", "latest", "--target", target))
            same(source, target / source.relative_to("/"))
        shutil.rmtree(target)
        print("\n".join(tool.chunks_log()), file=sys.stderr)
    finally:
        added.unlink(missing_ok=True)
        tool.stop()
        shutil.rmtree(tool.folder, ignore_errors=True)


def names(tool, folder, count):
    source, what = made(folder / f"names-{count}", make_names, count), f"{count:,} names"
    # Names for which there is no room are exceptions.
    tool.good = (0, 3)
    tool.start()
    try:
        for step in ["first backup", "second", "third", "fourth"]:
            row(what, step, tool.backup(source))
    finally:
        tool.stop()
        shutil.rmtree(tool.folder, ignore_errors=True)


def files(tool, folder, count):
    source, what = made(folder / f"files-{count}", make_tree, count), f"{count:,} files"
    tool.start()
    try:
        row(what, "first backup", tool.backup(source))
        row(what, "unchanged", tool.backup(source))
    finally:
        tool.stop()
        shutil.rmtree(tool.folder, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outlast", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--folder", required=True, type=lambda path: Path(path).resolve())
    parser.add_argument("--directory", type=int, default=0)
    parser.add_argument("--backups-only", action="store_true", help="of a directory: no check, no restores")
    parser.add_argument("--names", type=int, default=0)
    parser.add_argument("--files", default="")
    options = parser.parse_args()
    tool = Outlast(options.folder / "outlast", str(options.outlast))
    print("| what | step | wall s | CPU s | client peak MiB | media agent peak MiB | together MiB |\n|---|---|---|---|---|---|---|", flush=True)
    if options.directory:
        directory(tool, options.folder, options.directory, not options.backups_only)
    if options.names:
        names(tool, options.folder, options.names)
    for count in filter(None, options.files.split(",")):
        files(tool, options.folder, int(count))


if __name__ == "__main__":
    main()
