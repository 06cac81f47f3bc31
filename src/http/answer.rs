//! One answer, three forms: JSON, indented JSON for `/status`, and EDN for `Accept: application/edn`.
//!
//! A handler gives a `Reply` or an `ApiError`; the form is chosen once, by `render`, around the whole router. So a
//! 404 of the router itself and a panic's 500 have the same shape as everything else.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::Request;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use serde::Serialize;

use crate::edn::to_edn;
use crate::model::InvalidName;
use crate::model::api::{ErrorBody, ErrorView};
use crate::store::StoreError;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Edn,
}

impl Format {
    /// The first of `application/json` and `application/edn` that the caller names; JSON for everything else.
    pub fn of(headers: &HeaderMap) -> Self {
        let ranges = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
        ranges
            .filter_map(|range| match range.split(';').next().unwrap_or_default().trim() {
                "application/edn" => Some(Self::Edn),
                "application/json" => Some(Self::Json),
                _ => None,
            })
            .next()
            .unwrap_or(Self::Json)
    }

    /// The value in this format, ending with a line end.
    fn write<T: Serialize>(self, value: &T, indented: bool) -> Result<String, serde_json::Error> {
        let mut text = match (self, indented) {
            (Self::Json, false) => serde_json::to_string(value),
            (Self::Json, true) => serde_json::to_string_pretty(value),
            (Self::Edn, _) => serde_json::to_value(value).map(|value| to_edn(&value)),
        }?;
        text.push('\n');
        Ok(text)
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Edn => "application/edn; charset=utf-8",
        })
    }
}

/// A value that waits in the response's extensions for its form.
#[derive(Clone)]
struct Unwritten(Arc<dyn Fn(Format) -> Result<String, serde_json::Error> + Send + Sync>);

/// An answer of the API.
pub(super) struct Reply(Response);

impl Reply {
    pub fn new<T: Serialize + Send + Sync + 'static>(status: StatusCode, value: T) -> Self {
        Self::with(status, move |format| format.write(&value, false))
    }
    pub fn ok<T: Serialize + Send + Sync + 'static>(value: T) -> Self {
        Self::new(StatusCode::OK, value)
    }
    /// For eyes: JSON is indented.
    pub fn page<T: Serialize + Send + Sync + 'static>(value: T) -> Self {
        Self::with(StatusCode::OK, move |format| format.write(&value, true))
    }
    fn with(
        status: StatusCode,
        write: impl Fn(Format) -> Result<String, serde_json::Error> + Send + Sync + 'static,
    ) -> Self {
        let mut response = status.into_response();
        response.extensions_mut().insert(Unwritten(Arc::new(write)));
        Self(response)
    }
    pub fn header(mut self, name: axum::http::HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        self.0
    }
}

/// Writes what waits, in the form that the caller wants. A handler that panics has answered 500.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let format = Format::of(request.headers());
    let asked = tracing::enabled!(tracing::Level::DEBUG).then(|| (request.method().clone(), request.uri().clone()));
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|panic| panicked(panic.as_ref()));
    if let Some((method, uri)) = asked {
        // A failure is told where it happens, with its cause.
        tracing::debug!(%method, %uri, status = response.status().as_u16(), "answered");
    }
    let Some(Unwritten(write)) = response.extensions_mut().remove::<Unwritten>() else { return response };
    match write(format) {
        Ok(text) => {
            let (mut parts, _) = response.into_parts();
            parts.headers.insert(CONTENT_TYPE, format.content_type());
            parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Response::from_parts(parts, text.into())
        }
        Err(why) => {
            tracing::error!(%why, "an answer could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written; the daemon's log says why\n")
                .into_response()
        }
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Response {
    let why = panic.downcast_ref::<String>().map(String::as_str);
    let why = why.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
    ApiError::internal(&format_args!("a handler panicked: {why}")).into_response()
}

/// What went wrong, as the caller is told. What the operator is told went to the log.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    hint: Option<String>,
}

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), hint: None }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }
    /// Something of ours is broken; `why` is for the log alone.
    pub fn internal(why: &dyn std::fmt::Display) -> Self {
        tracing::error!(%why, "a request could not be answered");
        let message = "the daemon could not answer; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }
    /// The daemon is on its way out.
    pub fn ending() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ending", "the daemon is shutting down")
            .hint("ask again when it is back")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = ErrorView { code: self.code.to_owned(), message: self.message, hint: self.hint };
        let mut reply = Reply::new(self.status, ErrorBody { error });
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            reply = reply.header(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            reply = reply.header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"airplanes\""));
        }
        reply.into_response()
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { .. } | StoreError::Closed => {
                tracing::warn!(%error, "a request met a store that is not there");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store", "the store can't be read or written just now")
                    .hint("the daemon tries again by itself; its log and /status say what is wrong")
            }
            other => Self::internal(&other),
        }
    }
}

impl From<InvalidName> for ApiError {
    fn from(error: InvalidName) -> Self {
        Self::bad_request(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_the_caller_names_is_given() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Format::of(&headers)
        };
        assert_eq!(of("*/*"), Format::Json);
        assert_eq!(of("application/edn"), Format::Edn);
        assert_eq!(of("text/html, application/edn;q=0.9, application/json"), Format::Edn);
        assert_eq!(of("application/json, application/edn"), Format::Json);
        assert_eq!(Format::of(&HeaderMap::new()), Format::Json);
    }

    #[tokio::test]
    async fn a_handler_that_panics_answers_500_in_the_form_that_was_asked_for() {
        use axum::routing::get;
        use http_body_util::BodyExt as _;
        use hyper::service::Service as _;

        async fn breaks() -> Reply {
            panic!("on purpose");
        }
        let router = axum::Router::new().route("/", get(breaks)).layer(axum::middleware::from_fn(render));
        let service = hyper_util::service::TowerToHyperService::new(router);
        let request = Request::builder().uri("/").header(ACCEPT, "application/edn");
        let answer = service.call(request.body(axum::body::Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(body.starts_with(b"{:error {:code \"internal\""), "{}", String::from_utf8_lossy(&body));
    }
}
