//! Who makes a request: tickets, tokens and the checks that belong to them.

use http::{HeaderMap, header};
use serde_json::json;

use super::{
    call::{Answer, Call},
    params::Params,
};
use crate::{access::Identity, clock::now, cluster::Cluster, failure::Failure};

/// Whether a request carries an API token, right or wrong.
pub fn has_token(headers: &HeaderMap) -> bool {
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    cookie(headers).is_none() && value.is_some_and(|value| value.starts_with("PVEAPIToken="))
}

/// How long a refused caller waits, in seconds.
pub const REFUSAL: f64 = 3.0;

fn refused(reason: &str) -> Failure {
    Failure::proxy(401, reason)
}

/// The caller. A cookie wins over a token, even a bad one.
///
/// # Errors
///
/// 401 with the reason.
pub fn identify(cluster: &Cluster, method: &str, headers: &HeaderMap) -> Result<Identity, Failure> {
    if let Some(ticket) = cookie(headers) {
        let user = cluster.tickets.user(&ticket, now()).ok_or_else(|| refused("Authentication failed!"))?;
        let enabled = cluster.state().access.users.get(&user).is_some_and(|user| !user.disabled);
        if !enabled {
            return Err(refused("Authentication failed!"));
        }
        let csrf =
            headers.get("csrfpreventiontoken").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if method != "GET" && !cluster.tickets.csrf_matches(csrf, &user, now()) {
            return Err(refused("Permission denied - invalid csrf token"));
        }
        return Ok(Identity { user, token: None });
    }
    let value = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token =
        value.and_then(|value| value.strip_prefix("PVEAPIToken=")).ok_or_else(|| refused("No ticket"))?;
    let token = token.split(';').next().unwrap_or_default();
    by_token(cluster, &unescape(token)).ok_or_else(|| refused("Authentication failed!"))
}

fn by_token(cluster: &Cluster, text: &str) -> Option<Identity> {
    let (name, secret) = text.split_once('=')?;
    let (user, token) = name.split_once('!')?;
    let state = cluster.state();
    let known = state.access.users.get(user).filter(|user| !user.disabled)?;
    let entry = known.tokens.get(token)?;
    let valid = entry.secret == secret && (entry.expire == 0 || entry.expire > now());
    valid.then(|| Identity { user: user.to_owned(), token: Some(token.to_owned()) })
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let mut cookies = value.split(';').map(str::trim);
        cookies.find_map(|cookie| cookie.strip_prefix("PVEAuthCookie=")).map(unescape)
    })
}

/// `%41` becomes `A`; a plus stays one.
pub fn unescape(text: &str) -> String {
    let text = text.replace('+', "%2B");
    let pairs = format!("value={}", text.replace('&', "%26"));
    let value = url::form_urlencoded::parse(pairs.as_bytes()).next();
    value.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

/// `POST /access/ticket`
///
/// # Errors
///
/// 401, with JSON, if user and password do not belong together.
pub fn login(cluster: &Cluster, params: &Params) -> Result<Answer, Failure> {
    let failed = || Failure { status: 401, ..Failure::other("authentication failure") };
    let (name, password) = (params.get("username").unwrap_or_default(), params.get("password"));
    let user = match params.get("realm") {
        Some(realm) if !name.contains('@') => format!("{name}@{realm}"),
        _ => name.to_owned(),
    };
    let state = cluster.state();
    let known = state.access.users.get(&user).filter(|user| !user.disabled).ok_or_else(failed)?;
    let renewed = password.and_then(|ticket| cluster.tickets.user(ticket, now())).as_ref() == Some(&user);
    if !renewed && (known.password.is_none() || known.password.as_deref() != password) {
        return Err(failed());
    }
    Ok(Answer::from(json!({
        "username": user, "ticket": cluster.tickets.issue(&user, now()),
        "CSRFPreventionToken": cluster.tickets.csrf(&user, now()), "cap": {},
    })))
}

/// `GET /access/permissions`
pub fn permissions(call: &Call) -> Answer {
    let state = call.cluster.state();
    let paths = match call.params.get("path") {
        Some(path) => vec![path.to_owned()],
        None => {
            let mut paths: Vec<_> = state.access.acls.iter().map(|acl| acl.path.clone()).collect();
            paths.extend(["/", "/access", "/nodes", "/pool", "/sdn", "/storage", "/vms"].map(str::to_owned));
            paths
        }
    };
    let known = paths.into_iter().filter_map(|path| {
        let privileges = state.privileges(&call.identity, &path);
        let privileges: serde_json::Map<_, _> = privileges.into_iter().map(|name| (name, json!(1))).collect();
        (!privileges.is_empty()).then(|| (path, json!(privileges)))
    });
    Answer::from(json!(known.collect::<serde_json::Map<_, _>>()))
}
