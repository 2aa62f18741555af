//! Requests and answers as bytes: what the proxy in front of the API reads and writes.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use serde_json::{Value, json};

use super::{call::Answer, params::Params};
use crate::failure::{Body, Failure};

/// The longest body.
pub const LONGEST_BODY: u64 = 512 * 1024;

/// What can be refused before the body is read.
///
/// # Errors
///
/// 501 or 506.
pub fn check_head(method: &str, headers: &HeaderMap) -> Result<(), Failure> {
    let length = content_length(headers);
    if length == 0 {
        return Ok(());
    }
    if matches!(method, "GET" | "DELETE") {
        return Err(Failure::request(501, format!("Unexpected content for method '{method}'")));
    }
    if length > LONGEST_BODY {
        return Err(Failure::request(501, "for data too large"));
    }
    match content_type(headers).as_str() {
        "" | "application/x-www-form-urlencoded" | "application/json" => Ok(()),
        other => Err(Failure::request(506, format!("upload 'Content-Type '{other}' not implemented"))),
    }
}

fn content_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads the parameters of a request.
///
/// # Errors
///
/// 500 in plain text if the body is no JSON object.
pub fn read_params(query: &str, headers: &HeaderMap, body: &[u8]) -> Result<Params, Failure> {
    let mut params = Params::default();
    params.add_form(query.as_bytes());
    if body.is_empty() {
    } else if content_type(headers) == "application/json" {
        params.add_json(body).map_err(|words| Failure::request(500, words))?;
    } else {
        params.add_form(body);
    }
    Ok(params)
}

/// Writes an answer. `protected` is whether pvedaemon made it.
pub fn response(result: Result<Answer, Failure>, protected: bool) -> Response<Full<Bytes>> {
    let (status, reason, body) = match &result {
        Ok(answer) => {
            let mut body = json!({"data": answer.data});
            if let Some(total) = answer.total {
                body["total"] = json!(total);
            }
            (200, "OK".to_owned(), Some(body))
        }
        Err(failure) => {
            let reason = failure.message.lines().next().unwrap_or_default().to_owned();
            (failure.status, reason, (failure.body == Body::Json).then(|| body_of(failure)))
        }
    };
    let plain = matches!(&result, Err(failure) if failure.body == Body::Text);
    let text =
        body.map(|body| body.to_string()).unwrap_or(if plain { reason.clone() } else { String::new() });
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Ok(reason) = ReasonPhrase::try_from(reason.into_bytes()) {
        response.extensions_mut().insert(reason);
    }
    let headers = response.headers_mut();
    let kind = if plain { "text/plain" } else { "application/json;charset=UTF-8" };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::SERVER, HeaderValue::from_static("pve-api-daemon/3.0"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    if status >= 400 || protected {
        headers.append(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if status < 400 {
        headers.append(header::CONNECTION, HeaderValue::from_static("Keep-Alive"));
    }
    response
}

fn body_of(failure: &Failure) -> Value {
    let mut body = json!({"data": null, "message": format!("{}\n", failure.message)});
    if !failure.errors.is_empty() {
        body["errors"] = json!(failure.errors);
    }
    body
}
