//! What a client reads of an item.

use outlast_media_core::AttemptId;
use outlast_proto::v1::{self, backup_up};
use outlast_proto::words::StatusCode;

use super::Client;
use crate::net::{Cx, MS, Proc, S, Timer};

impl Client {
    /// Reads on: another message of the item, or its end.
    pub(super) fn read(&mut self, cx: &mut Cx, id: AttemptId) {
        let Some(process) = &mut self.process else { return };
        let Some(work) = process.works.get_mut(&id) else {
            return;
        };
        let Some((item, left)) = work.reading else { return };
        if left == 0 {
            work.reading = None;
            // An item that cannot be read, now and then (S-02a).
            let fails = !cx.oracle.spares_agents && cx.rng.percent(1);
            let error = fails.then(|| v1::JobError {
                code: StatusCode::FILE_READ_FAILED.0.into(),
                text: "the item cannot be read".into(),
            });
            work.line.say(backup_up::Body::ItemEnd(v1::ItemEnd {
                item,
                error,
                excluded: 0,
            }));
        } else {
            work.reading = Some((item, left - 1));
            let body = if cx.rng.percent(10) {
                let path = format!("/file/{}", cx.fresh());
                cx.oracle.said(id, item, path.clone());
                let exception = v1::FileException {
                    path,
                    reason: "in use".into(),
                };
                backup_up::Body::Exceptions(v1::Exceptions {
                    exceptions: vec![exception],
                })
            } else {
                backup_up::Body::Path(v1::CurrentPath::default())
            };
            work.line.say(body);
            let takes = cx.rng.range(10 * MS, 3 * S);
            cx.timer(Proc::Client(self.n), takes, Timer::Read(id));
        }
        self.pump(cx, id);
    }
}
