//! What the operator is told about a signature that was refused: header, secrets by name and length, and the usual cause.

use airplanes::forge::{self, Refused};
use airplanes::model::{Forge, ForgeSecrets, Secret};
use hyper::HeaderMap;

use super::{SECRET, headers, now, operator, secrets};

#[test]
fn the_operator_is_told_the_cause_and_the_caller_nothing() {
    let good = secrets(&[SECRET], &[]);
    let with_line_end = secrets(&["It's a Secret to Everybody\n"], &[]);
    let signer = Secret::new("x", SECRET);
    for forge in Forge::ALL {
        let signed = headers(forge::sign(forge, &signer, b"{}"));
        let pasted = operator(forge::receive(forge, &signed, b"{}", &with_line_end, now()));
        assert!(pasted.contains("#env SECRET_0 (27 bytes)") && pasted.contains("line end"), "{pasted}");
        let missing = operator(forge::receive(forge, &HeaderMap::new(), b"{}", &good, now()));
        assert!(missing.contains("is missing; either the webhook has no secret on the"), "{missing}");
    }
    let changed = operator(forge::receive(
        Forge::Github,
        &headers(forge::sign(Forge::Github, &signer, b"{}")),
        b"{ }",
        &good,
        now(),
    ));
    assert_eq!(
        changed,
        "github webhook of 3 bytes refused: the header X-Hub-Signature-256 over 3 bytes fits none of the secrets tried: \
         #env SECRET_0 (26 bytes); either the secret on the github side is another, or a proxy changed the body"
    );
    let old = operator(forge::receive(Forge::Github, &headers([("x-hub-signature", "sha1=00")]), b"", &good, now()));
    assert!(old.contains("only the old SHA-1 header"), "{old}");
    let elsewhere = headers([("x-gitea-event", "push"), ("x-github-event", "push")]);
    let elsewhere = operator(forge::receive(Forge::Github, &elsewhere, b"", &good, now()));
    assert!(elsewhere.contains("/hooks/gitea"), "{elsewhere}");
    let empty = headers([("x-gitea-signature", "")]);
    let empty = operator(forge::receive(Forge::Gitea, &empty, b"{}", &good, now()));
    assert!(empty.contains("no secret on the gitea side"), "{empty}");
    let form = headers(forge::sign(Forge::Gitea, &signer, b"{}"));
    let form = operator(forge::receive(Forge::Gitea, &form, b"payload=%7B%7D", &good, now()));
    assert!(form.contains("Content-Type"), "{form}");
}

#[test]
fn the_usual_slips_are_named() {
    let good = secrets(&[SECRET], &[]);
    let refused = |forge, secret: &str, signed: &[u8], body: &[u8], with: &[(&'static str, &'static str)]| {
        let mut map = headers(forge::sign(forge, &Secret::new("x", secret), signed));
        map.extend(headers(with.to_vec()));
        operator(forge::receive(forge, &map, body, &good, now()))
    };
    let says = |said: String, cause: &str| assert!(said.contains(cause), "{cause:?} is not in {said}");
    for end in ["\n", "\r\n", " "] {
        let pasted = format!("{SECRET}{end}");
        says(refused(Forge::Github, &pasted, b"{}", b"{}", &[]), "on the github side the secret was pasted with one");
    }
    let form: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];
    let body = b"payload=%7B%7D";
    says(refused(Forge::Github, SECRET, b"{}", body, &form), "it signs the form's field `payload`");
    says(refused(Forge::Gitea, SECRET, body, body, &form), "it signs the whole body");
    says(refused(Forge::Bitbucket, SECRET, b"{}", b"{}\n", &[]), "a proxy changed it");
    says(refused(Forge::Github, "other", b"{}", b"{}", &[("x-gitea-event", "push")]), "ends in /hooks/gitea");
    let quoted = secrets(&[&format!("\"{SECRET}\"")], &[]);
    let map = headers(forge::sign(Forge::Github, &Secret::new("x", SECRET), b"{}"));
    says(operator(forge::receive(Forge::Github, &map, b"{}", &quoted, now())), "without the quotes around it");
    // What came and what did not.
    let token = headers([("x-gitlab-token", "t")]);
    says(
        operator(forge::receive(Forge::Github, &token, b"{}", &good, now())),
        "of headers that sign only X-Gitlab-Token came: X-Hub-Signature-256 is missing",
    );
    // GitLab's two fields are easily taken for each other.
    let both = secrets(&[SECRET], &["whsec_c2VjcmV0"]);
    let signing = headers([("x-gitlab-token", "whsec_c2VjcmV0")]);
    let Err(Refused::Signature { operator, .. }) = forge::receive(Forge::Gitlab, &signing, b"{}", &both, now()) else {
        panic!("accepted")
    };
    assert!(operator.contains("a signing token") && !operator.contains("c2VjcmV0"), "{operator}");
    assert!(operator.contains("the header X-Gitlab-Token fits none of the secrets tried"), "{operator}");
    // Two that stand in the file itself are told apart by their places.
    let twins =
        ForgeSecrets { secrets: ["a", "bc"].map(|s| Secret::new(":secret", s)).to_vec(), signing_tokens: vec![] };
    let Err(Refused::Signature { operator, .. }) = forge::receive(Forge::Github, &map, b"{}", &twins, now()) else {
        panic!("accepted")
    };
    assert!(operator.contains("number 1 of 2, :secret (1 bytes), number 2 of 2, :secret (2 bytes)"), "{operator}");
}
