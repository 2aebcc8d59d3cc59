//! A report as plain text. Layout only.

use super::{ErrorReport, Report};
use crate::human::clean;
use crate::table::{facts, indented};

/// The report for a terminal or a mail.
pub(crate) fn to_text(report: &Report) -> String {
    let mut text = heading("Job information");
    text += &indented(&facts(&report.job_information.facts()));
    for item in &report.items {
        text += &heading(&format!("Item {}", clean(&item.path)));
        text += &indented(&facts(&item.facts()));
    }
    text += &heading("Exceptions");
    text += &exceptions(report);
    text += &heading("Errors");
    text += &match report.errors.as_slice() {
        [] => "  none\n".to_owned(),
        errors => errors.iter().map(error).collect(),
    };
    text += &heading("Completion");
    text += &indented(&facts(&report.completion.facts()));
    // The first heading stands at the top.
    text.trim_start().to_owned()
}

fn heading(title: &str) -> String {
    format!("\n{title}\n{}\n", "-".repeat(title.chars().count()))
}

fn exceptions(report: &Report) -> String {
    let mut text: String = report
        .exceptions
        .iter()
        .map(|exception| format!("  {}: {}\n", clean(&exception.path), clean(&exception.why())))
        .collect();
    if report.exceptions_not_listed > 0 {
        text += &format!(
            "  and {} more that are not listed\n",
            report.exceptions_not_listed
        );
    }
    if text.is_empty() {
        text += "  none\n";
    }
    text
}

fn error(error: &ErrorReport) -> String {
    let cause = error
        .cause
        .as_deref()
        .map_or(String::new(), |cause| format!("    cause: {}\n", clean(cause)));
    format!(
        "  {} {}\n{cause}    help:  {}\n",
        error.code,
        clean(&error.meaning),
        clean(&error.help)
    )
}
