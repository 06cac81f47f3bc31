//! Webhooks: every signature vector and payload of the corpus, refusals and their two messages, hostile input.
#![allow(clippy::unwrap_used, reason = "the functions that tests share")]

mod refused;

use airplanes::forge::{self, ForgeSecrets, NOT_AUTHENTIC, Parsed, Received, Refused};
use airplanes::model::{Branch, Forge, Push, RepoUrl, Secret, Sha, TagPush};
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;
use proptest::prelude::*;

use crate::support::corpus;

const SECRET: &str = "It's a Secret to Everybody";
const BEFORE: &str = "9836a96a253cce25d17988fcf41b8c4205cf779f";
const AFTER: &str = "4522cbcefc20728a5b72b3a86af35e608622c514";
const ZERO: &str = "0000000000000000000000000000000000000000";

fn headers<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> HeaderMap {
    pairs
        .into_iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_ref().as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(value.as_ref().as_bytes()).unwrap())
        })
        .collect()
}

fn secrets(secrets: &[&str], signing_tokens: &[&str]) -> ForgeSecrets {
    let list = |texts: &[&str], name: &str| {
        texts.iter().enumerate().map(|(i, text)| Secret::new(format!("#env {name}_{i}"), *text)).collect()
    };
    ForgeSecrets { secrets: list(secrets, "SECRET"), signing_tokens: list(signing_tokens, "SIGNING") }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_776_000_000).unwrap()
}

/// Signs `body` as the forge does, with its event header, and lets it be received.
fn call(forge: Forge, event: &str, body: &[u8]) -> Result<Received, Refused> {
    let mut map = headers(forge::push_headers(forge, "delivery-1"));
    let event_header = match forge {
        Forge::Github => "x-github-event",
        Forge::Gitlab => "x-gitlab-event",
        Forge::Gitea => "x-gitea-event",
        Forge::Bitbucket => "x-event-key",
    };
    map.insert(event_header, HeaderValue::from_str(event).unwrap());
    map.extend(headers(forge::sign(forge, &Secret::new("test", SECRET), body)));
    forge::receive(forge, &map, body, &secrets(&[SECRET], &[]), now())
}

fn push_event(forge: Forge) -> &'static str {
    match forge {
        Forge::Github | Forge::Gitea => "push",
        Forge::Gitlab => "Push Hook",
        Forge::Bitbucket => "repo:push",
    }
}

fn pushes(received: &Received) -> &[Push] {
    match &received.parsed {
        Parsed::Moved { pushes, .. } => pushes,
        Parsed::Ignored { reason } => panic!("ignored: {reason}"),
    }
}

fn tags(received: &Received) -> &[TagPush] {
    match &received.parsed {
        Parsed::Moved { tags, .. } => tags,
        Parsed::Ignored { reason } => panic!("ignored: {reason}"),
    }
}

fn reason(received: &Received) -> &str {
    match &received.parsed {
        Parsed::Ignored { reason } => reason,
        moved => panic!("not ignored: {moved:?}"),
    }
}

fn malformed(result: Result<Received, Refused>) -> String {
    match result {
        Err(Refused::Malformed { message }) => message,
        other => panic!("not malformed: {other:?}"),
    }
}

/// The operator's message, after checking that the caller learns nothing.
fn operator(result: Result<Received, Refused>) -> String {
    match result {
        Err(Refused::Signature { caller, operator }) => {
            assert_eq!(caller, NOT_AUTHENTIC);
            assert!(!operator.contains(SECRET), "{operator}");
            operator
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn every_signature_vector_is_accepted_or_refused_as_it_says() {
    let Some(corpus) = corpus() else { return };
    let text = std::fs::read_to_string(corpus.join("webhooks/signatures/vectors.json")).unwrap();
    let vectors: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(vectors.len(), 39);
    for vector in &vectors {
        let field = |name: &str| vector[name].as_str().unwrap_or_default();
        let secret = field("secret");
        let (forge, secrets) = match field("provider") {
            "github" => (Forge::Github, secrets(&[secret], &[])),
            "gitea" | "forgejo" | "gogs" => (Forge::Gitea, secrets(&[secret], &[])),
            "bitbucket" => (Forge::Bitbucket, secrets(&[secret], &[])),
            "gitlab" => (Forge::Gitlab, secrets(&[secret], &[])),
            "gitlab-both" => (Forge::Gitlab, secrets(&[secret], &[field("signing_token")])),
            "standard-webhooks" | "gitlab-signing-token" => (Forge::Gitlab, secrets(&[], &[secret])),
            other => panic!("unknown provider {other}"),
        };
        let map = headers(vector["headers"].as_object().unwrap().iter().map(|(k, v)| (k, v.as_str().unwrap())));
        let now = vector["now"].as_i64().map_or_else(now, |s| Timestamp::from_second(s).unwrap());
        let result = forge::verify(forge, &map, field("body").as_bytes(), &secrets, now);
        match field("expect") {
            "accept" => assert!(result.is_ok(), "{}: {result:?}", field("id")),
            "reject" => assert!(matches!(result, Err(Refused::Signature { .. })), "{}: {result:?}", field("id")),
            "either" => {}
            other => panic!("unknown expectation {other}"),
        }
    }
}

#[test]
fn every_payload_of_the_corpus_means_what_its_index_says() {
    let Some(corpus) = corpus() else { return };
    let folder = corpus.join("webhooks");
    let index = std::fs::read_to_string(folder.join("index.tsv")).unwrap();
    let (mut accepted, mut tagged, mut ignored) = (0, 0, 0);
    for line in index.lines().skip(1) {
        let column: Vec<&str> = line.split('\t').collect();
        let &[file, provider, kind, repo, name, before, after, deleted, ..] = column.as_slice() else {
            panic!("short line: {line}")
        };
        let forge = match provider {
            "github" => Forge::Github,
            "gitlab" => Forge::Gitlab,
            "gitea" | "gogs" => Forge::Gitea,
            "bitbucket" => Forge::Bitbucket,
            other => panic!("unknown provider {other}"),
        };
        let event = match (forge, kind) {
            (Forge::Gitlab, _) if file.contains("/system-") => "System Hook",
            (Forge::Gitlab, "push") => "Push Hook",
            (Forge::Gitlab, "tag_push") => "Tag Push Hook",
            (_, "create_or_delete") if file.contains("delete") => "delete",
            (_, "create_or_delete") => "create",
            (_, other) => other,
        };
        let body = std::fs::read(folder.join(file)).unwrap();
        let received = call(forge, event, &body).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!((received.forge, received.event.as_str()), (forge, event), "{file}");
        assert_eq!(received.forge_id.as_deref(), Some("delivery-1"), "{file}");
        if !repo.is_empty() {
            let id = received.repo.as_ref().unwrap_or_else(|| panic!("{file}: no repository")).to_string();
            assert!(id.to_lowercase().ends_with(&format!("/{}", repo.to_lowercase())), "{file}: {id}");
        }
        match name.strip_prefix("refs/heads/") {
            Some(branch) if deleted == "no" => {
                let [push] = pushes(&received) else { panic!("{file}: not one push") };
                assert_eq!(push.branch.as_str(), branch, "{file}");
                assert_eq!(push.after.to_string(), after, "{file}");
                assert_eq!(push.before.map_or(ZERO.to_owned(), |sha| sha.to_string()), before, "{file}");
                assert!(push.pusher.is_some(), "{file}");
                let ids = push.repos();
                let known = ids.iter().any(|id| id.as_str().to_lowercase().ends_with(&repo.to_lowercase()));
                assert!(known, "{file}: {ids:?}");
                accepted += 1;
            }
            Some(branch) => {
                assert_eq!(reason(&received), format!("the branch {branch} was deleted"), "{file}");
                ignored += 1;
            }
            None if !name.is_empty() && deleted == "no" => {
                let [tag] = tags(&received) else { panic!("{file}: not one tag") };
                assert_eq!(Some(tag.tag.as_str()), name.strip_prefix("refs/tags/"), "{file}");
                assert_eq!(tag.after.to_string(), after, "{file}");
                assert!(pushes(&received).is_empty() && tag.pusher.is_some(), "{file}");
                tagged += 1;
            }
            None if !name.is_empty() => {
                assert!(reason(&received).contains("the tag"), "{file}: {}", reason(&received));
                ignored += 1;
            }
            None => {
                assert!(!reason(&received).is_empty(), "{file}");
                ignored += 1;
            }
        }
    }
    assert_eq!(accepted + tagged + ignored, index.lines().count() - 1);
    assert_eq!(accepted, 18);
    assert!(tagged > 0);
}

#[test]
fn a_real_push_gives_every_url_once_with_its_default_branch_and_subject() {
    let Some(corpus) = corpus() else { return };
    let body = std::fs::read(corpus.join("webhooks/github/octokit/push.4.json")).unwrap();
    let received = call(Forge::Github, "push", &body).unwrap();
    let push = &pushes(&received)[0];
    let urls: Vec<&str> = push.urls.iter().map(RepoUrl::as_str).collect();
    assert_eq!(
        urls,
        [
            "https://github.com/Codertocat/Hello-World.git",
            "git@github.com:Codertocat/Hello-World.git",
            "git://github.com/Codertocat/Hello-World.git",
            "https://github.com/Codertocat/Hello-World",
        ]
    );
    assert_eq!(push.repos().len(), 1);
    assert_eq!(push.default_branch.as_ref().map(Branch::as_str), Some("master"));
    assert_eq!(push.subject.as_deref(), Some("Initial commit"));
    assert_eq!(push.pusher.as_deref(), Some("Codertocat"));
}

#[test]
fn what_we_sign_and_make_ourselves_is_received_by_every_forge() {
    let (before, after): (Sha, Sha) = (BEFORE.parse().unwrap(), AFTER.parse().unwrap());
    let branch = Branch::new("release/1.2").unwrap();
    for forge in Forge::ALL {
        for url in
            ["git@git.example.com:acme/snow.git", "https://git.example.com/acme/snow", "file:///srv/git/snow.git"]
        {
            let url = RepoUrl::new(url).unwrap();
            for before in [Some(before), None] {
                let body = forge::push_payload(forge, &url, &branch, before, after);
                let received = call(forge, push_event(forge), &body).unwrap();
                let [push] = pushes(&received) else { panic!("{forge:?}: not one push") };
                assert_eq!(push.urls, std::slice::from_ref(&url), "{forge:?}");
                assert_eq!((&push.branch, push.before, push.after), (&branch, before, after), "{forge:?}");
                assert_eq!(received.repo, Some(url.id()));
            }
        }
    }
}

#[test]
fn a_new_tag_is_told_by_every_forge_and_a_deleted_one_is_ignored() {
    let after: Sha = AFTER.parse().unwrap();
    let url = RepoUrl::new("https://git.example.com/acme/snow").unwrap();
    for forge in Forge::ALL {
        let event = if forge == Forge::Gitlab { "Tag Push Hook" } else { push_event(forge) };
        let body = forge::tag_payload(forge, &url, "snow/v1.2", after);
        let received = call(forge, event, &body).unwrap();
        let [tag] = tags(&received) else { panic!("{forge:?}: not one tag") };
        assert_eq!((tag.tag.as_str(), tag.after, &tag.urls[0]), ("snow/v1.2", after, &url), "{forge:?}");
        assert!(pushes(&received).is_empty(), "{forge:?}");
        assert_eq!(received.repo, Some(url.id()), "{forge:?}");
        let bad = forge::tag_payload(forge, &url, "-x y", after);
        assert!(malformed(call(forge, event, &bad)).contains("not a valid name of a tag"), "{forge:?}");
        if forge != Forge::Bitbucket {
            let gone = String::from_utf8(body).unwrap().replace(AFTER, ZERO);
            assert_eq!(reason(&call(forge, event, gone.as_bytes()).unwrap()), "the tag snow/v1.2 was deleted");
        }
    }
}

#[test]
fn a_signing_token_call_of_ours_is_received_within_five_minutes() {
    let token = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=";
    let url = RepoUrl::new("https://gitlab.com/acme/snow.git").unwrap();
    let body = forge::push_payload(Forge::Gitlab, &url, &Branch::new("main").unwrap(), None, AFTER.parse().unwrap());
    let signed = forge::sign_standard(&Secret::new("t", token), "msg-1", now(), &body).unwrap();
    let map = headers(signed.into_iter().chain([("X-Gitlab-Event", "Push Hook".to_owned())]));
    let both = secrets(&[], &["whsec_b2xk", token]);
    let at = |seconds: i64| Timestamp::from_second(now().as_second() + seconds).unwrap();
    let received = forge::receive(Forge::Gitlab, &map, &body, &both, at(299)).unwrap();
    assert_eq!(received.forge_id.as_deref(), Some("msg-1"));
    let late = operator(forge::receive(Forge::Gitlab, &map, &body, &both, at(301)));
    assert!(late.contains("301 seconds behind this machine's clock"), "{late}");
    let early = operator(forge::receive(Forge::Gitlab, &map, &body, &both, at(-301)));
    assert!(early.contains("301 seconds ahead of"), "{early}");
    let bad = operator(forge::receive(Forge::Gitlab, &map, &body, &secrets(&[], &["secret"]), at(0)));
    assert!(bad.contains("#env SIGNING_0 can't be used: it does not begin with whsec_"), "{bad}");
    let none = operator(forge::receive(Forge::Gitlab, &map, &body, &secrets(&[SECRET], &[]), at(0)));
    assert!(none.contains(":signing-token"), "{none}");
}

#[test]
fn any_of_several_secrets_will_do_so_that_one_can_be_rotated() {
    let body = b"{}";
    for forge in Forge::ALL {
        let map = headers(forge::sign(forge, &Secret::new("new", "new"), body));
        assert!(forge::verify(forge, &map, body, &secrets(&["old", "new"], &[]), now()).is_ok(), "{forge:?}");
        let refused = forge::verify(forge, &map, body, &secrets(&["old", "older"], &[]), now());
        let Err(Refused::Signature { operator, .. }) = refused else { panic!("{forge:?}: {refused:?}") };
        assert!(operator.contains("#env SECRET_0 (3 bytes), #env SECRET_1 (5 bytes)"), "{operator}");
    }
}

#[test]
fn an_empty_secret_or_none_lets_nobody_in() {
    for forge in Forge::ALL {
        let body = b"{}";
        let map = headers(forge::sign(forge, &Secret::new("empty", ""), body));
        let empty = operator(forge::receive(forge, &map, body, &secrets(&[""], &[]), now()));
        assert!(empty.contains("#env SECRET_0 is empty"), "{empty}");
        operator(forge::receive(forge, &map, body, &secrets(&[" \n"], &[]), now()));
        let none = operator(forge::receive(forge, &map, body, &secrets(&[], &[]), now()));
        assert!(none.contains(&format!("add :webhooks {{:{} {{:secret", forge.as_str())), "{none}");
        let mut blank = map.clone();
        blank.values_mut().for_each(|value| *value = HeaderValue::from_static(""));
        operator(forge::receive(forge, &blank, body, &secrets(&[SECRET], &[]), now()));
    }
}

#[test]
fn form_posts_sign_the_raw_body_at_github_and_the_decoded_payload_at_gitea() {
    let url = RepoUrl::new("https://git.example.com/acme/snow+rain.git").unwrap();
    let signer = Secret::new("x", SECRET);
    for forge in [Forge::Github, Forge::Gitea] {
        let branch = Branch::new("ünïcode").unwrap();
        let payload = forge::push_payload(forge, &url, &branch, None, AFTER.parse().unwrap());
        let encoded: String = payload.iter().map(|byte| format!("%{byte:02X}")).collect();
        let body = format!("a=b&payload={encoded}&c=d");
        let signed = if forge == Forge::Github { body.as_bytes() } else { &payload };
        let mut map = headers(forge::push_headers(forge, "1"));
        map.extend(headers(forge::sign(forge, &signer, signed)));
        map.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"));
        let received = forge::receive(forge, &map, body.as_bytes(), &secrets(&[SECRET], &[]), now()).unwrap();
        assert_eq!(pushes(&received)[0].urls, std::slice::from_ref(&url));
        let none = forge::receive(forge, &map, b"x=y", &secrets(&[SECRET], &[]), now());
        assert!(matches!(none, Err(Refused::Signature { .. })), "{none:?}");
    }
    let mut map = headers(forge::sign(Forge::Github, &signer, b"x=y"));
    map.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
    let message = malformed(forge::receive(Forge::Github, &map, b"x=y", &secrets(&[SECRET], &[]), now()));
    assert!(message.contains("without the field `payload`"), "{message}");
}

#[test]
fn one_bitbucket_call_can_be_several_pushes() {
    let state = |kind: &str, name: &str, hash: &str| {
        let target = serde_json::json!({"hash": hash, "message": "m\nx"});
        serde_json::json!({"type": kind, "name": name, "target": target})
    };
    let body = serde_json::json!({
        "actor": {"nickname": "emma"},
        "repository": {"full_name": "acme/snow"},
        "push": {"changes": [
            {"old": state("branch", "a", BEFORE), "new": state("branch", "a", AFTER)},
            {"old": null, "new": state("tag", "v1", AFTER)},
            {"old": state("branch", "gone", BEFORE), "new": null},
            {"old": null, "new": state("branch", "b", AFTER)},
        ]},
    });
    let received = call(Forge::Bitbucket, "repo:push", body.to_string().as_bytes()).unwrap();
    let seen: Vec<_> = pushes(&received).iter().map(|p| (p.branch.as_str(), p.before.is_some())).collect();
    assert_eq!(seen, [("a", true), ("b", false)]);
    assert_eq!(tags(&received).iter().map(|tag| tag.tag.as_str()).collect::<Vec<_>>(), ["v1"]);
    assert_eq!(pushes(&received)[0].subject.as_deref(), Some("m"));
    assert_eq!(pushes(&received)[0].urls[0].as_str(), "https://bitbucket.org/acme/snow");
}

#[test]
fn the_endpoint_decides_whose_headers_count() {
    let url = RepoUrl::new("https://git.example.com/acme/snow.git").unwrap();
    let body = forge::push_payload(Forge::Gitea, &url, &Branch::new("main").unwrap(), None, AFTER.parse().unwrap());
    let mut map = headers(forge::push_headers(Forge::Gitea, "gitea-id"));
    map.extend(headers(forge::push_headers(Forge::Github, "github-id")));
    for forge in [Forge::Github, Forge::Gitea] {
        map.extend(headers(forge::sign(forge, &Secret::new("x", SECRET), &body)));
    }
    let received = forge::receive(Forge::Gitea, &map, &body, &secrets(&[SECRET], &[]), now()).unwrap();
    assert_eq!(received.forge_id.as_deref(), Some("gitea-id"));
}

#[test]
fn what_cannot_be_understood_is_refused_with_a_reason() {
    let github = |body: &str| malformed(call(Forge::Github, "push", body.as_bytes()));
    let push = |name: &str, after: &str| {
        github(&format!(r#"{{"ref":"{name}","after":"{after}","repository":{{"clone_url":"https://h/a/b"}}}}"#))
    };
    assert!(github("").contains("empty"));
    assert!(github("hello").contains("the github push payload can't be read: expected value at line 1 column 1"));
    assert!(github("[]").contains("can't be read"));
    assert!(github("{}").contains("missing field `ref`"));
    assert!(github(r#"{"ref":5}"#).contains("invalid type: integer `5`, expected a string"));
    assert!(github(r#"{"ref":"a","ref":"b"}"#).contains("duplicate field `ref`"));
    assert!(push("refs/heads/-x", AFTER).contains("begins with `-`"));
    assert!(push("refs/heads/../..", AFTER).contains("`../..` is not a valid branch"));
    assert!(push("refs/heads/a/../b", AFTER).contains("`..`"));
    assert!(push("refs/heads/", AFTER).contains("empty"));
    assert!(push("main", AFTER).contains("not a full ref"));
    assert!(push("refs/heads/main", "abc").contains("not 40 hex digits"));
    assert!(push("refs/heads/main", "").contains("not 40 hex digits"));
    let optional =
        r#"{"ref":"refs/heads/m","after":"AFTER","repository":{"clone_url":"--upload-pack=x","ssh_url":""}}"#;
    assert!(github(&optional.replace("AFTER", AFTER)).contains("no valid url"));
    for forge in Forge::ALL {
        let event = push_event(forge);
        assert!(malformed(call(forge, event, b"\"\xff\"")).contains("not UTF-8 from byte 1 on"));
        malformed(call(forge, event, "[".repeat(200_000).as_bytes()));
        malformed(call(forge, event, format!("{{\"repository\":{}", "{\"a\":".repeat(200_000)).as_bytes()));
        malformed(call(forge, event, format!("{{\"x\":{}", "[".repeat(200_000)).as_bytes()));
        malformed(call(forge, "something else", b"{"));
        let signed = headers(forge::sign(forge, &Secret::new("x", SECRET), b"{}"));
        let message = malformed(forge::receive(forge, &signed, b"{}", &secrets(&[SECRET], &[]), now()));
        assert!(message.contains("header"), "{message}");
    }
    let neither = br#"{"repository":{"full_name":"a/b"},"push":{"changes":[{"old":null,"new":null}]}}"#;
    assert!(malformed(call(Forge::Bitbucket, "repo:push", neither)).contains("neither"));
}

#[test]
fn texts_of_others_are_made_safe_to_show() {
    let body = format!(
        r#"{{"ref":"refs/heads/m","after":"{AFTER}","repository":{{"clone_url":"https://h/a/b"}},
        "pusher":{{"name":"\u001b[31mred"}},"head_commit":{{"id":"{AFTER}","message":"{}\nsecond"}}}}"#,
        "\\u0007é".repeat(1000)
    );
    let received = call(Forge::Github, "push", body.as_bytes()).unwrap();
    let push = &pushes(&received)[0];
    assert_eq!(push.pusher.as_deref(), Some("[31mred"));
    assert_eq!(push.subject.as_deref(), Some("é".repeat(200).as_str()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_payloads_give_an_answer_and_never_a_panic(
        which in 0usize..4,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..12),
    ) {
        let forge = Forge::ALL[which];
        let url = RepoUrl::new("git@git.example.com:acme/snow.git").unwrap();
        let (before, after) = (BEFORE.parse().ok(), AFTER.parse().unwrap());
        let mut body = forge::push_payload(forge, &url, &Branch::new("main").unwrap(), before, after);
        for (at, byte, how) in edits {
            if body.is_empty() {
                break;
            }
            let at = at.index(body.len());
            match how {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => body.truncate(at),
            }
        }
        match call(forge, push_event(forge), &body) {
            Ok(received) => if let Parsed::Moved { pushes, tags } = received.parsed {
                prop_assert!(!pushes.is_empty() || !tags.is_empty());
                for push in pushes {
                    prop_assert!(!push.urls.is_empty());
                    prop_assert!(!push.branch.as_str().starts_with('-'));
                }
            },
            Err(refused) => prop_assert!(matches!(refused, Refused::Malformed { .. }), "{refused:?}"),
        }
    }
}
