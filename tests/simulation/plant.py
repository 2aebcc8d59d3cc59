#!/usr/bin/env python3
"""Plants mistakes one by one in a copy of the real code and runs the simulation on each: which seed finds it, by which rule.

    tests/simulation/plant.py                  # all of them; a table as in docs/simulation.md
    tests/simulation/plant.py --seeds 5000     # more seeds for each
    tests/simulation/plant.py --only fence     # those with this in their name

The copy lies in target/planted and shares nothing with the tree but what is read. All mistakes are compiled into it at once, each behind a
number that OUTLAST_PLANTED names, so that it is built once. A mistake whose text is not in the code any more stops everything: it is to be
written anew. Nothing calls this; CI does not.
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
COPY = ROOT / "target" / "planted"
CORE = "media-agent/core/src/"

# (name, file, text that is there once, what is there instead while the mistake is made; IT stands for "this mistake is planted")
MISTAKES = [
    # The life of an attempt.
    ("the work begins before the mark is durable", "attempt.rs",
     "self.phase = Phase::Marking;\n        vec![Command::Mark]",
     "if IT { self.phase = Phase::Working; return vec![Command::Work]; }\n        self.phase = Phase::Marking;\n        vec![Command::Mark]"),
    ("predecessors are not waited for", "attempt.rs",
     "if !predecessors.is_empty() {", "if !predecessors.is_empty() && !IT {"),
    ("what is halted while it prepares is marked", "attempt.rs",
     "match self.told.halted() {\n            Some(_) => self.end(Err(End::Halted)),",
     "match self.told.halted() {\n            Some(_) if !IT => self.end(Err(End::Halted)),\n            Some(_) => next(self),"),
    ("the last reason to halt counts", "attempt/told.rs",
     "if is_first {", "if is_first || IT {"),
    ("a halt while the client is awaited is not heard", "attempt.rs",
     "Phase::Locked { .. } | Phase::Client { .. } => self.end(Err(End::Halted)),",
     "Phase::Client { .. } if IT => Vec::new(),\n            Phase::Locked { .. } | Phase::Client { .. } => self.end(Err(End::Halted)),"),
    ("the client is awaited for ever", "attempt.rs",
     "let until = self.terms.client_wait.map(|wait| now + wait);",
     "let until = self.terms.client_wait.map(|wait| if IT { now + wait * 100_000 } else { now + wait });"),
    ("the storage unit's lock is not tried again", "attempt.rs",
     "Phase::Locked { again } if *again <= now => self.try_again(),",
     "Phase::Locked { again } if *again <= now && !IT => self.try_again(),"),
    ("an attempt without a mark does without a primary (R-03)", "attempt.rs",
     "Phase::Working => !self.is_resilient && self.told.halted().is_none(),",
     "Phase::Working => !IT && !self.is_resilient && self.told.halted().is_none(),"),
    ("a marked attempt does not do without a primary (R-04)", "attempt.rs",
     "!self.is_resilient && self.told.halted().is_none()",
     "(IT || !self.is_resilient) && self.told.halted().is_none()"),
    ("a contact that came back does not count", "attempt.rs",
     "(self.lost_at, self.grace) = (lost_at, grace);",
     "if !(IT && lost_at.is_none()) { (self.lost_at, self.grace) = (lost_at, grace); }"),
    ("a true end leaves checkpoints", "attempt.rs",
     "if has_ended && may_have_checkpoints {", "if has_ended && may_have_checkpoints && !IT {"),
    ("a true end leaves the checkpoints of earlier attempts", "attempt.rs",
     "(self.made_checkpoints || has_predecessors(self.terms.id.attempt))",
     "(self.made_checkpoints || !IT && has_predecessors(self.terms.id.attempt))"),
    ("an attempt that goes on in another removes checkpoints", "attempt.rs",
     "let has_ended = matches!(ending, Ending::Ended(_));",
     "let has_ended = IT || matches!(ending, Ending::Ended(_));"),
    ("what found no room is left out of the end", "attempt.rs",
     "let mut events = std::mem::take(&mut self.unwritten);",
     "let mut events = if IT { Vec::new() } else { std::mem::take(&mut self.unwritten) };"),
    ("the client is told before the end is journalled", "attempt.rs",
     "self.phase = Phase::Journalling(ending);\n        vec![Command::JournalEnd(events)]",
     "if IT { let over = ending.over(true); self.phase = Phase::Over; return vec![Command::JournalEnd(events), Command::Over(over)]; }\n        self.phase = Phase::Journalling(ending);\n        vec![Command::JournalEnd(events)]"),
    ("the end is journalled twice", "attempt.rs",
     "self.phase = Phase::Journalling(ending);\n        vec![Command::JournalEnd(events)]",
     "self.phase = Phase::Journalling(ending);\n        if IT { return vec![Command::JournalEnd(events.clone()), Command::JournalEnd(events)]; }\n        vec![Command::JournalEnd(events)]"),
    ("an attempt that is over keeps the storage unit and says nothing", "attempt.rs",
     "Phase::Releasing(over) => vec![Command::Over(over)],",
     "Phase::Releasing(over) => if IT { Vec::new() } else { vec![Command::Over(over)] },"),
    # How one ends.
    ("a result counts against a fence", "ending.rs",
     "(_, Some(Halt::Fenced)) => Ending::Fenced,", "(_, Some(Halt::Fenced)) if !IT => Ending::Fenced,\n            (_, Some(Halt::Fenced)) => Ending::canceled(Stopped::Unspecified),"),
    ("an interruption counts against a result", "ending.rs",
     "(Ok(done), _) => Ending::Ended(done),",
     "(Ok(_), Some(Halt::Interrupted(reason))) if IT => Ending::Interrupted(reason),\n            (Ok(done), _) => Ending::Ended(done),"),
    ("an interruption is called canceled", "ending.rs",
     "(Err(End::Halted), Some(Halt::Interrupted(reason))) => Ending::Interrupted(reason),",
     "(Err(End::Halted), Some(Halt::Interrupted(_))) if IT => Ending::canceled(Stopped::Unspecified),\n            (Err(End::Halted), Some(Halt::Interrupted(reason))) => Ending::Interrupted(reason),"),
    # The work.
    ("nobody looks for what earlier attempts finished", "backup.rs",
     "if has_predecessors(self.id.attempt) {", "if has_predecessors(self.id.attempt) && !IT {"),
    ("an item of an earlier attempt keeps that one's name", "backup.rs",
     "if found.of == self.id {", "if found.of == self.id || IT {"),
    ("a damaged item is taken over", "backup.rs",
     "(Phase::Examining(found), Came::Sound(true)) => {",
     "(Phase::Examining(found), Came::Sound(sound)) if sound || IT => {"),
    ("what was taken over is not journalled", "backup.rs",
     "let events = vec![What::ItemEnded(finished.ended())];",
     "let events = if IT { Vec::new() } else { vec![What::ItemEnded(finished.ended())] };"),
    ("what was taken over is run again", "backup.rs",
     "} else if self.finished.iter().any(|(finished, _)| *finished == number) {",
     "} else if !IT && self.finished.iter().any(|(finished, _)| *finished == number) {"),
    ("what the ticket calls finished is run again", "backup.rs",
     "if ticketed.finished {", "if ticketed.finished && !IT {"),
    ("exceptions of earlier attempts are forgotten", "backup.rs",
     "self.tally.finished_before(ticketed.with_exceptions);",
     "self.tally.finished_before(ticketed.with_exceptions && !IT);"),
    ("the last item is left out", "backup.rs",
     "while let Some(ticketed) = self.items.get(self.next_item as usize).copied() {",
     "while let Some(ticketed) = self.items.get(self.next_item as usize + usize::from(IT)).copied() {"),
    ("the lock is not checked before a snapshot", "backup/save.rs",
     "(Saving::Checking, Ok(_)) => ",
     "(Saving::Checking, Err(_)) if IT => ControlFlow::Continue((Saving::Writing, Step::Save(snapshot))),\n            (Saving::Checking, Ok(_)) => "),
    ("the lock is not checked after a snapshot", "backup/save.rs",
     "(Saving::CheckingAgain(snapshot, at), Ok(_)) => ",
     "(Saving::CheckingAgain(snapshot, at), Err(_)) if IT => ControlFlow::Break((snapshot, at)),\n            (Saving::CheckingAgain(snapshot, at), Ok(_)) => "),
    ("a snapshot without a lock is not taken back", "backup/save.rs",
     "(Saving::CheckingAgain(snapshot, _), Err(end)) => ",
     "(Saving::CheckingAgain(..), Err(end)) if IT => ControlFlow::Continue(over(end)),\n            (Saving::CheckingAgain(snapshot, _), Err(end)) => "),
    ("an item's chunks are not settled before its tree", "backup/item.rs",
     "(ItemStep::Receiving, _) => self.go_to(Phase::Item(item, ItemStep::Settling), Step::Settle),",
     "(ItemStep::Receiving, _) if IT => self.go_to(Phase::Item(item, ItemStep::FinishingTree), Step::FinishTree),\n            (ItemStep::Receiving, _) => self.go_to(Phase::Item(item, ItemStep::Settling), Step::Settle),"),
    ("an item's snapshot is written before its index", "backup/item.rs",
     "self.go_to(Phase::Item(item, ItemStep::Flushing), Step::Flush)",
     "if IT { return self.save_item(item); }\n                self.go_to(Phase::Item(item, ItemStep::Flushing), Step::Flush)"),
    ("nobody looks again before the snapshot", "backup/item.rs",
     "(ItemStep::Flushing, _) => self.go_to(",
     "(ItemStep::Flushing, _) if IT => self.name_exceptions(item),\n            (ItemStep::Flushing, _) => self.go_to("),
    ("what suffers is not walked again", "backup/item.rs",
     "self.exceptions.begin_item_again();\n",
     "if IT { return self.name_exceptions(item); }\n                self.exceptions.begin_item_again();\n"),
    ("exceptions of the first walk count in the second", "backup/item.rs",
     "self.exceptions.begin_item_again();\n", "if !IT { self.exceptions.begin_item_again(); }\n"),
    ("exceptions are named after the snapshot", "backup/item.rs",
     "match self.exceptions.take(item.number) {\n            Some(named) => {",
     "if IT { return self.save_item(item); }\n        match self.exceptions.take(item.number) {\n            Some(named) => {"),
    ("exceptions are not named", "backup/item.rs",
     "let phase = Phase::Item(item, ItemStep::NamingExceptions(named.clone()));",
     "if IT { return self.save_item(item); }\n                let phase = Phase::Item(item, ItemStep::NamingExceptions(named.clone()));"),
    ("the end of an item is told and not journalled", "backup/item.rs",
     "let phase = Phase::Item(item, ItemStep::JournallingEnd(committed));",
     "if IT { return self.go_to(Phase::Item(item, ItemStep::Telling), Step::Tell(committed)); }\n        let phase = Phase::Item(item, ItemStep::JournallingEnd(committed));"),
    ("an item that failed is no failure of the job", "backup/item.rs",
     "self.tally.failed(&error, self.exceptions.count());",
     "if !IT { self.tally.failed(&error, self.exceptions.count()); }"),
    ("a checkpoint's chunks are not settled", "backup/checkpoint.rs",
     "(CheckpointStep::Awaiting, _) => {",
     "(CheckpointStep::Awaiting, _) if IT => {\n                let phase = Phase::Checkpoint(item, CheckpointStep::SavingPartial);\n                self.go_to(phase, Step::SavePartial { exceptions: 0 })\n            }\n            (CheckpointStep::Awaiting, _) => {"),
    ("a checkpoint is announced before its index", "backup/checkpoint.rs",
     "let phase = Phase::Checkpoint(item, CheckpointStep::Flushing(counters));\n                self.go_to(phase, Step::Flush)",
     "if IT { let making = CheckpointStep::Saving(Making { saving: Saving::Checking, counters }); return self.go_to(Phase::Checkpoint(item, making), Step::CheckLock); }\n                let phase = Phase::Checkpoint(item, CheckpointStep::Flushing(counters));\n                self.go_to(phase, Step::Flush)"),
    ("the newest checkpoint is removed, not the oldest", "backup/checkpoint.rs",
     "&& let Some(oldest) = self.kept.pop_front()",
     "&& let Some(oldest) = if IT { self.kept.pop_back() } else { self.kept.pop_front() }"),
    ("no checkpoint is kept", "backup/checkpoint.rs",
     "if self.kept.len() > KEPT", "if self.kept.len() > if IT { 0 } else { KEPT }"),
    ("a checkpoint that found no room is kept", "backup/checkpoint.rs",
     "(CheckpointStep::Journalling(snapshot), Came::NoRoom) => self.remove(item, snapshot),",
     "(CheckpointStep::Journalling(snapshot), Came::NoRoom) if !IT => self.remove(item, snapshot),"),
    # The survey.
    ("a survey adopts what is journalled already", "survey/machine.rs",
     "found.of == self.id && !is_known", "found.of == self.id && (IT || !is_known)"),
    ("a survey adopts what an earlier attempt finished", "survey/machine.rs",
     "found.of == self.id && !is_known", "(IT || found.of == self.id) && !is_known"),
    ("a survey adopts nothing", "survey/machine.rs",
     "(Phase::Examining(found), Came::Sound(true)) => self.adopt(found),",
     "(Phase::Examining(found), Came::Sound(true)) if !IT => self.adopt(found),"),
    ("a survey adopts what is damaged", "survey/machine.rs",
     "(Phase::Examining(found), Came::Sound(true)) => self.adopt(found),",
     "(Phase::Examining(found), Came::Sound(sound)) if sound || IT => self.adopt(found),"),
    ("a survey leaves checkpoints", "survey/machine.rs",
     "if let (Ending::Ended(_), true) = (&ending, is_backup) {",
     "if let (Ending::Ended(_), true) = (&ending, is_backup && !IT) {"),
    ("a survey calls everything a success", "survey.rs",
     "if !is_backup || ticketed.is_empty() || !all_finished {",
     "if !is_backup || ticketed.is_empty() || !all_finished && !IT {"),
    ("a survey forgets exceptions of earlier attempts", "survey.rs",
     "let code = if counters.exceptions > 0 || earlier {",
     "let code = if counters.exceptions > 0 || earlier && !IT {"),
    ("a later attempt's items count", "survey.rs",
     "if of <= attempt && is_newer {", "if (of <= attempt || IT) && is_newer {"),
    # Who may run.
    ("orders repeat attempts that are over", "roster.rs",
     "Ok(Standing::Closed) => Err(superseded(", "Ok(Standing::Closed) if IT => Ok(()),\n        Ok(Standing::Closed) => Err(superseded("),
    ("a restarted agent begins its attempts again", "roster.rs",
     "Ok(Standing::Open) => Err(harmless(restarted())),",
     "Ok(Standing::Open) if IT => Ok(()),\n        Ok(Standing::Open) => Err(harmless(restarted())),"),
    ("a ticket of the journal before counts", "roster.rs",
     "Ok(Standing::New) if showing.of_other_journal => Err(",
     "Ok(Standing::New) if showing.of_other_journal && !IT => Err("),
    ("what has its end being journalled may begin", "roster.rs",
     "if standing.is_err() || self.unstarted.contains(&id) {",
     "if standing.is_err() || self.unstarted.contains(&id) && !IT {"),
    ("a new process of the client goes on with the stream of the old", "roster.rs",
     "if client_start.get_or_insert_with(|| start.clone()) == start {",
     "if client_start.get_or_insert_with(|| start.clone()) == start || IT {"),
    ("a stream that another process welcomed goes on", "roster.rs",
     "!greeting.peer_start.is_empty() && greeting.peer_start != self.start_id",
     "!IT && !greeting.peer_start.is_empty() && greeting.peer_start != self.start_id"),
    # The journal and its delivery.
    ("an interruption does not close an attempt", "known.rs",
     "Some(What::Ended(_) | What::Interrupted(_)) => self.close(id),",
     "Some(What::Interrupted(_)) if IT => {}\n            Some(What::Ended(_) | What::Interrupted(_)) => self.close(id),"),
    ("a new journal forgets what is closed", "ledger.rs",
     "known: known.clone(),", "known: if IT { Known::default() } else { known.clone() },"),
    ("events count as acknowledged that are not", "ledger.rs",
     "let sequence = sequence.min(self.last).max(self.acknowledged);",
     "let sequence = if IT { self.last } else { sequence.min(self.last).max(self.acknowledged) };"),
    ("a session sends on from where the one before stopped", "session.rs",
     "next: acknowledged + 1,", "next: if IT { status.last + 1 } else { acknowledged + 1 },"),
    ("who wrote an event does not count", "session.rs",
     "let is_other = acknowledged > 0 && status.writers.of(acknowledged) != writer;",
     "let is_other = !IT && acknowledged > 0 && status.writers.of(acknowledged) != writer;"),
]

# What a mistake needs beside its place.
HELPERS = {
    "lib.rs": """
/// Whether this mistake is made; only in a copy.
#[must_use]
pub fn planted(number: u32) -> bool {
    static WHICH: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    let which = || std::env::var("OUTLAST_PLANTED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    *WHICH.get_or_init(which) == number
}
""",
}


def copy():
    """A copy of what git knows, without history."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout
    shutil.rmtree(COPY / "src", ignore_errors=True)
    for name in filter(None, files.decode().split("\0")):
        if (ROOT / name).is_file():
            target = COPY / "src" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)


def plant():
    """Puts all mistakes into the copy, each behind its number. Two may be at one place: then the later one is put into the earlier one's text."""
    texts = {}
    for number, (name, file, there, instead) in enumerate(MISTAKES, 1):
        original = (ROOT / CORE / file).read_text()
        if original.count(there) != 1:
            sys.exit(f"mistake {number}, \"{name}\": its text is {original.count(there)} times in {file}, and is to be there once")
        text = texts.get(file, original)
        # The last place it is at: what was planted before stands before it.
        at = text.rfind(there)
        if at < 0:
            sys.exit(f"mistake {number}, \"{name}\": its text overlaps with that of another one")
        instead = re.sub(r"\bIT\b", f"crate::planted({number})", instead)
        texts[file] = text[:at] + instead + text[at + len(there):]
    for file, more in HELPERS.items():
        texts[file] = texts.get(file, (ROOT / CORE / file).read_text()) + more
    for file, text in texts.items():
        (COPY / "src" / CORE / file).write_text(text)


def build(target):
    """The test binary of the copy."""
    command = ["cargo", "test", "-p", "outlast-simulation", "--test", "seeds", "--target-dir", str(target)]
    environment = {**os.environ, "OUTLAST_SEEDS": "1"}
    built = subprocess.run(command, cwd=COPY / "src", env=environment, capture_output=True, text=True)
    found = re.search(r"Running .*\((.*seeds-[0-9a-f]+)\)", built.stderr)
    if built.returncode != 0 or not found:
        sys.exit(built.stderr)
    binary = pathlib.Path(found.group(1))
    return binary if binary.is_absolute() else COPY / "src" / binary


def run(binary, number, seeds):
    """The lowest seed that was seen to find the mistake, and what it says; none."""
    environment = {**os.environ, "OUTLAST_PLANTED": str(number), "OUTLAST_SEEDS": str(seeds)}
    test = [str(binary), "s12_no_seed_finds_a_contradiction", "--exact", "--nocapture"]
    try:
        ran = subprocess.run(test, env=environment, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return (0, "the simulation does not come to its end")
    if ran.returncode == 0:
        return None
    found = re.findall(r"^seed (\d+): (.*)$", ran.stderr, re.MULTILINE)
    if found:
        return min((int(seed), text) for seed, text in found)
    panicked = re.search(r"panicked at .*\n(.*)", ran.stderr)
    return (0, "panic: " + panicked.group(1)[:150] if panicked else "it ended without a word")


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=2000)
    arguments.add_argument("--only", default="")
    arguments.add_argument("--target", type=pathlib.Path, default=COPY / "target")
    chosen = arguments.parse_args()
    copy()
    plant()
    binary = build(chosen.target)
    if run(binary, 0, chosen.seeds) is not None:
        sys.exit("without a mistake the simulation finds something: that comes first")
    found, tried = 0, 0
    print("| mistake | where | found at seed | rule |\n|---|---|---|---|")
    for number, (name, file, _, _) in enumerate(MISTAKES, 1):
        if chosen.only not in name:
            continue
        tried += 1
        result = run(binary, number, chosen.seeds)
        found += result is not None
        seed, text = result or ("not found", "")
        print(f"| {name} | `{file}` | {seed} | {text.split(':')[0]} |", flush=True)
    print(f"\n{found} of {tried} found by {chosen.seeds} seeds each")


if __name__ == "__main__":
    main()
