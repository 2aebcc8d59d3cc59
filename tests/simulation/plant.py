#!/usr/bin/env python3
"""Plants mistakes one by one in a copy of the real code and runs the simulation on each: which seed finds it, by which rule.

    tests/simulation/plant.py                  # all of them; the table of docs/simulation.md
    tests/simulation/plant.py --seeds 5000     # more seeds for each
    tests/simulation/plant.py --only fence     # those with this in their name
    tests/simulation/plant.py --dry            # only whether each still has its place

The copy lies in target/planted and shares nothing with the tree but what is read. All mistakes (`planted.py`) are compiled into it at once,
each behind a number that OUTLAST_PLANTED names, so that it is built once. A mistake whose text is not in the code any more stops everything:
it is to be written anew. Nothing calls this; CI does not. `taskset -c 0` keeps it to one processor.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

from planted import MISTAKES

ROOT = pathlib.Path(__file__).resolve().parents[2]

# What a crate with mistakes needs beside them.
ASKS = """
/// Whether this mistake is made; only in a copy.
#[must_use]
pub fn planted(number: u32) -> bool {
    static WHICH: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let which = || std::env::var("OUTLAST_PLANTED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    *WHICH.get_or_init(which) == number
}
"""


def numbered():
    """(number, name, folder, file, text, instead) of all mistakes; no mistake is number 0."""
    every = [(folder, *mistake) for folder, mistakes in MISTAKES for mistake in mistakes]
    return [(number, name, folder, *rest) for number, (folder, name, *rest) in enumerate(every, 1)]


def copy(source, texts):
    """A copy of what git knows, with these files instead. What is there already keeps its time, so that it is not built again."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    names = [name for name in files.decode().split("\0") if name and (ROOT / name).is_file()]
    for name in names:
        target = source / name
        content = texts[name].encode() if name in texts else (ROOT / name).read_bytes()
        if not target.is_file() or target.read_bytes() != content:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    for path in source.rglob("*"):
        if path.is_file() and str(path.relative_to(source)) not in names:
            path.unlink()


def planted():
    """The files with all mistakes in them, each behind its number. Two may be at one place: then the later one is put into the earlier one's text."""
    texts = {}
    for number, name, folder, file, there, instead in numbered():
        path = f"{folder}/{file}"
        original = (ROOT / path).read_text()
        if original.count(there) != 1:
            sys.exit(f"mistake {number}, \"{name}\": its text is {original.count(there)} times in {path}, and is to be there once")
        text = texts.get(path, original)
        # The last place it is at: what was planted there before may repeat it.
        at = text.rfind(there)
        if at < 0:
            sys.exit(f"mistake {number}, \"{name}\": its text overlaps with that of another one")
        instead = re.sub(r"\bIT\b", f"crate::planted({number})", instead)
        texts[path] = text[:at] + instead + text[at + len(there):]
    for folder, _ in MISTAKES:
        path = f"{folder}/lib.rs"
        texts[path] = texts.get(path, (ROOT / path).read_text()) + ASKS
    return texts


def build(source, target):
    """The test binary of the copy."""
    command = ["cargo", "test", "--locked", "-p", "outlast-simulation", "--test", "seeds", "--target-dir", str(target)]
    environment = {**os.environ, "OUTLAST_SEEDS": "1"}
    built = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
    found = re.search(r"Running .*\((.*seeds-[0-9a-f]+)\)", built.stderr)
    if built.returncode != 0 or not found:
        sys.exit(built.stderr + built.stdout)
    binary = pathlib.Path(found.group(1))
    return binary if binary.is_absolute() else source / binary


def run(binary, number, seeds, patience):
    """The lowest seed that finds the mistake, and what it says; none."""
    environment = {**os.environ, "OUTLAST_PLANTED": str(number), "OUTLAST_SEEDS": str(seeds)}
    test = [str(binary), "s12_no_seed_finds_a_contradiction", "--exact", "--nocapture"]
    try:
        ran = subprocess.run(test, env=environment, capture_output=True, text=True, errors="replace", timeout=patience)
    except subprocess.TimeoutExpired:
        return ("?", f"no end within {patience} s")
    if ran.returncode == 0:
        return None
    found = re.findall(r"^seed (\d+): (.*)$", ran.stderr, re.MULTILINE)
    if found:
        return min((int(seed), text) for seed, text in found)
    panicked = re.search(r"panicked at (.*):\n(.*)", ran.stderr)
    return (None, "panic, " + panicked.group(2)[:60] if panicked else "it ended without a word")


def lowest(binary, number, seeds, patience):
    """As `run`. A panic does not say its seed: the fewest seeds are looked for that have it."""
    result = run(binary, number, seeds, patience)
    if result is None or result[0] is not None:
        return result
    low, high = 0, 1
    while high < seeds and run(binary, number, high, patience) is None:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if run(binary, number, middle, patience) is None else (low, middle)
    return (high - 1, result[1])


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=600)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--patience", type=int, default=120, help="seconds for the seeds of one mistake")
    arguments.add_argument("--folder", type=pathlib.Path, default=ROOT / "target" / "planted", help="where the copy lies and is built")
    arguments.add_argument("--dry", action="store_true")
    chosen = arguments.parse_args()
    texts = planted()
    if chosen.dry:
        return
    source = chosen.folder / "src"
    copy(source, texts)
    binary = build(source, chosen.folder / "target")
    without = run(binary, 0, chosen.seeds, chosen.patience)
    if without is not None:
        sys.exit(f"without a mistake the simulation finds something, that comes first: {without}")
    found, tried = 0, 0
    print("| mistake | in | found at seed | rule |\n|---|---|---|---|")
    for number, name, folder, file, *_ in numbered():
        if chosen.only not in name:
            continue
        tried += 1
        result = lowest(binary, number, chosen.seeds, chosen.patience)
        found += result is not None
        seed, text = result or ("not found", "")
        where = f"{folder.removesuffix('/src')}: {file.removesuffix('.rs')}"
        print(f"| {name} | {where} | {seed} | {text.split(':')[0]} |", flush=True)
    print(f"\n{found} of {tried} found by {chosen.seeds} seeds each")


if __name__ == "__main__":
    main()
