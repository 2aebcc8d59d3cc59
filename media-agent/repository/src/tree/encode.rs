//! Writes trees as JSON, byte for byte as restic does, so that restic's tools that rewrite trees find them unchanged.
//! By hand, because Go escapes other characters than serde_json and because trees are many. Called by `Tree::encode`.

use std::convert::Infallible;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::id::BlobId;
use crate::time::Timestamp;
use crate::tree::Node;
use crate::tree::quote::quote;

pub(super) const BEGIN: &str = "{\"nodes\":[";
pub(super) const END: &str = "]}\n";

pub(super) fn tree(nodes: &[&Node]) -> Vec<u8> {
    let mut out = String::with_capacity(16 + nodes.len() * 400);
    let mut quoted = String::new();
    out.push_str(BEGIN);
    for (at, node) in nodes.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_node(&mut out, node, &mut quoted);
    }
    out.push_str(END);
    out.into_bytes()
}

/// Bytes of an id among the content of a file.
pub(super) const ID: usize = 67;

pub(super) fn push_node(out: &mut String, node: &Node, quoted: &mut String) {
    push_head(out, node, quoted);
    let Ok(()) = push_content(out, node.content.as_deref(), |_| Ok::<_, Infallible>(()));
    push_tail(out, node);
}

/// What stands before the content.
pub(super) fn push_head(out: &mut String, node: &Node, quoted: &mut String) {
    quoted.clear();
    quote(&node.name, quoted);
    out.push_str("{\"name\":");
    push_string(out, quoted);
    out.push_str(",\"type\":\"");
    out.push_str(node.kind.as_str());
    out.push('"');
    push_number(out, "mode", u64::from(node.mode));
    push_time(out, "mtime", node.mtime);
    push_time(out, "atime", node.atime);
    push_time(out, "ctime", node.ctime);
    push_formatted(out, format_args!(",\"uid\":{},\"gid\":{}", node.uid, node.gid));
    push_text(out, "user", &node.user);
    push_text(out, "group", &node.group);
    push_number(out, "inode", node.inode);
    push_number(out, "device_id", node.device_id);
    push_number(out, "size", node.size);
    push_number(out, "links", node.links);
    push_link_target(out, node.linktarget.as_deref().unwrap_or_default());
    push_attributes(out, node);
    push_number(out, "device", node.device);
}

/// What stands behind the content.
pub(super) fn push_tail(out: &mut String, node: &Node) {
    if let Some(subtree) = node.subtree {
        push_formatted(out, format_args!(",\"subtree\":\"{subtree}\""));
    }
    out.push('}');
}

/// The content of a file, or that there is none. `full` is called again and again, so that a long one need not be in `out` as a
/// whole.
pub(super) fn push_content<E>(
    out: &mut String,
    content: Option<&[BlobId]>,
    mut full: impl FnMut(&mut String) -> Result<(), E>,
) -> Result<(), E> {
    let Some(ids) = content else {
        out.push_str(",\"content\":null");
        return Ok(());
    };
    out.push_str(",\"content\":[");
    for (at, id) in ids.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        push_formatted(out, format_args!("\"{id}\""));
        full(out)?;
    }
    out.push(']');
    Ok(())
}

/// Fields that restic leaves out when they are zero.
fn push_number(out: &mut String, name: &str, value: u64) {
    if value != 0 {
        push_formatted(out, format_args!(",\"{name}\":{value}"));
    }
}

fn push_time(out: &mut String, name: &str, time: Timestamp) {
    push_formatted(out, format_args!(",\"{name}\":\"{time}\""));
}

/// Fields that restic leaves out when they are empty.
fn push_text(out: &mut String, name: &str, text: &str) {
    if !text.is_empty() {
        push_formatted(out, format_args!(",\"{name}\":"));
        push_string(out, text);
    }
}

/// A target that is not UTF-8 is written twice: mangled for old versions of restic, exactly for newer ones.
fn push_link_target(out: &mut String, target: &[u8]) {
    match std::str::from_utf8(target) {
        Ok(text) => push_text(out, "linktarget", text),
        Err(_) => {
            out.push_str(",\"linktarget\":\"");
            for chunk in target.utf8_chunks() {
                push_escaped(out, chunk.valid());
                // Go replaces every single invalid byte, and by an escape.
                chunk.invalid().iter().for_each(|_| out.push_str("\\ufffd"));
            }
            out.push('"');
            push_text(out, "linktarget_raw", &STANDARD.encode(target));
        }
    }
}

fn push_attributes(out: &mut String, node: &Node) {
    if node.extended_attributes.is_empty() {
        return;
    }
    out.push_str(",\"extended_attributes\":[");
    for (at, attribute) in node.extended_attributes.iter().enumerate() {
        out.push_str(if at == 0 { "{\"name\":" } else { ",{\"name\":" });
        push_string(out, &attribute.name);
        push_formatted(
            out,
            format_args!(",\"value\":\"{}\"}}", STANDARD.encode(&attribute.value)),
        );
    }
    out.push(']');
}

/// A JSON string as Go's encoder writes it.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

fn push_escaped(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                push_formatted(out, format_args!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
}

fn push_formatted(out: &mut String, arguments: std::fmt::Arguments<'_>) {
    out.write_fmt(arguments).expect("writing to a string cannot fail");
}
