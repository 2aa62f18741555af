//! Owns supervised processes and terminals. Speaks HTTP/2 on a Unix socket.
#[allow(missing_docs)]
pub async fn run(_: &crate::users::User) -> anyhow::Result<()> {
    std::future::pending().await
}
