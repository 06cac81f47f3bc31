//! A webhook as an app's forge would send it, to the public url and to the daemon's own port: each check that it
//! passes on its way, up to what became of it.
//!
//! The daemon calls itself, since it alone has the secrets. So what is shown is that a call with the configured secret
//! comes through; whether the forge has the same one, only the forge's own call can show.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt};
use jiff::Timestamp;
use serde_json::Value;

use super::web::{TEST_ID, broken, client, forge_of, said};
use super::{Alive, CHECK, Patient};
use crate::forge::{self, pages};
use crate::git::Right;
use crate::model::api::PlanQuery;
use crate::model::check::HookTest;
use crate::model::inbox::HookAnswer;
use crate::model::{App, Branch, Check, DeliveryId, Forge, Secret, Sha};

/// Sends the call and tells the checks as it passes them.
pub fn test(patient: Arc<Patient>, app: App, ask: HookTest) -> impl Stream<Item = Check> + Send {
    let masking = patient.clone();
    let all = async move { stream::iter(run(&patient, &app, &ask).await) };
    stream::once(all).flatten().map(move |check| masking.mask(check))
}

async fn run(patient: &Patient, app: &App, ask: &HookTest) -> Vec<Check> {
    let group = "call";
    let Some(alive) = &patient.alive else { return Vec::new() };
    let Some(forge) = ask.forge.or_else(|| forge_of(patient, &app.git_url)) else {
        let said = format!("which forge {} is at can't be told by its url", app.git_url);
        let mend = format!("airplanes hook test {} --forge github   (or gitlab, gitea, bitbucket)", app.name);
        return vec![Check::failed(group, "forge", said, mend)];
    };
    let config = &patient.loaded.config;
    let secrets = config.webhooks.get(&forge);
    let secret = secrets.and_then(|secrets| secrets.secrets.first());
    let signing = secrets.and_then(|secrets| secrets.signing_tokens.first());
    let Some(named) = secret.or(signing) else {
        let word = forge.as_str();
        let mend = format!("add :webhooks {{:{word} {{:secret …}}}} to {}", patient.config.display());
        return vec![Check::failed(group, "secret", format!("config.edn has no secret for {word}"), mend)];
    };
    let mut checks = Vec::new();
    let push = if ask.push {
        match head(patient, app).await {
            Ok((branch, head)) => {
                checks.push(in_motion(alive, app, &branch, head).await);
                Some((branch, head))
            }
            Err(check) => return vec![check],
        }
    } else {
        None
    };
    let body = match &push {
        Some((branch, head)) => forge::push_payload(forge, &app.git_url, branch, None, *head),
        None => forge::ping_payload(forge, &app.git_url),
    };
    let what = if push.is_some() { "push" } else { "ping" };
    let said = format!("a {what} of {} as {} sends it, {} bytes", app.repo(), forge.as_str(), body.len());
    checks.push(Check::ok(group, "made", format!("{said}, signed with {} ({} bytes)", named.name(), named.len())));
    let call = Call { patient, alive, forge, secret, signing, body, is_push: push.is_some() };
    let mut through = false;
    if let Some(url) = &config.url {
        let answered = call.send(url, false).await;
        through = answered.last().is_some_and(|check| check.name == "outcome");
        checks.extend(answered);
    }
    // A push is sent once: the second would only be its duplicate.
    if let Some(address) = alive.address
        && !(ask.push && through)
    {
        let mut address = address;
        if address.ip().is_unspecified() {
            address.set_ip(if address.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            });
        }
        checks.extend(call.send(&format!("http://{address}"), true).await);
    }
    let page = pages::hook_page(&app.repo(), forge);
    let said =
        format!("whether {} has the same secret shows only its own call: redeliver one at {page}", forge.as_str());
    checks.push(Check::skipped(group, "forge", said));
    checks
}

/// The branch and its head, as the remote has them now: a push of it builds nothing that would not be built anyway.
async fn head(patient: &Patient, app: &App) -> Result<(Branch, Sha), Check> {
    let heads = patient.git.ask(&app.git_url, Right::Read, &patient.stop).await;
    let heads = heads.map_err(|error| {
        let mend = super::repositories::mend(patient, &error, &format!(":git-url of {}", app.name));
        Check::failed("call", "head", error.to_string(), mend)
    })?;
    let branch = app.branch.clone().or(heads.head_branch);
    let head = branch.as_ref().and_then(|branch| heads.branches.get(branch)).copied();
    branch.zip(head).ok_or_else(|| {
        let said = format!("{} does not have the app's branch", app.git_url);
        Check::failed("call", "head", said, format!("correct :branch of {} in deploy.edn", app.name))
    })
}

/// What the push will set in motion.
async fn in_motion(alive: &Alive, app: &App, branch: &Branch, head: Sha) -> Check {
    let query = PlanQuery { repo: app.name.to_string(), branch: Some(branch.clone()), sha: None };
    let names = match alive.pipeline.preview(&query).await {
        Ok(plan) => plan.apps.iter().map(|planned| planned.app.to_string()).collect::<Vec<_>>().join(", then "),
        Err(error) => return Check::skipped("call", "plan", error.to_string()),
    };
    let names = if names.is_empty() { "nothing".to_owned() } else { names };
    let said =
        format!("{branch} at {} is told as pushed, which sets in motion, unless it was already: {names}", head.short());
    Check::ok("call", "plan", said)
}

struct Call<'a> {
    patient: &'a Patient,
    alive: &'a Alive,
    forge: Forge,
    secret: Option<&'a Secret>,
    signing: Option<&'a Secret>,
    body: Vec<u8>,
    is_push: bool,
}

impl Call<'_> {
    /// Sends it to one address of the daemon.
    async fn send(&self, base: &str, here: bool) -> Vec<Check> {
        let group = base.to_owned();
        let id = format!("{TEST_ID}{}", random());
        let own = if here { client(true).ok() } else { None };
        let http = own.as_ref().unwrap_or(&self.patient.http);
        let mut request = http.post(format!("{base}/hooks/{}", self.forge.as_str()));
        for (name, value) in self.headers(&id) {
            request = request.header(name, value);
        }
        let answer = match request.body(self.body.clone()).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let (said, mend) = broken(&error, base);
                return vec![Check::failed(&group, "reached", said, mend)];
            }
        };
        let way = if base.starts_with("https://") { "over TLS, with a valid certificate" } else { "without TLS" };
        let mut checks = vec![Check::ok(&group, "reached", format!("it answers, {way}"))];
        let status = answer.status().as_u16();
        let text = said(answer).await;
        let Some(answer) = self.path(&group, base, status, &text, &mut checks) else { return checks };
        match answer {
            Ok(answer) => checks.extend(self.accepted(&group, base, &id, answer).await),
            Err(code) => checks.push(self.refused(&group, base, &code, &text)),
        }
        checks
    }

    fn headers(&self, id: &str) -> Vec<(&'static str, String)> {
        let mut headers = match self.is_push {
            true => forge::push_headers(self.forge, id),
            false => forge::ping_headers(self.forge, id),
        };
        match (self.secret, self.signing) {
            (Some(secret), _) => headers.extend(forge::sign(self.forge, secret, &self.body)),
            (None, Some(token)) => {
                headers.extend(forge::sign_standard(token, id, Timestamp::now(), &self.body).unwrap_or_default());
            }
            (None, None) => {}
        }
        headers
    }

    /// Whether a daemon answered: its answer, or the code of its error. None if somebody else did.
    fn path(
        &self,
        group: &str,
        base: &str,
        status: u16,
        text: &str,
        checks: &mut Vec<Check>,
    ) -> Option<Result<HookAnswer, String>> {
        let (hook, name) = (format!("/hooks/{}", self.forge.as_str()), "path");
        let accepted = serde_json::from_str::<HookAnswer>(text).ok();
        let code =
            serde_json::from_str::<Value>(text).ok().and_then(|v| v["error"]["code"].as_str().map(str::to_owned));
        let answer = accepted.map(Ok).or(code.map(Err));
        match &answer {
            Some(Err(code)) if code == "not-found" || code == "method-not-allowed" => {
                let said = format!("{base}{hook} leads to a daemon, and not to its {hook}: {code}");
                checks.push(Check::failed(group, name, said, "let the proxy keep the path as it is"));
                return None;
            }
            Some(_) => checks.push(Check::ok(group, name, format!("{hook} leads to a daemon"))),
            None => {
                let said = format!("{base}{hook} is answered {status}, and not by a daemon");
                let mend = match status {
                    301..=308 => {
                        "give :url, and the forge, the address that it redirects to: forges follow no redirect"
                    }
                    401 | 403 => "let the proxy pass /hooks/ without a login: the signature is what authenticates",
                    413 => "let the proxy pass bodies up to 25 MB (nginx: client_max_body_size 25m)",
                    502..=504 => "let the proxy pass to the daemon's :listen",
                    _ => "let the proxy pass /hooks/ to the daemon",
                };
                checks.push(Check::failed(group, name, said, mend));
            }
        }
        answer
    }

    /// An error of a daemon's door.
    fn refused(&self, group: &str, base: &str, code: &str, text: &str) -> Check {
        if code != "signature" {
            return Check::failed(group, "accepted", text.trim().to_owned(), "airplanes doctor");
        }
        let last = (self.alive.refusals)().into_iter().find(|refusal| refusal.forge == self.forge);
        let recent = last.filter(|last| Timestamp::now().duration_since(last.last_at).as_secs() < 60);
        match recent {
            Some(last) => {
                let said = format!("refused: {}", last.last_reason);
                Check::failed(
                    group,
                    "signature",
                    said,
                    format!("let the proxy of {base} change neither body nor headers"),
                )
            }
            None => {
                let said = "refused, and not by this daemon, whose log has nothing of it";
                Check::failed(group, "signature", said, format!("correct :url, or where the proxy of {base} leads to"))
            }
        }
    }

    async fn accepted(&self, group: &str, base: &str, id: &str, answer: HookAnswer) -> Vec<Check> {
        let mut checks = vec![Check::ok(group, "signature", "accepted")];
        match self.stored(answer.delivery, id).await {
            Ok(true) => checks.push(Check::ok(group, "stored", format!("as delivery {}", answer.delivery))),
            Ok(false) => {
                let said = format!("another daemon answered: this one has no delivery {}", answer.delivery);
                checks.push(Check::failed(
                    group,
                    "stored",
                    said,
                    format!("correct :url, or where the proxy of {base} leads to"),
                ));
                return checks;
            }
            Err(error) => {
                checks.push(Check::failed(group, "stored", error, "airplanes doctor"));
                return checks;
            }
        }
        checks.push(match (answer.status.as_str(), answer.event) {
            ("accepted", Some(event)) => {
                let planned = tokio::time::timeout(CHECK, self.alive.pipeline.planned(event)).await;
                let jobs: Vec<String> = match planned {
                    Ok(Ok(rows)) => rows.iter().map(|row| format!("{} ({})", row.app, row.job)).collect(),
                    _ => vec!["not planned yet; `airplanes deliveries` shows what becomes of it".to_owned()],
                };
                let jobs = if jobs.is_empty() { "no job".to_owned() } else { jobs.join(", ") };
                Check::ok(group, "outcome", format!("accepted as event {event}: {jobs}"))
            }
            (status, _) => {
                let reason = answer.reason.unwrap_or_default();
                Check::ok(group, "outcome", format!("{status}: {reason}"))
            }
        });
        checks
    }

    /// Whether this daemon has the delivery, by its id and the one that we gave it.
    async fn stored(&self, delivery: DeliveryId, id: &str) -> Result<bool, String> {
        let store = self.alive.store.clone();
        // The newest that is not newer than it.
        let after = Some(DeliveryId(delivery.0.saturating_add(1)));
        let rows = tokio::task::spawn_blocking(move || store.deliveries(after, 1)).await.map_err(|e| e.to_string())?;
        let rows = rows.map_err(|error| error.to_string())?;
        Ok(rows.iter().any(|row| row.id == delivery && row.forge_id.as_deref() == Some(id)))
    }
}

/// What makes a delivery's id one that no other has.
fn random() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = jiff::Timestamp::now().as_microsecond().to_le_bytes();
    }
    crate::model::hex(bytes)
}
