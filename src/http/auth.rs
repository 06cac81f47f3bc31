//! Who may call: whoever shows the operator's token. An address never stands in for it: behind a proxy every caller
//! looks local.

use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::Door;
use super::answer::ApiError;

/// What the `Authorization` header is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// It has the operator's token.
    Operator,
    /// There is no such header.
    Nobody,
    /// It has something else.
    Wrong,
}

impl Caller {
    /// Compares in constant time. An empty token of ours fits nothing.
    pub fn of(headers: &HeaderMap, door: &Door) -> Self {
        let Some(value) = headers.get(AUTHORIZATION) else { return Self::Nobody };
        let given = match value.as_bytes().split_at_checked(7) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"bearer ") => token.trim_ascii(),
            _ => return Self::Wrong,
        };
        if !door.token.is_empty() && door.token.matches(given) { Self::Operator } else { Self::Wrong }
    }
}

/// The answer to a caller without a token, or with a wrong one.
pub(super) fn refusal(caller: Caller) -> ApiError {
    let message = match caller {
        Caller::Wrong => "that token is not the operator's",
        _ => "this needs the operator's token",
    };
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", message).hint(
        "send `Authorization: Bearer TOKEN`; the token is in the file operator-token in the daemon's state directory, \
         and the command line finds it there or in AIRPLANES_TOKEN",
    )
}

/// Lets only the operator through.
pub(super) async fn operator(State(door): State<Door>, request: Request, next: Next) -> Response {
    match Caller::of(request.headers(), &door) {
        Caller::Operator => next.run(request).await,
        caller => refusal(caller).into_response(),
    }
}
