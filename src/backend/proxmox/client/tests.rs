//! What each call sends, and what it makes of the answer.
