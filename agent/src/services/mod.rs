//! What the link process does itself: commands, files, git, connections to ports, and looking at
//! the container.
