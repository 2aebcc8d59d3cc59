//! L-01: the sections, in every form, and nothing that a file name could smuggle in.

use outlast_proto::v1;

use super::{Report, to_html, to_text};

fn stamp(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn log() -> v1::JobLog {
    let start = 1_767_225_600;
    v1::JobLog {
        by: None,
        restore: None,
        job: "7".into(),
        policy: "home".into(),
        kind: v1::JobKind::Backup.into(),
        attempt: Some(v1::History {
            id: "7-2".into(),
            job: "7".into(),
            attempt: 2,
            media_agent: "media-1".into(),
            client: "laptop".into(),
            status: v1::CompletionStatus::Failed.into(),
            status_code: Some(71),
            started_at: stamp(start),
            ended_at: stamp(start + 90),
            ..Default::default()
        }),
        items: vec![v1::ItemLog {
            path: "/home/<b>".into(),
            outcome: v1::ItemOutcome::DoneWithExceptions.into(),
            restore_point: "abc".into(),
            counters: Some(v1::Counters {
                files: 3,
                directories: 2,
                bytes: 4096,
                bytes_read: 2048,
                bytes_new: 1024,
                bytes_carried_over: 512,
                exceptions: 1,
                excluded: 4,
                ..Default::default()
            }),
            started_at: stamp(start),
            ended_at: stamp(start + 2),
            error: None,
        }],
        exceptions: vec![v1::FileException {
            path: "/home/<script>alert('x')</script>&\"\x1b[2J".into(),
            reason: "changed <while> read".into(),
        }],
        exceptions_not_listed: 5,
        errors: vec![v1::ErrorLog {
            code: 71,
            meaning: "no such path".into(),
            cause: "/srv/<x>".into(),
            help: String::new(),
        }],
        running: false,
        earlier_exceptions: vec![v1::EarlierExceptions {
            attempt: 1,
            exceptions: vec![v1::FileException {
                path: "/etc/locked".into(),
                reason: "in use".into(),
            }],
        }],
    }
}

#[test]
fn l01_text_has_every_section() {
    let text = to_text(&Report::new(&log()));
    let mut rest = text.as_str();
    for expected in [
        "Job information\n---------------\n",
        "Job:          7",
        "Policy:       home",
        "Client:       laptop",
        "Media agent:  media-1",
        "Attempt:      2",
        "Started:      2026-01-01 00:00:00Z",
        "\nItem /home/<b>\n",
        "Restore point:  abc",
        "Files:          3",
        "Directories:    2",
        "Read:           2.0 KiB",
        "New:            1.0 KiB",
        "Carried over:   512 B",
        "Skipped:        1",
        "Excluded:       4",
        "Rate:           1.0 KiB/s",
        "\nExceptions\n",
        "/home/<script>alert('x')</script>&\"\\x1B[2J: changed <while> read",
        "and 5 more",
        "\nErrors\n",
        "71 no such path",
        "cause: /srv/<x>",
        "help:  outlast help code 71",
        "\nCompletion\n",
        "Status:        failed",
        "Code:          71",
        "Ended:         2026-01-01 00:01:30Z",
        "Elapsed:       1m 30s",
    ] {
        let at = rest
            .find(expected)
            .unwrap_or_else(|| panic!("{expected:?} is not there, or not in its place, in\n{text}"));
        rest = &rest[at..];
    }
}

#[test]
fn l01_html_is_escaped_and_complete_in_itself() {
    let html = to_html(&Report::new(&log()));
    for expected in [
        "<title>Job 7, attempt 2</title>",
        "<h2>Item /home/&lt;b&gt;</h2>",
        "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\x1B[2J",
        "changed &lt;while&gt; read",
        "Cause: /srv/&lt;x&gt;",
        "<a href=\"#code-71\">",
        "id=\"code-71\"",
        "<h2>71: no such path</h2>",
        "<li>A typing error in <code>items</code>, or the folder was moved or removed.</li>",
        "<td>failed</td>",
    ] {
        assert!(html.contains(expected), "{expected} is not in\n{html}");
    }
    for unwanted in ["<script", "http://", "https://", "<b>", "<x>", "\x1b", "src="] {
        assert!(!html.contains(unwanted), "{unwanted:?} is in\n{html}");
    }
}

#[test]
fn l01_json_has_every_section() {
    let value = serde_json::to_value(Report::new(&log())).unwrap();
    assert_eq!(value["job_information"]["media_agent"], "media-1");
    assert_eq!(value["job_information"]["started_at"], "2026-01-01T00:00:00Z");
    assert_eq!(value["items"][0]["bytes_read"], 2048);
    assert_eq!(value["items"][0]["rate"], 1024);
    assert_eq!(value["items"][0]["skipped"], 1);
    assert_eq!(value["items"][0]["excluded"], 4);
    assert_eq!(value["exceptions"][1]["reason"], "changed <while> read");
    assert_eq!(value["errors"][0]["help"], "outlast help code 71");
    assert_eq!(value["completion"]["status"], "failed");
    assert_eq!(value["completion"]["elapsed_seconds"], 90.0);
}

#[test]
fn s12a_a_log_without_an_attempt_is_a_log() {
    let log = v1::JobLog {
        job: "9".into(),
        ..Default::default()
    };
    let report = Report::new(&log);
    let text = to_text(&report);
    assert!(
        text.contains("Media agent:  -") && text.contains("Attempt:      0"),
        "{text}"
    );
    assert!(
        text.contains("Exceptions\n----------\n  none\n\nErrors\n------\n  none\n"),
        "{text}"
    );
    assert!(to_html(&report).contains("<p>none</p>"));
}
