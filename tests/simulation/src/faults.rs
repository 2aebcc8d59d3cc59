//! What goes wrong: kills, pauses, cuts, clocks that jump, disks that are set back. Everything comes back in the end.

use std::collections::BTreeSet;

use outlast_proto::words::AgentAdmin;

use crate::World;
use crate::net::{Event, MS, Msg, Proc, S, Time, Timer};
use crate::raft::NODES;
use crate::work::{CLIENTS, MEDIA, media_name};

/// All processes but the operator's.
fn all() -> Vec<Proc> {
    let primaries = (0..NODES).map(Proc::Primary);
    let media = (0..MEDIA).map(Proc::Media);
    primaries
        .chain(media)
        .chain((0..CLIENTS).map(Proc::Client))
        .collect()
}

impl World {
    /// Something goes wrong now, and the next thing some time later.
    pub(crate) fn fault(&mut self) {
        if self.cx.healed {
            return;
        }
        let again = self.pace * self.cx.rng.range(200 * MS, 8 * S);
        self.cx.at(self.cx.now + again, Event::Fault);
        let one = self.victim();
        match self.cx.rng.range(1, 100) {
            1..=20 if self.spares_agents => self.kill_all_primaries(),
            1..=30 => self.kill(one),
            31..=34 => self.kill_all_primaries(),
            35..=44 if self.sets_disks_back => self.touch_disk(),
            35..=50 => self.pause(one),
            51..=62 => self.cut_pair(),
            63..=72 => self.isolate(one),
            73..=85 => (0..3).for_each(|_| self.cx.reset_one()),
            86..=93 => self.jump(one),
            _ => self.touch_disk(),
        }
    }

    /// Who fails: anybody, or in some runs only primaries.
    fn victim(&mut self) -> Proc {
        if self.spares_agents {
            return Proc::Primary(self.cx.rng.below(NODES));
        }
        let all = all();
        all[self.cx.rng.below(all.len())]
    }

    /// An outage; often one that is longer than any patience.
    fn kill_all_primaries(&mut self) {
        let after = self.cx.rng.range(S, 180 * S);
        for n in 0..NODES {
            let soon = self.cx.rng.range(0, 2 * S);
            self.kill_for(Proc::Primary(n), after + soon);
        }
    }

    fn kill(&mut self, proc: Proc) {
        let long = self.cx.rng.percent(20);
        let after = if long {
            self.cx.rng.range(10 * S, 60 * S)
        } else {
            self.cx.rng.range(100 * MS, 10 * S)
        };
        self.kill_for(proc, after);
    }

    fn kill_for(&mut self, proc: Proc, after: Time) {
        let is_up = self.cx.hosts[&proc].up;
        if !is_up {
            return;
        }
        self.cx.note(|| format!("{proc:?} is killed"));
        let silently = self.cx.rng.percent(20);
        self.cx.kill(proc, silently);
        self.crash(proc);
        self.cx.at(self.cx.now + after, Event::Restart(proc));
    }

    fn pause(&mut self, proc: Proc) {
        let host = self.cx.hosts.get_mut(&proc).expect("every process has a host");
        if !host.up || host.paused {
            return;
        }
        host.paused = true;
        self.cx.note(|| format!("{proc:?} is paused"));
        let after = self.cx.rng.range(100 * MS, 30 * S);
        self.cx.at(self.cx.now + after, Event::Resume(proc));
    }

    fn cut_pair(&mut self) {
        let all = all();
        let (a, b) = (self.victim(), all[self.cx.rng.below(all.len())]);
        let mut pairs = BTreeSet::from([(a, b)]);
        if self.cx.rng.percent(70) {
            pairs.insert((b, a));
        }
        self.cut(pairs);
    }

    /// Cuts one off from all primaries, or from everybody.
    fn isolate(&mut self, proc: Proc) {
        let only_primaries = self.cx.rng.percent(60);
        let others = all().into_iter().filter(|other| *other != proc);
        let others = others.filter(|other| !only_primaries || matches!(other, Proc::Primary(_)));
        let pairs = others.flat_map(|other| [(proc, other), (other, proc)]).collect();
        self.cut(pairs);
    }

    fn cut(&mut self, pairs: BTreeSet<(Proc, Proc)>) {
        self.cx.note(|| format!("cut: {pairs:?}"));
        self.cx.cuts.extend(&pairs);
        let after = self.cx.rng.range(100 * MS, 40 * S);
        self.cx.at(self.cx.now + after, Event::Heal(pairs));
    }

    /// A wall clock jumps by up to an hour.
    fn jump(&mut self, proc: Proc) {
        let micros = i64::try_from(self.cx.rng.range(0, 7200 * S)).expect("it is small") - 3_600_000_000;
        self.cx
            .note(|| format!("the clock of {proc:?} is off by {micros}"));
        self.cx
            .hosts
            .get_mut(&proc)
            .expect("every process has a host")
            .skew = micros;
    }

    /// Copies a media agent's disk, or brings an older copy back. In some runs only.
    fn touch_disk(&mut self) {
        let n = self.cx.rng.below(MEDIA);
        let proc = Proc::Media(n);
        if !self.sets_disks_back || !self.cx.hosts[&proc].up || self.media[n].set_back {
            return;
        }
        if self.cx.rng.percent(50) {
            return self.media[n].copy_disk();
        }
        self.kill(proc);
        if self.media[n].set_disk_back(&mut self.cx) {
            self.cx.note(|| format!("the disk of {proc:?} is set back"));
        }
    }

    /// An operator drains a media agent, or takes that back; he says it again, for nobody may have heard it.
    pub(crate) fn drain(&mut self, n: usize) {
        let is_healed = self.cx.healed;
        let Some(drains) = &mut self.drains else { return };
        drains[n] = !is_healed && !drains[n];
        let admin = match drains[n] {
            true => AgentAdmin::Draining,
            false => AgentAdmin::Enabled,
        };
        let agent = media_name(n);
        let primary = Proc::Primary(self.cx.rng.below(NODES));
        let conn = self.cx.connect(Proc::Operator, primary);
        self.cx.send(Proc::Operator, conn, Msg::SetAdmin { agent, admin });
        self.drain_later();
    }

    /// After a time in which attempts begin, and get somewhere.
    pub(crate) fn drain_later(&mut self) {
        let n = self.cx.rng.below(MEDIA);
        let when = self.cx.rng.range(S, 15 * S);
        self.cx.timer(Proc::Operator, when, Timer::Drain(n));
    }

    /// Nothing goes wrong any more, and everything is there.
    pub(crate) fn heal(&mut self) {
        self.cx.note(|| "faults are over".to_owned());
        self.cx.healed = true;
        self.cx.cuts.clear();
        for proc in all() {
            self.restart(proc);
            self.resume(proc);
        }
    }
}
