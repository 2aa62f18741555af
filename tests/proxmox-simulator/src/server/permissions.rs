//! Checks who may make a call, as the description of the API says it.

use serde_json::Value;

use super::{params::Params, schema::Permissions};
use crate::{access::Identity, cluster::state::State, failure::Failure};

/// Refuses a caller who may not make the call.
///
/// # Errors
///
/// 403, with what is missing if one privilege is.
pub fn check(
    permissions: &Permissions,
    state: &State,
    identity: &Identity,
    params: &Params,
) -> Result<(), Failure> {
    permissions.check.as_ref().map_or(Ok(()), |check| one(check, state, identity, params))
}

fn one(check: &Value, state: &State, identity: &Identity, params: &Params) -> Result<(), Failure> {
    let parts = check.as_array().map(Vec::as_slice).unwrap_or_default();
    let Some((kind, rest)) = parts.split_first() else { return Err(Failure::denied("")) };
    match kind.as_str() {
        Some("and") => rest.iter().try_for_each(|part| one(part, state, identity, params)),
        Some("or") if rest.iter().any(|part| one(part, state, identity, params).is_ok()) => Ok(()),
        Some("perm") => privilege(rest, state, identity, params),
        _ => Err(Failure::denied("")),
    }
}

fn privilege(rest: &[Value], state: &State, identity: &Identity, params: &Params) -> Result<(), Failure> {
    let [Value::String(path), Value::Array(privileges), options @ ..] = rest else {
        return Err(Failure::denied(""));
    };
    if let [Value::String(option), Value::String(name), ..] = options
        && option == "require_param"
        && params.get(name).is_none()
    {
        return Err(Failure::denied(""));
    }
    let path = params.0.iter().fold(path.clone(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), value.as_deref().unwrap_or_default())
    });
    let privileges: Vec<&str> = privileges.iter().filter_map(Value::as_str).collect();
    let any = options.first().and_then(Value::as_str) == Some("any");
    if any {
        return state.require(identity, &path, &privileges);
    }
    privileges.iter().try_for_each(|privilege| state.require(identity, &path, &[privilege]))
}
