//! `/apps/APP/secrets`: set, listed by their names, and removed; never shown.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::Context;
use super::answer::{ApiError, Reply};
use super::query::Named;
use crate::model::secret::{NewSecret, SecretSet};
use crate::model::{AppName, CredentialName, Secret};

/// How large the body may be: the longest secret in base64, and JSON around it.
const LIMIT: usize = 16 * 1024;

/// `GET /apps/NAME/secrets`.
pub(super) async fn list(State(context): State<Context>, Named(name): Named<String>) -> Result<Reply, ApiError> {
    Ok(Reply::ok(context.door.pipeline.secrets(&AppName::new(name)?)?))
}

/// `PUT /apps/NAME/secrets/SECRET`.
pub(super) async fn put(
    State(context): State<Context>,
    Named((app, name)): Named<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Reply, ApiError> {
    let (app, name) = (AppName::new(app)?, CredentialName::new(name)?);
    let body = context.bodies.read(&headers, body, LIMIT).await?;
    // What can't be read may be the secret, so nothing of it is told.
    let wrong = || ApiError::bad_request("the body is not the JSON of a secret").hint(r#"send {"value": "BASE64"}"#);
    let request: NewSecret = serde_json::from_slice(&body.bytes).map_err(|_| wrong())?;
    let value = Zeroizing::new(STANDARD.decode(request.value.as_bytes()).map_err(|_| wrong())?);
    let secret = Secret::new(format!("secret {name}"), value.as_slice());
    let replaced = context.door.pipeline.set_secret(&app, name.clone(), secret).await?;
    Ok(Reply::ok(SecretSet { app, name, replaced }))
}

/// `DELETE /apps/NAME/secrets/SECRET`.
pub(super) async fn delete(
    State(context): State<Context>,
    Named((app, name)): Named<(String, String)>,
) -> Result<Reply, ApiError> {
    let (app, name) = (AppName::new(app)?, CredentialName::new(name)?);
    if !context.door.pipeline.remove_secret(&app, name.clone()).await? {
        return Err(
            ApiError::not_found(format!("{app} has no secret {name}")).hint("`airplanes secret list` has their names")
        );
    }
    Ok(Reply::ok(SecretSet { app, name, replaced: true }))
}
