//! Owns supervised processes and terminals. Speaks HTTP/2 on a Unix socket.

pub mod machine;
