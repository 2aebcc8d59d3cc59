//! A report as one HTML page that needs nothing beside itself: style, help pages and all. Layout only.
//!
//! Invariant: nothing of the report reaches the page but through [`escaped`].

use std::collections::BTreeSet;

use super::facts::Fact;
use super::{ErrorReport, Report};

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; color: #1c2126; background: #fff; margin: 2rem auto; \
max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; border-bottom: 1px solid #c8ced4; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { text-align: left; vertical-align: top; padding: .1rem 1.2rem .1rem 0; }
th { font-weight: 500; color: #59636d; white-space: nowrap; } td { overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; font-size: .93em; }
.help { border-left: 3px solid #c8ced4; padding-left: 1rem; break-inside: avoid; }
@media print { body { margin: 0; max-width: none; } h2 { break-after: avoid; } section { break-inside: avoid-page; } }
";

/// The report for a browser, a mail or a printer.
pub(crate) fn to_html(report: &Report) -> String {
    let title = escaped(&report.title());
    let mut body = format!("<h1>{title}</h1>\n");
    body += &section("Job information", &fact_table(&report.job_information.facts()));
    for item in &report.items {
        body += &section(&format!("Item {}", item.path), &fact_table(&item.facts()));
    }
    body += &section("Exceptions", &exceptions(report));
    body += &section("Errors", &errors(&report.errors));
    body += &section("Completion", &fact_table(&report.completion.facts()));
    body += &help(&report.errors);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// The text with everything that HTML would obey made harmless.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in crate::human::clean(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// `content` is HTML already, `title` is not.
fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", escaped(title))
}

fn fact_table(facts: &[Fact]) -> String {
    let rows: String = facts
        .iter()
        .map(|(name, value)| {
            format!(
                "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>\n",
                escaped(value)
            )
        })
        .collect();
    format!("<table>\n{rows}</table>\n")
}

fn exceptions(report: &Report) -> String {
    let mut html = String::new();
    if !report.exceptions.is_empty() {
        let rows: String = report
            .exceptions
            .iter()
            .map(|e| {
                format!(
                    "<tr><td><code>{}</code></td><td>{}</td></tr>\n",
                    escaped(&e.path),
                    escaped(&e.why())
                )
            })
            .collect();
        html += &format!(
            "<table>\n<tr><th scope=\"col\">File</th><th scope=\"col\">Reason</th></tr>\n{rows}</table>\n"
        );
    }
    if report.exceptions_not_listed > 0 {
        html += &format!(
            "<p>and {} more that are not listed</p>\n",
            report.exceptions_not_listed
        );
    }
    if html.is_empty() {
        html += "<p>none</p>\n";
    }
    html
}

fn errors(errors: &[ErrorReport]) -> String {
    if errors.is_empty() {
        return "<p>none</p>\n".to_owned();
    }
    errors.iter().map(error).collect()
}

fn error(error: &ErrorReport) -> String {
    let cause = error
        .cause
        .as_deref()
        .map_or(String::new(), |cause| format!("<br>Cause: {}", escaped(cause)));
    let help = format!("<code>{}</code>", escaped(&error.help));
    let link = match crate::help_pages::page(error.code) {
        Some(_) => format!("<a href=\"#code-{}\">what to do</a>, or {help}", error.code),
        None => help,
    };
    format!(
        "<p><strong>{}</strong> {}{cause}<br>Help: {link}</p>\n",
        error.code,
        escaped(&error.meaning)
    )
}

/// The help page of every code that occurs, once.
fn help(errors: &[ErrorReport]) -> String {
    let codes: BTreeSet<u32> = errors.iter().map(|error| error.code).collect();
    codes
        .into_iter()
        .filter_map(|code| Some((code, crate::help_pages::page(code)?)))
        .map(|(code, page)| {
            format!(
                "<section class=\"help\" id=\"code-{code}\">\n{}</section>\n",
                from_page(page)
            )
        })
        .collect()
}

/// What a list item of a help page begins with: its bullet, or its number.
fn list_item(line: &str) -> Option<(&'static str, &str)> {
    if let Some(rest) = line.strip_prefix("- ") {
        return Some(("ul", rest));
    }
    let (number, rest) = line.split_once(". ")?;
    number.parse::<u8>().ok().map(|_| ("ol", rest))
}

/// The little Markdown our own help pages are written in: headings, paragraphs, lists and code.
fn from_page(page: &str) -> String {
    let mut html = String::new();
    for block in page.split("\n\n") {
        let mut lines = block.lines().peekable();
        if let Some(line) = lines.next_if(|line| line.starts_with('#')) {
            html += &format!("<h2>{}</h2>\n", inline(line.trim_start_matches('#').trim()));
        }
        // One entry for each paragraph or list item; a line that begins neither goes on with the one before.
        let mut parts: Vec<(&str, String)> = Vec::new();
        for line in lines {
            match (list_item(line), parts.last_mut()) {
                (Some((list, rest)), _) => parts.push((list, rest.to_owned())),
                (None, Some((_, text))) => *text = format!("{text} {}", line.trim()),
                (None, None) => parts.push(("p", line.to_owned())),
            }
        }
        for group in parts.chunk_by(|a, b| a.0 == b.0) {
            let tag = group[0].0;
            let content = group.iter().map(|(_, text)| inline(text));
            html += &match tag {
                "p" => content.map(|text| format!("<p>{text}</p>\n")).collect::<String>(),
                _ => {
                    let entries: String = content.map(|text| format!("<li>{text}</li>\n")).collect();
                    format!("<{tag}>\n{entries}</{tag}>\n")
                }
            };
        }
    }
    html
}

/// Text with `code` in it.
fn inline(text: &str) -> String {
    text.split('`')
        .enumerate()
        .map(|(i, part)| match i % 2 {
            0 => escaped(part),
            _ => format!("<code>{}</code>", escaped(part)),
        })
        .collect()
}
