//! The pages that are ours: why there is no answer, the log-in form, the ticket's form.

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;

/// Below this path everything is ours, on every preview.
pub const OWN_PATHS: &str = "/.berth/";
/// Takes a password.
pub const LOGIN: &str = "/.berth/login";
/// Takes a ticket.
pub const TICKET: &str = "/.berth/ticket";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:15vh auto;max-width:32em;padding:0 1em;\
color:#222;background:#fff}input,button{font:inherit;padding:.4em .6em}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}";
const SUBMIT: &str = "document.forms[0].submit()";

/// In which form a client takes what we have to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// A page: browsers.
    Page,
    /// An RFC 9457 problem document: programs.
    Problem,
    /// A line of text: everybody else.
    Text,
}

impl Form {
    /// What the `Accept` header asks for.
    pub fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        if accept.contains("text/html") {
            Self::Page
        } else if accept.contains("json") {
            Self::Problem
        } else {
            Self::Text
        }
    }
}

/// Says why there is no answer. `path`: where the visitor wanted to go.
pub fn refuse(refusal: &Refusal, form: Form, path: &str) -> Response<Body> {
    let status = refusal.status();
    let (kind, body) = match form {
        Form::Page => (HTML, refusal_page(refusal, path)),
        Form::Problem => {
            let problem = json!({
                "title": status.canonical_reason().unwrap_or_default(),
                "status": status.as_u16(),
                "code": refusal.code(),
                "detail": refusal.to_string(),
            });
            (HeaderValue::from_static("application/problem+json"), problem.to_string())
        }
        Form::Text => (HeaderValue::from_static("text/plain; charset=utf-8"), format!("{refusal}\n")),
    };
    let mut response = answer(status, kind, body);
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after() {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if matches!(refusal, Refusal::Password { .. }) && form != Form::Page {
        let basic = HeaderValue::from_static("Basic realm=\"preview\", charset=\"UTF-8\"");
        headers.insert(header::WWW_AUTHENTICATE, basic);
    }
    if matches!(refusal, Refusal::Method) {
        let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(header::ALLOW, methods);
    }
    response
}

/// A form that sends a ticket off by itself: a ticket in an address must not be used up by
/// somebody who only looks at the address.
pub fn ticket_form(ticket: &str) -> Response<Body> {
    let form = format!(
        "<form method=post action=\"{TICKET}\"><input type=hidden name=ticket value=\"{}\">\
         <button>Open the preview</button></form><script>{SUBMIT}</script>",
        escape(ticket)
    );
    answer(StatusCode::OK, HTML, page("Preview", None, &form))
}

/// Sends the visitor to another path of the same preview.
pub fn go_to(path: &str) -> Response<Body> {
    let location = HeaderValue::try_from(path).unwrap_or(HeaderValue::from_static("/"));
    let mut response = answer(StatusCode::SEE_OTHER, HTML, String::new());
    response.headers_mut().insert(header::LOCATION, location);
    response
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

fn answer(status: StatusCode, kind: HeaderValue, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, policy());
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Without any, browsers send forms with the origin `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn policy() -> HeaderValue {
    let hash = |text: &str| STANDARD.encode(Sha256::digest(text));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SUBMIT)
    );
    HeaderValue::try_from(policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn refusal_page(refusal: &Refusal, path: &str) -> String {
    let title = refusal.status().canonical_reason().unwrap_or("Preview");
    let said = escape(&refusal.to_string());
    match refusal {
        Refusal::Password { wrong } => {
            let wrong = if *wrong { "<p role=alert>This is not the password.</p>" } else { "" };
            let form = format!(
                "<h1>Preview</h1>{wrong}<form method=post action=\"{LOGIN}\">\
                 <input type=hidden name=next value=\"{}\"><label>Password \
                 <input type=password name=password autofocus required autocomplete=current-password></label> \
                 <button>Log in</button></form>",
                escape(path)
            );
            page("Log in", None, &form)
        }
        Refusal::TooManyAttempts => page(title, None, &format!("<h1>{title}</h1><p>{said}</p>")),
        _ => page(title, refusal.retry_after(), &format!("<h1>{title}</h1><p>{said}</p>")),
    }
}

fn page(title: &str, reload: Option<u32>, body: &str) -> String {
    let reload = reload.map(|seconds| format!("<meta http-equiv=refresh content={seconds}>"));
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\">{}<title>{title}</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>",
        reload.unwrap_or_default()
    )
}

fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    async fn text(response: Response<Body>) -> String {
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[rstest]
    #[case("text/html,application/xhtml+xml,*/*;q=0.8", Form::Page)]
    #[case("application/json", Form::Problem)]
    #[case("application/problem+json", Form::Problem)]
    #[case("*/*", Form::Text)]
    fn clients_get_what_they_take(#[case] accept: &'static str, #[case] expected: Form) {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        assert_eq!(Form::of(&headers), expected);
    }

    #[tokio::test]
    async fn nothing_from_outside_is_markup() {
        let attack = "\"'><script>alert(1)</script>&";
        let pages = [
            refuse(&Refusal::Password { wrong: false }, Form::Page, attack),
            refuse(&Refusal::Starting(attack.to_owned()), Form::Page, "/"),
            ticket_form(attack),
        ];
        for page in pages {
            let page = text(page).await;
            assert!(!page.contains("<script>alert"), "{page}");
            assert!(page.contains("&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&amp;"), "{page}");
        }
    }

    #[tokio::test]
    async fn a_page_that_waits_loads_itself_again() {
        let response = refuse(&Refusal::Starting("the image is fetched".to_owned()), Form::Page, "/");
        assert_eq!(response.headers()["retry-after"], "2");
        let page = text(response).await;
        assert!(page.contains("<meta http-equiv=refresh content=2>"), "{page}");
        assert!(page.contains("the preview is being started: the image is fetched"));
    }

    #[rstest]
    #[case(Form::Page)]
    #[case(Form::Problem)]
    #[case(Form::Text)]
    fn our_pages_are_locked_down(#[case] form: Form) {
        let response = refuse(&Refusal::Unknown, form, "/");
        let headers = response.headers();
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert_eq!(headers["cache-control"], "no-store");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"));
        assert!(policy.contains("frame-ancestors 'none'"));
    }

    #[tokio::test]
    async fn programs_get_a_problem_document() {
        let response = refuse(&Refusal::PortClosed(5173), Form::Problem, "/");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let problem: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        let expected = json!({
            "title": "Bad Gateway", "status": 502, "code": "PortClosed", "detail": "nothing listens on port 5173",
        });
        assert_eq!(problem, expected);
    }
}
