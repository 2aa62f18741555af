//! The terminal page: a workspace's terminal in a browser, and how a browser logs in to it.
//!
//! The page is static and the same for everybody; what it shows comes over the API's `attach`, by
//! the session cookie that a ticket was exchanged for. Nothing of a workspace is served here, and
//! nothing is decided here but whether a ticket or a cookie is ours.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use cookie::{Cookie, SameSite};
use jiff::Timestamp;
use serde::Deserialize;

use super::tickets::{Grant, SESSION_LIFE, Sessions, Tickets};

/// Scripts are files of ours alone. The terminal emulator makes style elements for its colours.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; img-src data:; font-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'";
/// Most bytes of a log-in.
const LOG_IN: usize = 4 << 10;
/// The subresource that the page uses.
pub const SUBRESOURCE: &str = "attach";

/// What the page needs.
#[derive(Clone)]
pub struct TerminalPage {
    /// Tickets that wait to be redeemed.
    pub tickets: Arc<Tickets>,
    /// What signs and knows sessions.
    pub sessions: Sessions,
    /// Whether browsers come over https. Over plain http, for a machine of one's own, the cookie
    /// can not be marked as secure.
    pub secure: bool,
}

impl TerminalPage {
    /// The page, its assets, and the log-in.
    pub fn router(self) -> Router {
        Router::new()
            .route("/terminal/{namespace}/{workspace}", get(page))
            .route("/terminal-assets/{file}", get(asset))
            .route("/auth/ticket", post(redeem))
            .route("/auth/session", get(session))
            .layer(DefaultBodyLimit::max(LOG_IN))
            .with_state(self)
    }

    /// What the session of a request is for, where it has one.
    pub fn session(&self, headers: &HeaderMap, now: Timestamp) -> Option<Grant> {
        let name = cookie_name(self.secure);
        headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(Cookie::split_parse)
            .filter_map(Result::ok)
            .filter(|cookie| cookie.name() == name)
            .find_map(|cookie| self.sessions.verify(cookie.value(), now))
    }
}

/// Name of the cookie. Browsers take one with the prefix over https alone, and for this host alone.
fn cookie_name(secure: bool) -> &'static str {
    if secure { "__Host-berth-session" } else { "berth-session" }
}

async fn page() -> Response {
    file("text/html; charset=utf-8", include_bytes!("page.html"))
}

async fn asset(Path(name): Path<String>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    const STYLE: &str = "text/css; charset=utf-8";
    match name.as_str() {
        "page.js" => file(SCRIPT, include_bytes!("page.js")),
        "page.css" => file(STYLE, include_bytes!("page.css")),
        "xterm.js" => file(SCRIPT, include_bytes!("assets/xterm.js")),
        "xterm.css" => file(STYLE, include_bytes!("assets/xterm.css")),
        "addon-fit.js" => file(SCRIPT, include_bytes!("assets/addon-fit.js")),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}

fn file(kind: &'static str, content: &'static [u8]) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, content).into_response()
}

#[derive(Deserialize)]
struct LogIn {
    ticket: String,
}

/// Exchanges a ticket for a session. Only JSON is taken, which no form of another site can send.
async fn redeem(State(page): State<TerminalPage>, Json(log_in): Json<LogIn>) -> Response {
    let now = Timestamp::now();
    let Some(grant) = page.tickets.redeem(&log_in.ticket, now) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let Ok(value) = page.sessions.issue(grant, now) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let cookie = Cookie::build((cookie_name(page.secure), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Strict)
        .secure(page.secure)
        .build()
        .to_string();
    // The crate's own ages need another crate for durations.
    match HeaderValue::from_str(&format!("{cookie}; Max-Age={}", SESSION_LIFE.as_secs())) {
        Ok(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[derive(Deserialize)]
struct Asked {
    namespace: String,
    workspace: String,
}

/// Whether the browser has a session for a workspace's terminal.
async fn session(
    State(page): State<TerminalPage>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> StatusCode {
    let grant = page.session(&headers, Timestamp::now());
    let fits = |grant: &Grant| {
        grant.namespace == asked.namespace
            && grant.workspace == asked.workspace
            && grant.subresource == SUBRESOURCE
    };
    if grant.as_ref().is_some_and(fits) { StatusCode::NO_CONTENT } else { StatusCode::UNAUTHORIZED }
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use rstest::rstest;
    use tower::ServiceExt;

    use super::*;

    fn terminal_page(secure: bool) -> TerminalPage {
        TerminalPage { tickets: Arc::default(), sessions: Sessions::new(&[1; 32]).unwrap(), secure }
    }

    fn ticket(page: &TerminalPage) -> String {
        let grant = Grant {
            user: "ann".to_owned(),
            user_uid: None,
            groups: Vec::new(),
            namespace: "team".to_owned(),
            workspace: "a".to_owned(),
            workspace_uid: "u".to_owned(),
            subresource: SUBRESOURCE.to_owned(),
        };
        page.tickets.mint(grant, Timestamp::now()).unwrap()
    }

    async fn log_in(page: &TerminalPage, kind: &str, ticket: &str) -> Response {
        let request = Request::post("/auth/ticket")
            .header(header::CONTENT_TYPE, kind)
            .body(Body::from(serde_json::json!({"ticket": ticket}).to_string()))
            .unwrap();
        page.clone().router().oneshot(request).await.unwrap()
    }

    async fn get(page: &TerminalPage, path: &str, cookie: &str) -> Response {
        let request = Request::get(path).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        page.clone().router().oneshot(request).await.unwrap()
    }

    #[rstest]
    #[case(true, "__Host-berth-session=", true)]
    #[case(false, "berth-session=", false)]
    #[tokio::test]
    async fn a_ticket_becomes_a_session_once(#[case] secure: bool, #[case] name: &str, #[case] marked: bool) {
        let page = terminal_page(secure);
        let ticket = ticket(&page);
        let answer = log_in(&page, "application/json", &ticket).await;
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
        assert!(cookie.starts_with(name), "{cookie}");
        for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age=43200"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("Secure"), marked);
        assert_eq!(log_in(&page, "application/json", &ticket).await.status(), StatusCode::UNAUTHORIZED);

        let sent = cookie.split(';').next().unwrap();
        let known = get(&page, "/auth/session?namespace=team&workspace=a", sent).await;
        assert_eq!(known.status(), StatusCode::NO_CONTENT);
        for other in ["namespace=team&workspace=b", "namespace=x&workspace=a"] {
            let answer = get(&page, &format!("/auth/session?{other}"), sent).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        }
    }

    #[tokio::test]
    async fn a_form_can_not_log_in() {
        let page = terminal_page(true);
        let ticket = ticket(&page);
        let answer = log_in(&page, "text/plain", &ticket).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }

    #[rstest]
    #[case("/terminal/team/a", StatusCode::OK)]
    #[case("/terminal-assets/page.js", StatusCode::OK)]
    #[case("/terminal-assets/xterm.js", StatusCode::OK)]
    #[case("/terminal-assets/mod.rs", StatusCode::NOT_FOUND)]
    #[tokio::test]
    async fn only_the_page_is_served(#[case] path: &str, #[case] status: StatusCode) {
        let answer = get(&terminal_page(true), path, "").await;
        assert_eq!(answer.status(), status);
        if status.is_success() {
            let policy = answer.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("script-src 'self';"));
        }
    }
}
