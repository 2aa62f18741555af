//! Who is let in to a preview: with a cookie, which a password or a ticket gives.

mod authorization;
mod password;
mod session;
mod ticket;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Method, Request, Response, header};

use self::{
    authorization::Authorizations,
    password::Passwords,
    session::{Sessions, Subject},
};
pub use self::{
    session::Pass,
    ticket::{TicketError, TicketHolder, Tickets},
};
use super::{
    cookies, pages,
    preview::{Access, Preview},
    refusal::Refusal,
    settings::PreviewSettings,
    visitor::{Scheme, Visitor},
};

/// A visitor stays let in for so long; who had a ticket, as long as they may.
const SESSION: Duration = Duration::from_secs(12 * 60 * 60);
/// More than any form of ours.
const MAX_FORM: usize = 8 << 10;
/// A client may take so long to send one.
const FORM_TIMEOUT: Duration = Duration::from_secs(10);

/// Who is let in.
pub struct Gate {
    sessions: Sessions,
    passwords: Passwords,
    authorizations: Authorizations,
    tickets: Arc<dyn Tickets>,
}

impl Gate {
    /// The gate of all previews.
    pub fn new(tickets: Arc<dyn Tickets>, settings: &PreviewSettings) -> Self {
        Self {
            sessions: Sessions::new(settings.session_key.clone()),
            passwords: Passwords::new(settings.password_attempts_per_minute),
            authorizations: Authorizations::new(Arc::clone(&tickets), settings.authorize_every),
            tickets,
        }
    }

    /// Lets a visitor in or says what is wanted of them. Takes a password that was meant for us
    /// out of the headers.
    pub async fn admit(
        &self,
        headers: &mut HeaderMap,
        preview: &Preview,
        visitor: &Visitor,
    ) -> Result<Pass, Refusal> {
        let Some(subject) = subject(preview)? else {
            return Ok(Pass::Anybody);
        };
        let mut cookies = cookies::ours(headers, cookie_name(visitor));
        if let Some(pass) = cookies.find_map(|token| self.sessions.pass(token, &subject)) {
            self.check(&pass, preview).await?;
            return Ok(pass);
        }
        drop(cookies);
        let Access::Password { bcrypt_hash: Some(hash) } = &preview.access else {
            return Err(Refusal::Private);
        };
        let Some(password) = basic_password(headers) else {
            return Err(Refusal::Password { wrong: false });
        };
        if !self.passwords.is_remembered(&self.sessions.fingerprint(&subject, &password)) {
            self.check_password(&preview.host, visitor, &password, hash).await?;
            self.passwords.remember(self.sessions.fingerprint(&subject, &password));
        }
        headers.remove(header::AUTHORIZATION);
        Ok(Pass::Anybody)
    }

    /// Whether who was let in with this still would be.
    pub async fn is_still_good(&self, pass: &Pass, preview: &Preview) -> bool {
        self.check(pass, preview).await.is_ok()
    }

    async fn check(&self, pass: &Pass, preview: &Preview) -> Result<(), Refusal> {
        match pass {
            Pass::Anybody => Ok(()),
            Pass::Holder(holder) => self.authorizations.check(holder, preview).await,
        }
    }

    /// Answers a request below [`pages::OWN_PATHS`].
    pub async fn answer(
        &self,
        request: Request<Body>,
        preview: &Preview,
        visitor: &Visitor,
    ) -> Result<Response<Body>, Refusal> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        match (&preview.access, method, path.as_str()) {
            (Access::Password { bcrypt_hash: Some(hash) }, Method::POST, pages::LOGIN) => {
                let form = read_form(request.into_body()).await?;
                self.check_password(&preview.host, visitor, form.get("password"), hash).await?;
                self.open(preview, visitor, None, form.get("next"))
            }
            (Access::Password { bcrypt_hash: None }, _, pages::LOGIN) => Err(Refusal::PasswordUnknown),
            (Access::Private, Method::GET, pages::TICKET) => {
                let query = Form::parse(request.uri().query().unwrap_or_default().as_bytes());
                Ok(pages::ticket_form(query.get("ticket")))
            }
            (Access::Private, Method::POST, pages::TICKET) => {
                let form = read_form(request.into_body()).await?;
                let holder = self.tickets.redeem(form.get("ticket"), &preview.host).await;
                let holder = holder.map_err(|error| match error {
                    TicketError::Invalid => Refusal::Ticket,
                    TicketError::Unavailable(error) => {
                        tracing::warn!(%error, "a ticket can not be checked");
                        Refusal::TicketsUnavailable
                    }
                })?;
                tracing::info!(user = holder.user, host = preview.host, "a private preview is opened");
                self.open(preview, visitor, Some(&holder), form.get("next"))
            }
            (_, Method::GET, pages::LOGIN | pages::TICKET) => Ok(pages::go_to("/")),
            _ => Err(Refusal::Unknown),
        }
    }

    async fn check_password(
        &self,
        host: &str,
        visitor: &Visitor,
        password: &str,
        hash: &str,
    ) -> Result<(), Refusal> {
        if self.passwords.verify(host, visitor.client, password, hash).await? {
            Ok(())
        } else {
            Err(Refusal::Password { wrong: true })
        }
    }

    fn open(
        &self,
        preview: &Preview,
        visitor: &Visitor,
        holder: Option<&TicketHolder>,
        next: &str,
    ) -> Result<Response<Body>, Refusal> {
        let mut response = pages::go_to(local_path(next));
        if let Some(subject) = subject(preview)? {
            let secure = if visitor.scheme == Scheme::Https { "; Secure" } else { "" };
            let cookie = format!(
                "{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}",
                cookie_name(visitor),
                self.sessions.open(&subject, holder, SESSION),
                SESSION.as_secs()
            );
            if let Ok(cookie) = HeaderValue::try_from(cookie) {
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
        }
        Ok(response)
    }
}

/// What a visitor must have shown; nothing where everybody is let in.
fn subject(preview: &Preview) -> Result<Option<Subject<'_>>, Refusal> {
    match &preview.access {
        Access::Link => Ok(None),
        Access::Password { bcrypt_hash: Some(hash) } => {
            Ok(Some(Subject { host: &preview.host, workspace: preview.workspace, hash: Some(hash) }))
        }
        Access::Password { bcrypt_hash: None } => Err(Refusal::PasswordUnknown),
        Access::Private => {
            Ok(Some(Subject { host: &preview.host, workspace: preview.workspace, hash: None }))
        }
    }
}

fn cookie_name(visitor: &Visitor) -> &'static str {
    match visitor.scheme {
        Scheme::Https => cookies::SECURE,
        Scheme::Http => cookies::PLAIN,
    }
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let (scheme, credentials) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let credentials = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    Some(credentials.split_once(':')?.1.to_owned())
}

/// A path of the preview itself to go on to; everything else is its front page.
fn local_path(path: &str) -> &str {
    let mut bytes = path.bytes();
    let local = bytes.next() == Some(b'/')
        && !matches!(bytes.next(), Some(b'/' | b'\\'))
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.starts_with(pages::OWN_PATHS);
    if local { path } else { "/" }
}

/// The fields of a form.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(bytes: &[u8]) -> Self {
        Self(url::form_urlencoded::parse(bytes).into_owned().collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }
}

async fn read_form(body: Body) -> Result<Form, Refusal> {
    let bytes = tokio::time::timeout(FORM_TIMEOUT, axum::body::to_bytes(body, MAX_FORM)).await;
    match bytes {
        Ok(Ok(bytes)) => Ok(Form::parse(&bytes)),
        Ok(Err(_)) => Err(Refusal::Malformed("the form can not be read")),
        Err(_) => Err(Refusal::Malformed("the form took too long")),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("/", "/")]
    #[case("/a?b=c", "/a?b=c")]
    #[case("//evil.example", "/")]
    #[case("/\\evil.example", "/")]
    #[case("https://evil.example", "/")]
    #[case("/a\r\nSet-Cookie: x", "/")]
    #[case("/.berth/login", "/")]
    #[case("", "/")]
    fn a_visitor_goes_on_within_the_preview(#[case] path: &str, #[case] expected: &str) {
        assert_eq!(local_path(path), expected);
    }

    #[rstest]
    #[case("Basic YTpiOmM=", Some("b:c"))]
    #[case("basic OnB3", Some("pw"))]
    #[case("Bearer YTpi", None)]
    #[case("Basic %%%", None)]
    #[case("Basic YQ==", None)]
    fn a_password_comes_with_any_user(#[case] value: &'static str, #[case] expected: Option<&str>) {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static(value))]);
        assert_eq!(basic_password(&headers).as_deref(), expected);
    }
}
