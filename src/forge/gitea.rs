//! Gitea, Forgejo and Gogs. They sign the JSON: the body itself, or in a form post the decoded `payload` field.

use std::borrow::Cow;

use super::payload::Meaning;
use super::signature::Call;
use super::{Refused, form, github};
use crate::model::ForgeSecrets;

pub(super) const EVENT: [&str; 3] = ["X-Gitea-Event", "X-Forgejo-Event", "X-Gogs-Event"];
pub(super) const DELIVERY: [&str; 3] = ["X-Gitea-Delivery", "X-Forgejo-Delivery", "X-Gogs-Delivery"];
pub(super) const SIGNATURE: [&str; 3] = ["X-Gitea-Signature", "X-Forgejo-Signature", "X-Gogs-Signature"];

pub(super) fn verify<'b>(call: Call<'_, 'b>, secrets: &ForgeSecrets) -> Result<Cow<'b, [u8]>, Refused> {
    let payload = if form::is_form(call.headers) {
        match form::payload(call.body) {
            Some(payload) => Cow::Owned(payload),
            None => {
                return Err(
                    call.refuse("the body is a form without the field `payload`, which is what is signed".into())
                );
            }
        }
    } else {
        Cow::Borrowed(call.body)
    };
    // The first that is there counts; a bad one is not made good by another.
    let header = SIGNATURE.into_iter().find(|name| call.headers.contains_key(*name)).unwrap_or(SIGNATURE[0]);
    call.check_hex(header, "", &payload, &secrets.secrets)?;
    Ok(payload)
}

pub(super) fn parse(event: &str, text: &str) -> Result<Meaning, Refused> {
    match event {
        "push" => github::push("gitea push", text),
        "delete" => github::other("gitea delete", text, "a branch or tag was deleted"),
        _ => github::other(&format!("gitea {event}"), text, &format!("the event is {event}; only push is acted on")),
    }
}
